"""How long weft takes, against bare Python in the same run and against its peers. Run `make bench`."""

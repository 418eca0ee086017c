"""The same work in other libraries: run by the Python of an environment of their own, printing JSON."""

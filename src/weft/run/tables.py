class Tables:
    errors = ()

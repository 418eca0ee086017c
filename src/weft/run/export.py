class Export:
    errors = ()

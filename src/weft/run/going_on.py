class GoingOn:
    errors = ()

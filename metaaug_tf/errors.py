"""The one error that is the user's to mend: the command line prints it and exits with code 2."""


class UserError(ValueError):
    """Bad input that we could have known about: says what was given, what is allowed and what to do."""

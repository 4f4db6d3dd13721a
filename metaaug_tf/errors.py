"""Errors that the command line prints without a traceback."""


class UserError(ValueError):
    """Bad input that we could have known about: says what was given, what is allowed and what to do."""


class WorkerLost(Exception):
    """Another worker has died; what this one was computing is lost, checkpoints are not."""

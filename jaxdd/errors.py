"""The one exception that means "the input is wrong", not "the program is wrong"."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one sentence: what is wrong, where, and what to do. Experiment
    modules print it without a traceback and exit with code 2.
    """

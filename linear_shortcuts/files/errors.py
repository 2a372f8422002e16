"""The one exception that means: the input is wrong, and here is how to mend it."""


class InputError(ValueError):
    """Something the user can mend: a setting, a file, a missing step.

    Stage scripts print its message as one line and exit with code 2; every other exception is a defect of ours
    and keeps its traceback.
    """

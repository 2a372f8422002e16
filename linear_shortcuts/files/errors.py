"""The one exception that means: the input is wrong, and here is how to mend it."""

from __future__ import annotations

import os


class InputError(ValueError):
    """Something the user can mend: a setting, a file, a missing step.

    Stage scripts print its message as one line and exit with code 2; every other exception is a defect of ours
    and keeps its traceback.
    """


def shown(value: object, longest: int = 60) -> str:
    """A name or value from outside as part of a message: printable, and cut where it is long."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(sign if sign.isprintable() else "?" for sign in text[: longest + 1])
    return text if len(text) <= longest else text[: longest - 1] + "…"


def again(made_by: str | None) -> str:
    """The mend of a file that is not what it must be; made_by: the program to run, where whoever reads it knows one."""
    return f"run {made_by} again" if made_by else "make it anew"


def check_kind(name: str, value: object, kind: type, mend: str) -> None:
    """Raise `InputError` if what a caller gave for `name` is of another kind, such as a path where a model belongs."""
    if not isinstance(value, kind):
        what = shown(repr(value)) if isinstance(value, str | os.PathLike) else f"a {type(value).__name__}"
        raise InputError(f"{name} is {what}; {mend}")

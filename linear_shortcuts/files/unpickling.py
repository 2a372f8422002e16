"""Reading pickles that other people wrote: tensors, arrays and plain containers, and nothing else.

Nothing is called but what rebuilds these. All that a file's calls allocate is, taken together, at most three times its
size, and what can be reached in its value, walked as a tree, at most 16 times its size and 8 MiB.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from linear_shortcuts.files import torch_files
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.files.pickle_machine import Budget, ForbiddenGlobalError

DEPTH = 100  # of containers in each other; artifacts have five, and whoever walks a value must not run out of stack


def unpickle(path: Path, size: int | None = None) -> Any:
    """The value in a pickle or a `torch.save` file, or in its first `size` bytes.

    Raises `InputError` that names the file, and the forbidden global if there is one.
    """
    with path.open("rb") as file:
        try:
            size = path.stat().st_size if size is None else size
            # Protocol 2 holds a tensor as text, which becomes the bytes of a file, which becomes a storage.
            value = torch_files.read(file, size, Budget(3 * size))
            _check_plain(value, 2**23 + 16 * size)
            return value
        except ForbiddenGlobalError as error:
            raise InputError(
                f"{path} refers to {_one_line(str(error))}, which tensors and plain containers never do; "
                "it was not loaded, because a pickle can run any code it names"
            ) from error
        except Exception as error:  # a program of a stranger may fail in any way
            reason = _one_line(str(error)) or type(error).__name__
            raise InputError(f"{path} is not a whole, well-formed pickle ({reason}); make it anew") from error


def _one_line(text: str) -> str:
    """A text from a file that nobody vouches for, short and without control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in text.partition("\n")[0][:200])


def _check_plain(value: Any, reach: int) -> None:
    """Refuse a value that holds anything but tensors, arrays and plain containers, such as a function to call.

    reach: bytes of references and contents that may be met. Whoever reads a value walks it as a tree and meets a shared
    part as often as it is referred to, so it counts as often: 26 lists, each twice in the next, are 2^26.
    """
    level = [value]
    for _ in range(DEPTH):
        below: list[Any] = []
        for part in level:
            held = _held(part)
            reach -= 8 * len(held) + _extent(part)
            if reach < 0:
                raise pickle.UnpicklingError("it refers to the same values again and again")
            below.extend(held)
        if not below:
            return
        level = below
    raise pickle.UnpicklingError(f"it nests deeper than {DEPTH} containers")


def _held(part: Any) -> Any:
    """What a container refers to."""
    if isinstance(part, dict):
        return [*part, *part.values()]
    return part if isinstance(part, (list, tuple)) else ()


def _extent(part: Any) -> int:
    """The bytes of what a value holds itself."""
    import torch

    if isinstance(part, (np.ndarray, np.generic, torch.Tensor)):
        return part.nbytes
    if isinstance(part, (str, bytes, bytearray)):
        return len(part)
    if isinstance(part, (bool, int, float, type(None), list, tuple, dict)):
        return 0
    raise pickle.UnpicklingError(f"it holds a {type(part).__name__}")

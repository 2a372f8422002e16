"""On what a script computes: the device that a user asks for, and how many threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from linear_shortcuts.files import InputError


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA, else MPS, else CPU; anything else is a torch device that must exist."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda", "mps"):
            raise RuntimeError
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {name} is not available here; use auto or cpu") from error
    return device


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """One thread inside: with small matrices more threads wait longer than they work, and the order of sums, hence the
    last bit of a result, would depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

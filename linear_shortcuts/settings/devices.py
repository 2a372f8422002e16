"""The device that a user asks for."""

from __future__ import annotations

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

"""How precisely a model multiplies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from linear_shortcuts.files import InputError


@contextmanager
def arithmetic(precision: str, device: torch.device) -> Iterator[None]:
    """The precision of matrix products of float32 inside: `float32`, `tf32` (CUDA only) or `bf16`.

    Norms, softmax and the sums of the residual stream stay float32, and so does what is float64.
    """
    if precision == "tf32" and device.type != "cuda":
        raise InputError(f"extract.precision is tf32, which only CUDA has, but the device is {device.type}; use bf16")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        torch.set_float32_matmul_precision(before)

"""Least squares without intercept, for many targets at once, from streamed moments.

For a source X (n, d) and targets Y (n, e), the matrix A (e, d) for which A @ x comes closest to y follows from
X'X and X'Y alone, so that memory does not grow with n and one factorisation of a source serves all its targets.

Moments square the condition number, and some coordinates of real hidden states are thousands of times larger than
the rest. Scaling every coordinate of the source to unit length, which the diagonal of X'X allows after the fact,
undoes the second; float64 leaves room for the first. benchmarks/fit_accuracy.py measures it against a streaming QR
on such states: the difference disappears when the matrices are stored as float32, and the moments need half the
operations and merge by addition. Hence moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shortcuts.errors import InputError


@dataclass(frozen=True)
class Solution:
    """matrices: (targets, e, d) float64, each to be applied as `A @ x`; rank: of the source, d if full."""

    matrices: Tensor
    rank: int


class Moments:
    """X'X and X'Y of one source and a stack of targets, accumulated in float64."""

    def __init__(self, width: int, targets: int, target_width: int | None = None, device: torch.device | None = None):
        self.gram = torch.zeros(width, width, dtype=torch.float64, device=device)
        self.cross = torch.zeros(targets, width, target_width or width, dtype=torch.float64, device=device)

    def update(self, source: Tensor, targets: Tensor) -> None:
        """Fold in n rows: source (n, d), targets (targets, n, e), row by row the same tokens."""
        source, targets = source.double(), targets.double()
        self.gram.addmm_(source.T, source)
        for cross, target in zip(self.cross, targets, strict=True):  # a batched product would copy the source
            cross.addmm_(source.T, target)

    def solve(self) -> Solution:
        """The least-squares matrices; of the smallest norm in scaled coordinates where the source lacks rank.

        Eigenvalues of the scaled X'X below d * eps * (the largest) count as zero, which is the tolerance of
        `numpy.linalg.matrix_rank`. On singular values that is sqrt(d * eps), 1e-7 to 1e-6: the resolution of the
        float32 states themselves, so no direction that could be told from rounding is lost.
        """
        scale = self.gram.diagonal().sqrt()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        values, vectors = torch.linalg.eigh(self.gram / scale / scale[:, None])
        kept = values > len(values) * torch.finfo(torch.float64).eps * values[-1].clamp(min=0)
        values, vectors = values[kept], vectors[:, kept]
        matrices = torch.empty_like(self.cross.mT, memory_format=torch.contiguous_format)
        for matrix, cross in zip(
            matrices, self.cross, strict=True
        ):  # one by one, for all at once would need thrice as much
            coefficients = vectors.T @ (cross / scale[:, None]) / values[:, None]
            matrix.copy_(((vectors @ coefficients) / scale[:, None]).T)
        return Solution(matrices, int(kept.sum()))


def fit(source: Tensor, target: Tensor) -> Solution:
    """The matrix for which `A @ x` comes closest to y: source (n, d), target (n, e)."""
    moments = Moments(source.shape[1], 1, target.shape[1], device=source.device)
    moments.update(source, target[None])
    return moments.solve()


def check_rows(rows: int, width: int) -> None:
    """Raise `InputError` if there are fewer rows than coordinates, so that no map could be determined."""
    if rows < width:
        raise InputError(
            f"{rows:,} train sentences cannot determine maps of a model of width {width:,}; raise sentences.train to "
            f"at least {width:,}"
        )

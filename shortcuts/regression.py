"""Least squares without intercept, for many targets at once, from streamed moments.

For a source X (n, d) and targets Y (n, e), the matrix A (e, d) for which A @ x comes closest to y follows from
X'X and X'Y alone, so that memory does not grow with n and one factorisation of a source serves all its targets.

Moments square the condition number, and some coordinates of real hidden states are thousands of times larger than
the rest. Scaling every coordinate of the source to unit length, which the diagonal of X'X allows after the fact,
undoes the second; float64 leaves room for the first. benchmarks/fit_accuracy.py measures it against a streaming QR
on such states: the difference disappears when the matrices are stored as float32, and the moments merge by addition.
Hence moments.

Where many targets share a source, a second pass over the rows pays: once X'X is known, the source is whitened, QW with
orthonormal columns, and its products with the targets lose no more in float32 than the stored matrices do.
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


class Gram:
    """X'X of one source, accumulated in float64."""

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.sum = torch.zeros(width, width, dtype=torch.float64, device=device)

    def update(self, source: Tensor) -> None:
        """Fold in rows (m, d)."""
        source = source.double()
        self.sum.addmm_(source.T, source)

    def whitening(self) -> Tensor:
        """W (d, rank), float64, such that the columns of X W are orthonormal and span those of X.

        Eigenvalues of the scaled X'X below d * eps * (the largest) count as zero, which is the tolerance of
        `numpy.linalg.matrix_rank`. On singular values that is sqrt(d * eps), 1e-7 to 1e-6: the resolution of the
        float32 states themselves, so no direction that could be told from rounding is lost.
        """
        scale = self.sum.diagonal().sqrt()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        values, vectors = torch.linalg.eigh(self.sum / scale / scale[:, None])
        kept = values > len(values) * torch.finfo(torch.float64).eps * values[-1].clamp(min=0)
        return vectors[:, kept] / values[kept].sqrt() / scale[:, None]


class Moments:
    """X'X and X'Y of one source and one target, in one pass, accumulated in float64."""

    def __init__(self, width: int, target_width: int | None = None, device: torch.device | None = None) -> None:
        self.gram = Gram(width, device)
        self.cross = torch.zeros(width, target_width or width, dtype=torch.float64, device=device)

    def update(self, source: Tensor, target: Tensor) -> None:
        """Fold in rows: source (m, d), target (m, e), row by row the same tokens."""
        self.gram.update(source)
        self.cross.addmm_(source.double().T, target.double())

    def solve(self) -> Solution:
        """The least-squares matrix; of the smallest norm in scaled coordinates where the source lacks rank."""
        whitening = self.gram.whitening()
        return Solution((whitening @ (whitening.T @ self.cross)).T.contiguous()[None], whitening.shape[1])


class WhitenedMoments:
    """(XW)'Y of one whitened source and a stack of targets: products in float32, sums over parts in float64.

    whitening: W (d, rank), from the `Gram` of the same rows. An error of the product, relative to the norms of its
    factors, is an error of the prediction relative to the target, whatever the condition of X.
    """

    def __init__(self, whitening: Tensor, targets: int, target_width: int) -> None:
        self.whitening = whitening
        sizes = (targets, whitening.shape[1], target_width)
        self.cross = torch.zeros(sizes, dtype=torch.float64, device=whitening.device)

    def update(self, source: Tensor, targets: Tensor) -> None:
        """Fold in rows: source (m, d), targets (targets, m, e) float32, row by row the same tokens."""
        white = (source.double() @ self.whitening).to(targets.dtype)
        for cross, target in zip(self.cross, targets, strict=True):  # a batched product would copy the source
            cross += white.T @ target

    def solve(self) -> Solution:
        """The least-squares matrices; of the smallest norm in scaled coordinates where the source lacks rank."""
        d, (targets, rank, e) = len(self.whitening), self.cross.shape
        matrices = torch.empty(targets, e, d, dtype=torch.float64, device=self.cross.device)
        for matrix, cross in zip(matrices, self.cross, strict=True):  # all at once would need thrice as much memory
            matrix.copy_((self.whitening @ cross).T)
        return Solution(matrices, rank)


def fit(source: Tensor, target: Tensor) -> Solution:
    """The matrix for which `A @ x` comes closest to y: source (n, d), target (n, e)."""
    moments = Moments(source.shape[1], target.shape[1], device=source.device)
    moments.update(source, target)
    return moments.solve()


def check_rows(rows: int, width: int) -> None:
    """Raise `InputError` if there are fewer rows than coordinates, so that no map could be determined."""
    if rows < width:
        raise InputError(
            f"{rows:,} train sentences cannot determine maps of a model of width {width:,}; raise sentences.train to "
            f"at least {width:,}"
        )

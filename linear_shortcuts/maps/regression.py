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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.settings import one_thread

STRIP = 192  # wide enough for a product at full speed


@dataclass(frozen=True)
class Solution:
    """matrices: (targets, e, d) float64, each to be applied as `A @ x`; rank: of the source, d if full."""

    matrices: Tensor
    rank: int

    def __repr__(self) -> str:
        return f"Solution(matrices {tuple(self.matrices.shape)}, rank {self.rank})"


@dataclass(frozen=True)
class Whitening:
    """W (d, rank), float64, such that the columns of X W are orthonormal and span those of X.

    Where X lacks rank, the W of this kind whose columns lie in the span of X's rows; so then do the rows of every
    matrix solved for, which makes it the smallest of those that fit equally well.
    """

    matrix: Tensor
    triangular: bool  # of which products use only the upper half

    def whiten(self, source: Tensor) -> Tensor:
        """X W, (m, rank) float64, of rows (m, d)."""
        source = source.double()
        if not self.triangular:
            return source @ self.matrix
        white = torch.empty_like(source)
        for strip in _strips(len(self.matrix)):
            torch.mm(source[:, : strip.stop], self.matrix[: strip.stop, strip], out=white[:, strip])
        return white

    def solve(self, cross: Tensor) -> Tensor:
        """The least-squares matrix (e, d) from (X W)'Y, (rank, e)."""
        if not self.triangular:
            return (self.matrix @ cross).T
        solution = torch.empty_like(cross)
        for strip in _strips(len(self.matrix)):
            torch.mm(self.matrix[strip, strip.start :], cross[strip.start :], out=solution[strip])
        return solution.T


class Gram:
    """X'X of one source, accumulated in float64."""

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        self.lower = torch.zeros(width, width, dtype=torch.float64, device=device)  # what lies above is left unfinished

    def update(self, source: Tensor) -> None:
        """Fold in rows (m, d)."""
        source = source.double()
        for strip in _strips(len(self.lower)):
            self.lower[strip.start :, strip].addmm_(source[:, strip.start :].T, source[:, strip])

    @one_thread()  # LAPACK's factorisations, unlike products, depend on the number of threads in their last bits
    def whitening(self) -> Whitening:
        """The whitening of the rows folded in.

        Eigenvalues of the scaled X'X below d * eps * (the largest) count as zero, which is the tolerance of
        `numpy.linalg.matrix_rank`. On singular values that is sqrt(d * eps), 1e-7 to 1e-6: the resolution of the
        float32 states themselves, so no direction that could be told from rounding is lost. They are computed where
        a Cholesky factorisation L L' leaves a doubt: the smallest is at least 1 / ||L^-1||^2 (Frobenius), the
        largest at most d, the trace.
        """
        d, eps = len(self.lower), torch.finfo(torch.float64).eps
        scale = self.lower.diagonal().sqrt()
        scale = torch.where(scale > 0, scale, torch.ones_like(scale))
        scaled = self.lower / scale / scale[:, None]
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if not failed:
            identity = torch.eye(d, dtype=torch.float64, device=scaled.device)
            inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
            if 1 / inverse.square().sum() > d * eps * d:
                return Whitening(inverse.T / scale[:, None], triangular=True)
        values, vectors = torch.linalg.eigh(scaled)
        kept = values > d * eps * values[-1].clamp(min=0)
        matrix, unseen = vectors[:, kept] / values[kept].sqrt() / scale[:, None], vectors[:, ~kept] / scale[:, None]
        # Eigenvectors are orthogonal in scaled coordinates; in the states' own, W has a part that X does not see.
        basis = torch.linalg.qr(unseen).Q
        return Whitening(matrix - basis @ (basis.T @ matrix), triangular=False)


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
        """The least-squares matrix; the smallest, in the states' own coordinates, where the source lacks rank."""
        whitening = self.gram.whitening()
        # Of X'Y whitening makes (X W)'Y, as it makes X W of X.
        matrix = whitening.solve(whitening.whiten(self.cross.T).T)
        return Solution(matrix.contiguous()[None], whitening.matrix.shape[1])


class WhitenedMoments:
    """(XW)'Y of one whitened source and some targets: products in float32, sums over updates in float64.

    whitening: from the `Gram` of the same rows. An error of the product, relative to the norms of its
    factors, is an error of the prediction relative to the target, whatever the condition of X.
    """

    def __init__(self, whitening: Whitening, targets: int, target_width: int) -> None:
        self.whitening = whitening
        sizes = (targets, whitening.matrix.shape[1], target_width)
        self.cross = torch.zeros(sizes, dtype=torch.float64, device=whitening.matrix.device)

    def update(self, source: Tensor, targets: Sequence[Tensor]) -> None:
        """Fold in rows: source (m, d), targets (e, m) each as `columns` makes them, of the same tokens."""
        white = columns(self.whitening.whiten(source).to(source.dtype))
        for cross, target in zip(self.cross, targets, strict=True):
            cross += F.linear(white, target).to_dense()

    def solve(self) -> Solution:
        """The least-squares matrices; the smallest, in the states' own coordinates, where the source lacks rank."""
        d, (targets, rank, e) = len(self.whitening.matrix), self.cross.shape
        matrices = torch.empty(targets, e, d, dtype=torch.float64, device=self.cross.device)
        for matrix, cross in zip(matrices, self.cross, strict=True):  # all at once would need thrice as much memory
            matrix.copy_(self.whitening.solve(cross))
        return Solution(matrices, rank)


def _strips(width: int) -> Iterator[slice]:
    """Strips of a matrix of which one triangle is zero or not needed: from the diagonal on, they are half of it."""
    for first in range(0, width, STRIP):
        yield slice(first, min(first + STRIP, width))


def columns(rows: Tensor) -> Tensor:
    """Rows (m, e) as columns (e, m), laid out for products.

    On CPUs, float32 goes to oneDNN, which computes with the widest vectors of any of them; MKL, which torch asks by
    default, does on Intel's only.
    """
    to_onednn = rows.dtype == torch.float32 and rows.device.type == "cpu" and torch.backends.mkldnn.is_available()
    return rows.T.to_mkldnn() if to_onednn else rows.T


def fit(source: Tensor, target: Tensor) -> Solution:
    """The matrix for which `A @ x` comes closest to y: source (n, d), target (n, e)."""
    moments = Moments(source.shape[1], target.shape[1], device=source.device)
    moments.update(source, target)
    return moments.solve()

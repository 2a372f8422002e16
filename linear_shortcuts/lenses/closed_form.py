"""Lenses that need no training: least squares with an intercept, from streamed moments, one factorisation a source.

shift     h + mean(y - h)              nothing but a mean
affine    A (h - m) + mean(y)          least squares
ridge     the same with a penalty      chosen by generalised cross-validation (Golub, Heath and Wahba 1979)
low_rank  the same of a given rank     reduced-rank regression (Izenman 1975), all coordinates of y weighing the same

h is a state of the source layer with mean m, y the target, as a rule the last layer's state of the same token. Moments
are taken around the means, which cost a pass of their own: states whose mean is far from zero would lose digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.maps.regression import Gram

Part = tuple[Tensor, Tensor]  # states of some sources (S, m, ..., d) and the target (m, ..., d), of the same tokens


@dataclass(frozen=True, eq=False)
class Regression:
    """One source and its target: the moments around their means, factorised. All float64.

    Xs is the source (n, d), centred and scaled to unit variance, and Xs'Xs = V diag(values) V'.
    """

    rows: int  # n
    intercepts: int  # means that were subtracted from every coordinate
    source_mean: Tensor  # (intercepts, d)
    target_mean: Tensor  # (intercepts, e)
    squares: Tensor  # (e,) of the centred target
    scale: Tensor  # (d,) of the source, its standard deviation
    values: Tensor  # (rank,) those that can be told from rounding
    vectors: Tensor  # V, (d, rank)
    projected: Tensor  # (rank, e), V'Xs'Y

    @classmethod
    def of(cls, rows: int, means: Part, gram: Tensor, cross: Tensor, squares: Tensor) -> Regression:
        """gram: (d, d), of which the lower half is read; cross: (d, e); both around the means (..., d) and (..., e)."""
        source_mean, target_mean = (mean.reshape(-1, mean.shape[-1]) for mean in means)
        deviation = (gram.diagonal() / rows).sqrt()
        scale = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
        values, vectors = torch.linalg.eigh(gram / scale / scale[:, None])
        # A direction is kept where it has more than what rounding to float32 would give it.
        rounding = torch.finfo(torch.float32).eps * (source_mean.square().mean(0) / scale.square() + 1).sqrt()
        floor = rows * (vectors.square().T @ rounding.square())
        kept = values > floor.clamp(min=len(gram) * torch.finfo(torch.float64).eps * float(values[-1].clamp(min=0)))
        values, vectors = values[kept], vectors[:, kept]
        projected = vectors.T @ (cross / scale[:, None])
        return cls(rows, len(source_mean), source_mean, target_mean, squares, scale, values, vectors, projected)

    @property
    def rank(self) -> int:
        return len(self.values)

    def matrix(self, penalty: float = 0.0) -> Tensor:
        """(e, d): least squares, or with a penalty, a share of the rows, on the weights of the scaled source.

        It is scikit-learn's `Ridge(alpha=penalty * rows)` on standardised features, in the states' own coordinates. Of
        a source that lacks rank, the smallest on the scaled source.
        """
        weights = self.vectors @ (self.projected / (self.values + penalty * self.rows)[:, None])
        return (weights / self.scale[:, None]).T

    def factors(self, rank: int) -> tuple[Tensor, Tensor]:
        """(r, d) and (e, r): the best matrix of this rank, which is the truncated SVD of the fitted values."""
        left, singular, right = self._fitted
        whitening = self.vectors / self.values.sqrt() / self.scale[:, None]
        return (whitening @ left[:, :rank]).T, right[:rank].T * singular[:rank]

    @cached_property
    def _fitted(self) -> tuple[Tensor, Tensor, Tensor]:
        return torch.linalg.svd(self.projected / self.values.sqrt()[:, None], full_matrices=False)

    def gcv(self, penalty: float) -> float:
        """Generalised cross-validation: mean squared residual / (1 - trace(H) / n)^2, H the hat matrix.

        Summed over the coordinates of the target, each divided by its variance, so that each weighs the same, as in r2.
        The intercepts count in the trace.
        """
        damped = self.values + penalty * self.rows
        explained = (2 / damped - self.values / damped.square()) @ self.projected.square()
        varies = self.squares > 0
        residual = ((self.squares - explained)[varies] / self.squares[varies]).clamp(min=0).sum()
        free = 1 - (self.intercepts + float((self.values / damped).sum())) / self.rows
        return float(residual) / free**2 if free > 0 else float("inf")

    def best_penalty(self, penalties: Sequence[float]) -> float:
        """The one of least GCV."""
        return min(penalties, key=self.gcv)

    def bias(self, matrix: Tensor | None = None) -> Tensor:
        """(e,): what makes `matrix @ h + bias` right on average; no matrix is the identity."""
        carried = self.source_mean if matrix is None else self.source_mean @ matrix.T
        return (self.target_mean - carried).mean(0)


def regressions(parts: Iterable[Part]) -> list[Regression]:
    """Regress the target on each of the sources, in two passes over the parts.

    parts: the same in every iteration, so no generator. What stands between the rows and the coordinates, such as
    positions in (S, m, T, d), has a mean of its own, and then counts as rows.
    """
    seen, source_sum, target_sum = 0, torch.zeros(()), torch.zeros(())
    for states, target in parts:
        seen += len(target)
        source_sum, target_sum = source_sum + states.double().sum(1), target_sum + target.double().sum(0)
    source_mean, target_mean = source_sum / seen, target_sum / seen
    sources, width, device = len(source_mean), source_mean.shape[-1], source_mean.device
    grams = [Gram(width, device) for _ in range(sources)]
    cross = torch.zeros(sources, width, target_mean.shape[-1], dtype=torch.float64, device=device)
    squares = torch.zeros_like(cross[0, 0])
    rows = 0
    for states, target in parts:
        centred = (target.double() - target_mean).flatten(0, -2)
        rows += len(centred)
        squares += centred.square().sum(0)
        for source, gram in enumerate(grams):
            own = (states[source].double() - source_mean[source]).flatten(0, -2)
            gram.update(own)
            cross[source].addmm_(own.T, centred)
    if rows * target_mean.shape[-1] != seen * target_mean.numel():
        raise ValueError("the second pass over the parts saw other rows than the first; give a list, not a generator")
    means = ((mean, target_mean) for mean in source_mean)
    return [
        Regression.of(rows, own, gram.lower, products, squares)
        for own, gram, products in zip(means, grams, cross, strict=True)
    ]


def lenses(
    source: int, target: int, regression: Regression, ranks: Sequence[int], penalties: Sequence[float]
) -> dict[str, Lens]:
    """The closed-form lenses of one source layer, by name; a rank that the source does not have is left out."""
    affine = regression.matrix()
    ridge = regression.matrix(regression.best_penalty(penalties))
    factors: dict[str, tuple[Tensor, ...]] = {"shift": (), "affine": (affine,), "ridge": (ridge,)}
    factors |= {f"low_rank_{r}": regression.factors(r) for r in ranks if r < regression.rank}
    made = {}
    for name, own in factors.items():
        matrix = None if not own else own[0] if len(own) == 1 else own[1] @ own[0]
        bias = regression.bias(matrix)
        made[name] = Lens(name, source, target, tuple(factor.float() for factor in own), bias.float())
    return made


def future(source: int, target: int, regression: Regression) -> Lens:
    """The lens `future`: A h, regressed on what `future_part` makes; without intercept, as the Jacobian lens is."""
    return Lens("future", source, target, (regression.matrix().float(),))


def future_part(states: Tensor, target: int, positions: slice, *, causal: bool) -> Part:
    """What `future` is regressed on, of states (L + 1, rows, T, d): the sources before `target`, and what they lead to.

    The target at t is the sum of h_target over the positions from t on, of a masked model over all, among those that
    count. The number of summands falls with t, so every position has means of its own.
    """
    reached = states[target][:, positions].double()
    sums = reached.flip(1).cumsum(1).flip(1) if causal else reached.sum(1, keepdim=True).expand_as(reached)
    return states[:target, :, positions], sums

"""What is added where blocks are left out: the ridge regression of what they did on what is at hand, from moments.

With x what the last kept block's feed-forward part wrote (or the stream itself), and y = h_end - h_start what the
blocks left out would have added, D = argmin ||x D' - y||^2 + alpha ||D||^2 over rows (ReplaceMe, arXiv 2505.02819, with
the penalty on what is added, so that none of it pulls towards losing x). D = 0 is leaving the blocks out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from linear_shortcuts.maps.regression import Gram

# Penalties tried, as shares of the mean eigenvalue of x'x. A few coordinates that tower over the rest raise that mean,
# so the grid goes far below 1; at its upper end little is left of the correction.
PENALTIES = (0.0, *(10.0**exponent for exponent in range(-10, 3)))


@dataclass(frozen=True)
class Correction:
    """matrix: D (d, d), to be applied as `D @ x`. shift: c (d,), or None. penalty: as share of the mean eigenvalue.

    r2: the share of ||y||^2 that it accounts for on rows of its own; nan where there were none.
    """

    matrix: Tensor
    shift: Tensor | None
    penalty: float
    r2: float = math.nan


class Moments:
    """Sums over rows of x (d,) and y (e,) that determine every ridge regression of y on x, in float64."""

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        zeros = [torch.zeros(shape, dtype=torch.float64, device=device) for shape in (2 * (width,), width, width, ())]
        self.cross, self.x, self.y, self.squares = zeros  # y'x, sums of x and y, ||y||^2
        self.gram = Gram(width, device)
        self.rows = 0

    def update(self, x: Tensor, y: Tensor) -> None:
        """Fold in rows: x (m, d), y (m, d), row by row the same tokens."""
        x, y = x.double(), y.double()
        self.gram.update(x)
        self.cross.addmm_(y.T, x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.squares += y.square().sum()
        self.rows += len(x)

    def solve(self, penalty: float, *, intercept: bool) -> Correction:
        """The ridge regression; the smallest matrix, where there is no penalty and x lacks rank.

        penalty: alpha as share of the mean eigenvalue of x'x, centred if there is an intercept.
        """
        lower, cross = self.gram.lower, self.cross
        if intercept:
            lower = lower - torch.outer(self.x, self.x) / self.rows
            cross = cross - torch.outer(self.y, self.x) / self.rows
        gram = Gram(len(lower), lower.device)
        gram.lower = lower + penalty * lower.diagonal().mean() * torch.eye(len(lower), device=lower.device)
        whitening = gram.whitening()
        matrix = whitening.solve(whitening.whiten(cross).T).contiguous()
        shift = (self.y - matrix @ self.x) / self.rows if intercept else None
        return Correction(matrix, shift, penalty)

    def error(self, found: Correction) -> float:
        """The sum over these rows of ||x D' + c - y||^2, relative to that of ||y||^2: 1 is leaving the blocks out."""
        lower = self.gram.lower.tril()
        gram = lower + lower.tril(-1).T
        matrix = found.matrix
        total = self.squares - 2 * (matrix * self.cross).sum() + ((matrix @ gram) * matrix).sum()
        if found.shift is not None:
            total = total + 2 * found.shift @ (matrix @ self.x - self.y) + self.rows * found.shift.square().sum()
        return float(total / self.squares) if self.squares else 0.0


def best(fit: Moments, own: Moments, *, intercept: bool, penalties: Sequence[float] = PENALTIES) -> Correction:
    """Of the corrections fitted on `fit`, one a penalty, the one that errs least on rows of its own."""
    found = [fit.solve(share, intercept=intercept) for share in penalties]
    return max((replace(each, r2=1 - own.error(each)) for each in found), key=lambda each: each.r2)

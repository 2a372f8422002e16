"""Early exit: leave at the first layer that is confident enough. A lookup in the read-outs of the fixed exits.

The confidence of a read-out is its margin, the difference of its two largest probabilities. It does not depend on the
threshold, so one pass through the model serves every threshold there is: the paper's grid, and quantiles of what was
observed, where the grid leaves gaps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.models import Cost
from linear_shortcuts.scores.measures import in_top

LAMBDA_WEIGHT = 0.9
ORIGINAL_POSITION = 3  # which the study's program for masked models takes for that of every sample


def thresholds(lambda_: float, positions: Tensor, at: int | None = None) -> Tensor:
    """The confidence an exit needs at each of n sampled positions, after Schuster et al. (2022).

    0.9 lambda + 0.1 exp(-4 t / N), with N the mean of t + 1 over the samples. at: a position that takes the place of
    every sample's own t, though not in N.
    """
    own = positions.double()
    t = own if at is None else torch.full_like(own, at)
    return LAMBDA_WEIGHT * lambda_ + 0.1 * torch.exp(-4 * t / (own + 1).mean())


def spread(margins: Tensor, positions: Tensor, number: int, at: int | None = None) -> list[float]:
    """Lambdas at which the mean layers run lie evenly between 1 and L, wherever confidence crowds; at most `number`.

    margins: (L + 1, n), as in `exit_layers`; nan never exits. A sample has left by layer l at every lambda below the
    largest that its margins up to l allow. The share of these values, over samples and the layers 1..L-1, that a lambda
    reaches is its mean layers, less 1, in parts of L - 1: so they are quantiles of these values.
    """
    allowed = (margins[1:-1].double() - thresholds(0.0, positions, at)) / LAMBDA_WEIGHT
    left = allowed.nan_to_num(nan=-math.inf).cummax(dim=0).values.flatten().sort().values
    if not len(left):
        return []
    ranks = torch.linspace(0, len(left) - 1, number + 2, dtype=torch.float64)[1:-1].round().long()
    return sorted({round(value, 6) for value in left[ranks].tolist() if math.isfinite(value)})


def exit_layers(margins: Tensor, positions: Tensor, lambda_: float, at: int | None = None) -> Tensor:
    """Where each of n samples leaves: the first layer in 1..L-1 whose margin exceeds its threshold, else L.

    margins: (L + 1, n), the difference of the two largest probabilities at every layer. Layer 0 never exits.
    at: see `thresholds`.
    """
    last = len(margins) - 1
    fires = margins[1:last].double() > thresholds(lambda_, positions, at)
    never = torch.ones(1, margins.shape[1], dtype=torch.bool)
    return torch.cat([fires, never]).int().argmax(dim=0) + 1


def crossing(x: Tensor, y: Tensor, level: float) -> float | None:
    """Where the curve y(x) first reaches `level`, by linear interpolation between points sorted by x.

    None if it never does. A curve that starts at or above the level crosses at its first point.
    """
    order = torch.argsort(x, stable=True)
    x, y = x[order].double(), y[order].double()
    reached = (y >= level).nonzero()
    if len(reached) == 0:
        return None
    k = int(reached[0])
    if k == 0 or y[k] == y[k - 1]:
        return float(x[k])
    share = (level - y[k - 1]) / (y[k] - y[k - 1])
    return float(x[k - 1] + share * (x[k] - x[k - 1]))


def sweep(
    readouts: Sequence[Mapping[str, Tensor]],
    positions: Tensor,
    grid: Iterable[float],
    mapping: str,
    cost: Cost,
    quantiles: int = 0,
    at: int | None = None,
) -> list[dict[str, Any]]:
    """One record per lambda, in rising order: where every sample leaves, with what prediction, at what cost.

    readouts: of one mapping at the layers 0..L, with `top_ids` (n, 10), `top_probabilities` (n, 2), `surprisal` (n,).
    grid: lambdas. quantiles: how many more to take from the observed confidence, see `spread`.
    at: see `thresholds`.
    """
    last = len(readouts) - 1
    probabilities = torch.stack([readout["top_probabilities"] for readout in readouts])
    margins = probabilities[..., 0] - probabilities[..., 1]
    top_ids = torch.stack([readout["top_ids"] for readout in readouts])
    surprisal = torch.stack([readout["surprisal"] for readout in readouts])
    samples = torch.arange(len(positions))
    full = cost.full(last).sum()
    grid = set(grid)
    records = []
    for lambda_ in sorted(grid.union(spread(margins, positions, quantiles, at))):
        layers = exit_layers(margins, positions, lambda_, at)
        chosen = top_ids[layers, samples]
        records.append(
            {
                "type": "early_exit",
                "mapping": mapping,
                "lambda": lambda_,
                "swept": "grid" if lambda_ in grid else "quantile",
                "exit_layers": layers,
                "top_ids": chosen,
                "surprisal": surprisal[layers, samples],
                "correct": in_top(top_ids[last], chosen[:, 0], 1),
                "mean_layers": float(layers.double().mean()),
                "relative_cost": float(cost.exits(layers, last, mapping, checks=True).sum() / full),
            }
        )
    return records


def saving(records: Sequence[Mapping[str, Any]], precision: float, key: str, whole: float) -> float | None:
    """The share of `whole` saved where a sweep first reaches the given Precision@1; None if it never does.

    key: `mean_layers` (whole = L) or `relative_cost` (whole = 1). Negative where the exits cost more than they save.
    """
    x = torch.tensor([record[key] for record in records], dtype=torch.float64)
    y = torch.tensor([float(record["correct"].double().mean()) for record in records], dtype=torch.float64)
    at = crossing(x, y, precision)
    return None if at is None else 1 - at / whole

"""Scores of a guess against the genuine states or the full model's own prediction. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

NEAREST = 10  # neighbours that count for recall
FLAT = torch.finfo(torch.float32).eps  # of the root mean square spread of all coordinates


def r2(target: Tensor, guess: Tensor) -> float:
    """Share of the variance of `target` that `guess` explains: 1 is exact, 0 is the mean, below 0 is worse.

    target, guess: (n, d). Computed per coordinate around the mean over the n rows, then averaged: every coordinate
    weighs the same. A coordinate that does not vary scores 1 if it is guessed exactly, else 0; to float32, which cannot
    tell less than `FLAT` of the spread of all, it does not vary below that. all-MiniLM-L6-v2 ends in three such.
    """
    spread = Spread()
    spread.update(target)
    return _explained(_squares(target.double(), guess), spread.total)


def explained_pairs(
    parts: Iterable[Tensor], jumps: Mapping[str, Callable[[Tensor, int, int], Tensor]], pairs: Iterable[tuple[int, int]]
) -> dict[str, dict[tuple[int, int], float]]:
    """How well each jump, `jump(h_i, i, j)`, guesses h_j, by the pair (i, j), under two names for each jump.

    `score_NAME` is r2: of every coordinate the share explained, averaged. `total_NAME` is the share of the variance of
    all coordinates together, in which the few that are hundreds of times larger than the rest are nearly all there is.
    parts: states (L + 1, m, d) of some tokens after others, each looked at once and not kept.
    """
    pairs = list(pairs)
    targets = {j: Spread() for _, j in pairs}
    residuals: dict[str, Tensor] = {}
    for states in parts:
        # In one piece: small sums that outlive large temporaries would keep the space between from being used again.
        residuals = residuals or {
            name: torch.zeros(len(pairs), states.shape[-1], dtype=torch.float64, device=states.device) for name in jumps
        }
        exact = {j: states[j].double() for j in targets}
        for j, spread in targets.items():
            spread.update(exact[j])
        for name, jump in jumps.items():
            for residual, (i, j) in zip(residuals[name], pairs, strict=True):
                residual += _squares(exact[j], jump(states[i], i, j))
    found = {}
    for name, rows in residuals.items():
        own = list(zip(pairs, rows, strict=True))
        found[f"score_{name}"] = {(i, j): _explained(residual, targets[j].total) for (i, j), residual in own}
        found[f"total_{name}"] = {
            (i, j): _explained(residual.sum(0, keepdim=True), targets[j].total.sum(0, keepdim=True))
            for (i, j), residual in own
        }
    return found


def r2_pairs(
    parts: Iterable[Tensor], jumps: Mapping[str, Callable[[Tensor, int, int], Tensor]], pairs: Iterable[tuple[int, int]]
) -> dict[str, dict[tuple[int, int], float]]:
    """r2 of `jump(h_i, i, j)` as a guess at h_j, by the name of the jump and the pair (i, j); see `explained_pairs`."""
    found = explained_pairs(parts, jumps, pairs)
    return {name: found[f"score_{name}"] for name in jumps}


class Spread:
    """The sum of squares around the mean, per coordinate, of rows that come in parts; float64.

    Merged as by Chan, Golub and LeVeque (1983), so that a mean far from zero costs no digits.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.mean: Any = 0.0  # (d,)
        self.total: Any = 0.0  # (d,)

    def update(self, rows: Tensor) -> None:
        """Fold in rows (m, d)."""
        rows = rows.double()
        mean = rows.mean(0)
        away = mean - self.mean
        joined = self.rows + len(rows)
        self.total = self.total + (rows - mean).square().sum(0) + away.square() * (self.rows * len(rows) / joined)
        self.mean = self.mean + away * (len(rows) / joined)
        self.rows = joined


def _squares(target: Tensor, guess: Tensor) -> Tensor:
    return (target - guess.double()).square_().sum(0)


def _explained(residual: Tensor, total: Tensor) -> float:
    floor = FLAT**2 * total.mean()
    return float(torch.where(total > floor, 1 - residual / total, (residual <= floor).double()).mean())


def in_top(top: Tensor, guess: Tensor, k: int) -> Tensor:
    """For each of n samples, whether the guess (n,) is among the first k of `top` (n, at least k); float32.

    Its mean is Precision@k when `top` are the full model's best tokens and `guess` an exit's best one.
    """
    return (top[:, :k] == guess[:, None]).any(dim=1).float()


def nearest(embeddings: Tensor, k: int = NEAREST, rows: int = 1000) -> Tensor:
    """The k other sentences whose embeddings (n, d) of length 1 are nearest to each, (n, k), nearest first.

    k is at most n - 1; rows: how many are compared with all others at once.
    """
    found = []
    for first in range(0, len(embeddings), rows):
        cosines = embeddings[first : first + rows] @ embeddings.T
        cosines.diagonal(first).fill_(-torch.inf)
        found.append(cosines.topk(min(k, len(embeddings) - 1)).indices)
    return torch.cat(found)


def overlap(found: Tensor, wanted: Tensor) -> Tensor:
    """For each of n queries the share of the ids wanted (n, k) that are among those found (n, k), (n,): recall@k."""
    return (wanted[:, :, None] == found[:, None, :]).any(2).float().mean(1)


def kl_divergence(p: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) in nats of distributions (..., V); p is given with its logarithm, which is dear to take."""
    return torch.linalg.vecdot(p, log_p) - torch.linalg.vecdot(p, log_q)


def bootstrap_interval(values: Tensor, resamples: int, confidence: float, seed: int) -> tuple[Tensor, Tensor]:
    """Percentile interval of the mean over samples, by resampling the n samples with replacement.

    values: (..., n), nan where a sample has none: it is left out, and so is a resample of such samples alone. Returns
    the lower and the upper ends, (...), nan where no sample has a value. The same resamples serve all leading entries,
    so differences between curves are not blurred by the draw.
    """
    means, tail = resampled_means(values, resamples, seed), (1 - confidence) / 2
    ends = torch.nanquantile(means.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=-1)
    return ends[0], ends[1]


def resampled_means(values: Tensor, resamples: int, seed: int) -> Tensor:
    """The means (..., resamples) of n samples drawn with replacement from values (..., n); see `bootstrap_interval`."""
    n = values.shape[-1]
    generator = torch.Generator().manual_seed(seed % 2**63)
    drawn = torch.randint(n, (resamples, n), generator=generator)
    # How often each sample is drawn: a resampled mean is then one row of a matrix product.
    counts = torch.zeros(resamples, n).scatter_add_(1, drawn, torch.ones(resamples, n))
    rows = values.float().reshape(-1, n)
    known = (~rows.isnan()).float()
    means = rows.nan_to_num(nan=0.0) @ counts.T / (known @ counts.T)
    return means.reshape(*values.shape[:-1], resamples)

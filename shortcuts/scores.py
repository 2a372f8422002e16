"""Scores of a guess against the genuine states or the full model's own prediction. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def r2(target: Tensor, guess: Tensor) -> float:
    """Share of the variance of `target` that `guess` explains: 1 is exact, 0 is the mean, below 0 is worse.

    target, guess: (n, d). Computed per coordinate around the mean over the n rows, then averaged: every coordinate
    weighs the same. A coordinate that does not vary scores 1 if it is guessed exactly, else 0.
    """
    target, guess = target.double(), guess.double()
    residual = (target - guess).square().sum(0)
    total = (target - target.mean(0)).square().sum(0)
    explained = torch.where(total > 0, 1 - residual / total, (residual == 0).double())
    return float(explained.mean())


def r2_pairs(
    states: Tensor, jump: Callable[[Tensor, int, int], Tensor], pairs: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], float]:
    """r2 of `jump(h_i, i, j)` as a guess at h_j for every pair (i, j); states (L + 1, n, d)."""
    return {(i, j): r2(states[j], jump(states[i], i, j)) for i, j in pairs}


def in_top(top: Tensor, guess: Tensor, k: int) -> Tensor:
    """For each of n samples, whether the guess (n,) is among the first k of `top` (n, at least k); float32.

    Its mean is Precision@k when `top` are the full model's best tokens and `guess` an exit's best one.
    """
    return (top[:, :k] == guess[:, None]).any(dim=1).float()


def kl_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) in nats of distributions given by log-probabilities (..., V)."""
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def bootstrap_interval(values: Tensor, resamples: int, confidence: float, seed: int) -> tuple[Tensor, Tensor]:
    """Percentile interval of the mean over samples, by resampling the n samples with replacement.

    values: (..., n). Returns the lower and the upper ends, (...). The same resamples serve all leading entries, so
    differences between curves are not blurred by the draw.
    """
    n = values.shape[-1]
    generator = torch.Generator().manual_seed(seed % 2**63)
    tail = (1 - confidence) / 2
    drawn = torch.randint(n, (resamples, n), generator=generator)
    # How often each sample is drawn: a resampled mean is then one row of a matrix product.
    counts = torch.zeros(resamples, n).scatter_add_(1, drawn, torch.ones(resamples, n))
    means = values.float().reshape(-1, n) @ counts.T / n
    ends = torch.quantile(means.double(), torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=1)
    return ends[0].reshape(values.shape[:-1]), ends[1].reshape(values.shape[:-1])

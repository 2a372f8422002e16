"""Count models: the next character by how often it followed the last ones (n-grams with additive smoothing)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from character_embeddings.vocabulary import Pairs
from linear_shortcuts.files import InputError

MOST_BYTES = 2 * 10**9


@dataclass(frozen=True)
class CountModel:
    """P(y | context) = (N(context, y) + alpha) / sum over y' of (N(context, y') + alpha).

    probabilities: (V,) * order, float64; the last axis is the next character and sums to 1, also where the context
    was never seen.
    """

    probabilities: Tensor

    @property
    def order(self) -> int:
        return self.probabilities.ndim

    def __call__(self, contexts: Tensor) -> Tensor:
        """The distribution over the next character, (n, V), after contexts (n, T) of at least order − 1 characters."""
        return self.probabilities[tuple(contexts[:, contexts.shape[1] - self.order + 1 :].T)]

    def loss(self, pairs: Pairs) -> float:
        """Mean surprisal in nats per character."""
        return -float(self(pairs.contexts).gather(1, pairs.targets[:, None]).log().mean())


def fit_counts(pairs: Pairs, order: int, vocabulary: int, alpha: float) -> CountModel:
    """Count in pairs whose contexts have at least order − 1 characters.

    Raises `InputError` if the table, one float64 for every sequence of `order` characters, is larger than `MOST_BYTES`.
    """
    size = 8 * vocabulary**order
    if size > MOST_BYTES:
        raise InputError(f"order {order} of {vocabulary:,} characters takes {size / 1e9:,.0f} GB; lower counts.orders")
    grams = torch.cat([pairs.contexts[:, pairs.contexts.shape[1] - order + 1 :], pairs.targets[:, None]], dim=1)
    place = torch.zeros(len(grams), dtype=torch.int64)
    for column in grams.T:
        place = place * vocabulary + column
    counts = torch.bincount(place, minlength=vocabulary**order).double().reshape((vocabulary,) * order) + alpha
    return CountModel(counts / counts.sum(-1, keepdim=True))

"""Models that others trained: do neighbours among their vectors agree with neighbours in use?

For tokens that are common in a text, distances of vectors are laid beside distances of the contexts that the text gives
them, as in `language_models`, here with what chance would give and an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_shortcuts.text import encode
from tied_embeddings.language_models import (
    ROLES,
    Subject,
    cosine_distances,
    count_roles,
    rank_correlation,
    shared_neighbors,
)
from tied_embeddings.text_settings import LanguageModels

GROUPS = 20  # of tokens, for the jackknife


def follow(subject: Subject, sentences: Sequence[str], settings: LanguageModels) -> list[dict[str, Any]]:
    """How far each matrix of vectors follows each role of tokens, and the two of a kind each other; a row a pair.

    `correlation`: Spearman's, of distances over pairs of tokens, with the ends of its 95 % interval over tokens;
    `shared`: the mean share of a token's nearest others that the two have in common, by `chance` without any relation.
    """
    vectors = subject.embeddings()
    encoded = encode(subject.tokenizer, sentences, add_special_tokens=False)["input_ids"]
    roles = count_roles(encoded, settings.tokens, len(vectors["input"]), subject.tokenizer.all_special_ids)
    tied = torch.equal(vectors["input"], vectors["output"])
    learned = {
        "vectors" if tied else f"{role} vectors": cosine_distances(vectors[role][roles.tokens]) for role in ROLES
    }
    counted = {f"{role} role": roles.distances(role, subject.causal) for role in ROLES}
    pairs = [(one, other) for one in learned for other in counted] + [tuple(counted)]
    distances, rows = {**learned, **counted}, []
    for one, other in pairs if tied else [*pairs, tuple(learned)]:
        first, second = distances[one], distances[other]
        low, high = interval(partial(_correlation_of_some, first, second), len(first))
        shared = shared_neighbors(first, second, settings.neighbors)
        chance = settings.neighbors / (len(first) - 1)
        about: dict[str, Any] = {"tied": tied, "tokens": len(first), "least_count": int(roles.counts.min())}
        found = {"correlation": rank_correlation(first, second), "low": low, "high": high}
        rows.append({**about, "one": one, "other": other, **found, "shared": shared, "chance": chance})
    return rows


def _correlation_of_some(first: Tensor, second: Tensor, kept: Tensor) -> float:
    return rank_correlation(first[kept][:, kept], second[kept][:, kept])


def interval(statistic: Callable[[Tensor], float], number: int) -> tuple[float, float]:
    """The 95 % interval of a statistic of `number` tokens, by the jackknife that leaves a group of them out at a time.

    statistic: of the indices of the tokens that are kept. Tokens lie in groups in turns, so that each has common and
    rare ones. Student's t with one degree of freedom fewer than groups (Efron and Tibshirani 1993, chapter 11).
    """
    from scipy.stats import t

    groups = min(GROUPS, number)
    place = torch.arange(number) % groups
    left_out = np.array([statistic((place != group).nonzero().squeeze(1)) for group in range(groups)])
    whole = statistic(torch.arange(number))
    error = np.sqrt((groups - 1) / groups * np.square(left_out - left_out.mean()).sum())
    half = float(t.ppf(0.975, groups - 1) * error)
    return whole - half, whole + half

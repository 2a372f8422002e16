"""A phrase on its way through the model: where its states are, and how close one comes to the next word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_shortcuts.files import InputError
from linear_shortcuts.models import LanguageModel, Watcher
from traveling_words.geometry import Norm, cosine_distance, precision
from traveling_words.nearest import Rows, nearest, rank
from traveling_words.projection import Projection


@dataclass(frozen=True)
class Phrase:
    """Token ids (n,) of a phrase, the position of the token to follow, and the states (L + 1, n, d) of every layer."""

    ids: Tensor
    follow: int
    states: Tensor


def read_phrase(model: LanguageModel, ids: Tensor, follow: int) -> Phrase:
    """The states of a phrase in every layer; `InputError` for a position it does not have, or that no word follows."""
    n = len(ids)
    if not -n <= follow < n or follow % n == n - 1:
        raise InputError(
            f"trajectory.follow is {follow}; the phrase has {n} tokens and one must come after the one that is "
            f"followed, so it must be 0 to {n - 2} or {-n} to -2"
        )
    seen = _States()
    with torch.inference_mode(), model.watch(seen):
        model.encode(ids[None].to(model.device), None)
    states = torch.stack([seen.layers[layer] for layer in sorted(seen.layers)])
    return Phrase(ids, follow % n, states.to(precision(states.device)))


class _States(Watcher):
    def __init__(self) -> None:
        self.layers: dict[int, Tensor] = {}

    def state(self, layer: int, states: Tensor) -> None:
        self.layers[layer] = states[0]


def project(phrase: Phrase, readout: Tensor, final_norm: Norm, projection: Projection) -> tuple[np.ndarray, np.ndarray]:
    """The phrase's word vectors (n, 3) and its states (L + 2, n, 3) in three dimensions.

    states[0] is what enters the first block (word vector, with its position where positions are added), states[1 + i]
    is layer i through the final norm. All are placed in one call.
    """
    words = readout[phrase.ids].to(phrase.states)
    stages = torch.cat([words[None], phrase.states[:1], final_norm(phrase.states)])  # (L + 3, n, d)
    placed = projection(stages.flatten(0, 1).cpu().numpy())
    placed = placed.astype(np.float64).reshape(*stages.shape[:2], -1)
    return placed[0], placed[1:]


def approach(phrase: Phrase, readout: Tensor, final_norm: Norm, k: int) -> dict[str, Any]:
    """How close the followed token's state is to the token after it, layer by layer, in the full space.

    readout: (V, d). The state of every layer is read through the final norm, which only the last layer's own output
    meets in the model. For each layer 0..L: `dot`, the token's logit; `cosine` and `distance` (Euclidean) to its word
    vector; `rank` among all tokens by logit and `cosine_rank` by cosine, 1 the nearest; `mean_cosine` and
    `mean_distance` to all word vectors, since a state that moves anywhere gets closer to some; `smallest_distance` to
    any of them; `nearest_ids` (k,). `word_spacing`: the mean distance of the phrase's words from their nearest other
    word, against which the smallest distance tells whether a state is among the words at all.
    """
    words = Rows(readout)
    target = int(phrase.ids[phrase.follow + 1])
    vector = readout[target].to(phrase.states)
    rows = []
    for layer, state in enumerate(final_norm(phrase.states[:, phrase.follow])):
        cosines, distances = [], []
        for _, chunk in words.chunks(4096, like=state):
            cosines.append(1 - cosine_distance(chunk, state))
            distances.append((chunk - state).norm(dim=-1))
        rows.append(
            {
                "layer": layer,
                "dot": float(state @ vector),
                "cosine": float(1 - cosine_distance(state, vector)),
                "distance": float((state - vector).norm()),
                "rank": rank(state, words, target),
                "cosine_rank": rank(state, words, target, cosine=True),
                "mean_cosine": float(torch.cat(cosines).mean()),
                "mean_distance": float(torch.cat(distances).mean()),
                "smallest_distance": float(torch.cat(distances).min()),
                "nearest_ids": nearest(state[None], words, k).ids[0].tolist(),
            }
        )
    return {"target": target, "word_spacing": _word_spacing(phrase.ids, words, phrase.states), "rows": rows}


def _word_spacing(ids: Tensor, words: Rows, like: Tensor) -> float:
    """The mean, over the different tokens of a phrase, of the distance to the nearest other row, (V, d)."""
    tokens = ids.unique().to(like.device)
    own = words[tokens].to(like)
    smallest = torch.full((len(tokens),), torch.inf).to(like)
    for first, chunk in words.chunks(4096, like=like):
        distances = torch.cdist(own, chunk)
        numbers = torch.arange(first, first + len(chunk), device=like.device)
        smallest = torch.minimum(smallest, distances.masked_fill(numbers == tokens[:, None], torch.inf).amin(1))
    return float(smallest.mean())


def does_it_approach(approach: Mapping[str, Any]) -> dict[str, Any]:
    """The answer in numbers: from the first layer to the last, does the state come closer to the word that follows?

    Judged by cosine and by distance, each absolutely and against the mean over all word vectors, and by rank.
    """
    rows = approach["rows"]
    first, last = rows[0], rows[-1]
    return {
        "rank_first": first["rank"],
        "rank_last": last["rank"],
        "cosine_gain": last["cosine"] - first["cosine"],
        "cosine_gain_over_mean": (last["cosine"] - last["mean_cosine"]) - (first["cosine"] - first["mean_cosine"]),
        "distance_change": last["distance"] - first["distance"],
        "distance_change_over_mean": (last["distance"] - last["mean_distance"])
        - (first["distance"] - first["mean_distance"]),
        "steps_closer_by_cosine": sum(b["cosine"] > a["cosine"] for a, b in pairwise(rows)),
        "steps": len(rows) - 1,
        "nearest_word_last": last["smallest_distance"],
        "word_spacing": approach["word_spacing"],
    }

"""Embeddings of sentences that leave an encoder early: how close they are to its own, and what they retrieve.

As sentence-transformers makes them, an embedding is the mean of the last states over all tokens that are no padding,
special ones included, of length 1. At exit layer l (0..L) the mean is over

    id            h_l as it is
    mat           A_{L,l} h_l

so that at l = L both are the encoder itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
from linear_shortcuts.models import LanguageModel, arithmetic
from linear_shortcuts.scores.exits import chunk_file
from linear_shortcuts.scores.measures import nearest, overlap
from linear_shortcuts.states import SequenceRecorder, batches
from linear_shortcuts.text import Tokens

if TYPE_CHECKING:
    from linear_shortcuts.settings import Exits

KIND = "embeddings (it has no prediction head, so no exits)"


@torch.inference_mode()
def embed_exits(
    model: LanguageModel, tokens: Tokens, maps: LayerMaps, tokens_per_batch: int
) -> dict[tuple[str, int], Tensor]:
    """The embeddings (n, d) of n sentences, float32, by mapping and exit layer."""
    last = model.layers
    exits = [(mapping, layer) for mapping in ("id", "mat") for layer in range(last + 1)]
    found = {key: torch.empty(len(tokens), model.width) for key in exits}
    for batch in batches(tokens, model, tokens_per_batch):
        recorder = SequenceRecorder()
        with model.watch(recorder):
            model.encode(batch.ids, batch.mask)
        mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
        for mapping, layer in exits:
            states = recorder.states[layer].float()
            guess = maps.jump(states, layer, last) if mapping == "mat" else states
            found[mapping, layer][batch.rows.cpu()] = pool(model.finish(guess), mask).cpu()
    return found


def pool(states: Tensor, mask: Tensor) -> Tensor:
    """The embeddings (batch, d) of states (batch, tokens, d): the mean where mask (batch, tokens) is 1, of length 1."""
    return F.normalize(mean(states, mask), dim=-1)


def mean(states: Tensor, mask: Tensor) -> Tensor:
    """The mean (batch, d) of states (batch, tokens, d) where mask (batch, tokens) is 1."""
    real = mask.to(states)[..., None]
    return (states * real).sum(1) / real.sum(1)


def score_embeddings(exits: Mapping[tuple[str, int], Tensor]) -> list[dict[str, object]]:
    """One record per mapping and exit layer, from embeddings as `embed_exits` gives them.

    `cosine` (n,) with the embedding of the whole encoder; `recall` (n,), the share of a sentence's `NEAREST` neighbours
    in the whole encoder that it keeps among the n sentences when all of them leave at that layer.
    """
    whole = exits["mat", max(layer for _, layer in exits)]
    wanted = nearest(whole)
    return [
        {
            "type": "embedding",
            "mapping": mapping,
            "layer": layer,
            "mean_layers": float(layer),
            "cosine": (own * whole).sum(1),
            "recall": overlap(nearest(own), wanted),
        }
        for (mapping, layer), own in exits.items()
    ]


# --- chunk by chunk, as `exits` has it of the models that predict ----------------------------------------------


def score_chunk(
    model: LanguageModel,
    states: Tensor,
    tokens: Tokens,
    first: int,
    last: int,
    layer_maps: LayerMaps,
    submodule_maps: SubmoduleMaps,
    tokens_per_batch: int,
    precision: str,
    how: Exits,
    listed: Tensor | None = None,
) -> dict[tuple[str, int], Tensor]:
    """The embeddings of sentences first..last-1. States of sampled tokens, stand-ins of parts, lists are not needed.

    precision: of the model's own arithmetic, see `models.arithmetic`.
    """
    with arithmetic(precision, model.device):
        return embed_exits(model, tokens.part(first, last), layer_maps, tokens_per_batch)


def chunk_files(embeddings: Mapping[tuple[str, int], Tensor], number: int) -> dict[str, object]:
    """The file (name -> value) of one chunk of sentences."""
    return {chunk_file(number): dict(embeddings)}


def join_chunks(chunks: Sequence[Mapping[tuple[str, int], Tensor]]) -> list[dict[str, object]]:
    """The records of all sentences, whose neighbours may be in any chunk."""
    return score_embeddings({key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]})

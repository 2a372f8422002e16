"""Content lambdas read as tokens: their rows by what they write, their columns by who reads them, their keys by whom
they are made of.

A row of a lambda, (v,), is what a query's entry k adds to a head's output. The head's slice of the output matrix,
(H, v), takes it to the stream: that vector is the row's *image*, one for each head. A column, (k,), is what a query is
compared with to give one entry of every head's output, so that the tokens nearest to it are those whose queries fit it
best. And a key gives each token of the sentence its weight in the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lambda_bert.lambdas import batches
from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
from linear_shortcuts.models import LanguageModel

SEEN = 5  # a token's mean state or weight counts if it was seen so often


@dataclass(frozen=True)
class Nearest:
    """ids: (..., tokens) of the largest scores, best first. scores: the same, in units of the spread over tokens."""

    ids: Tensor
    scores: Tensor


def nearest(scores: Tensor, k: int) -> Nearest:
    """The k tokens of the largest scores (..., V), of tokens that have one: others are -inf."""
    known = scores.isfinite()
    mean = scores.where(known, 0).sum(-1, keepdim=True) / known.sum(-1, keepdim=True)
    spread = (scores - mean).where(known, 0).square().sum(-1, keepdim=True) / known.sum(-1, keepdim=True)
    found = ((scores - mean) / spread.sqrt().clamp(min=1e-30)).topk(k, dim=-1)
    return Nearest(found.indices, found.values)


# --- rows ------------------------------------------------------------------------------------------------------


def row_images(model: LanguageModel, layer: int, lambdas: Tensor) -> Tensor:
    """What the rows of lambdas (..., k, v) of a block write into the stream, by head: (..., h, k, H)."""
    output = model.blocks[layer].get_submodule("attention.output.dense").get_parameter("weight")
    slices = output.unflatten(1, (-1, lambdas.shape[-1]))  # (H, h, v)
    return torch.einsum("...kv,dhv->...hkd", lambdas.to(output), slices)


def read_directly(model: LanguageModel, images: Tensor) -> Tensor:
    """Scores (..., V) of vectors of the stream: their dot products with the word embeddings, less the mean one."""
    words = model.network.get_input_embeddings().weight
    return images @ (words - words.mean(0)).T


def read_by_shortcut(
    model: LanguageModel, layer_maps: LayerMaps, parts: SubmoduleMaps, layer: int, images: Tensor, mean: Tensor
) -> Tensor:
    """Scores (..., V): how much logits rise if a block's lambda layer adds a vector, every later part being a matrix.

    The rest of the block and all later blocks are the fitted stand-ins; the head is the model's own, around `mean`
    (H,), the mean of h_L.
    """
    # BERT's sub-steps after the sum: 2 norm, 3 feed-forward network, 4 sum, 5 norm.
    after_norm = images @ parts[layer, 2, 3].to(images).T
    summed = after_norm + after_norm @ parts[layer, 3, 4].to(images).T
    end = layer_maps.jump(summed @ parts[layer, 5, 6].to(images).T, layer + 1, model.layers)
    return model.decode(mean + end) - model.decode(mean)


@torch.inference_mode()
def own_tokens(scores: Tensor, own: Tensor, others: Tensor) -> tuple[float, float]:
    """Where the tokens of the sentence stand among all, and where those of another one do: mean percentiles.

    scores: (rows, V), of the rows of one lambda. A row may be added or taken away, as its query's sign is: magnitudes
    are ranked. 1/2 is chance. Tokens of both sentences are left out.
    """
    magnitudes = scores.abs()
    ordered = magnitudes.sort(dim=-1).values

    def percentile(ids: Tensor, without: Tensor) -> float:
        alone = ids[~torch.isin(ids, without)]
        below = torch.searchsorted(ordered, magnitudes[:, alone].contiguous())
        return float(below.float().mean()) / (scores.shape[-1] - 1) if len(alone) else 0.5

    return percentile(own, others), percentile(others, own)


# --- columns and keys ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TokenMeans:
    """Of a corpus: states (L, V, H), the mean state in which a token enters each block; lifts (L, V, k, u), its mean
    weight in each key, times the tokens of the sentence, so that 1 is an even share; counts (V,); last (H,), the mean
    of h_L over all tokens."""

    states: Tensor
    lifts: Tensor
    counts: Tensor
    last: Tensor


@torch.inference_mode()
def token_means(model: LanguageModel, ids: Sequence[Tensor]) -> TokenMeans:
    """Run a LambdaBERT on the token ids of sentences."""
    config = model.network.config
    shape = (model.layers, model.vocabulary)
    states = torch.zeros(*shape, config.hidden_size)
    lifts = torch.zeros(*shape, config.key_depth, config.intra_depth)
    counts = torch.zeros(model.vocabulary)
    last = torch.zeros(config.hidden_size)
    for _, batch in batches([sentence.tolist() for sentence in ids]):
        found = model.network.base_model(batch.to(model.device), output_hidden_states=True).hidden_states
        flat = batch.flatten()
        counts.index_add_(0, flat, torch.ones(len(flat)))
        last += found[-1].sum((0, 1)).float().cpu()
        for layer, block in enumerate(model.blocks):
            entering = found[layer]
            mixing: Any = block.get_submodule("attention.self")
            _, keys, _ = mixing.project(entering)
            states[layer].index_add_(0, flat, entering.flatten(0, 1).float().cpu())
            lifts[layer].index_add_(0, flat, (keys * batch.shape[1]).flatten(0, 1).float().cpu())
    seen = counts.clamp(min=1)
    return TokenMeans(states / seen[:, None], lifts / seen[:, None, None], counts, last / counts.sum())


@torch.inference_mode()
def column_scores(model: LanguageModel, means: TokenMeans, layer: int, lambdas: Tensor) -> Tensor:
    """How well the query of each token fits the columns of lambdas (..., k, v), by head: (..., h, v, V).

    A token's query is that of its mean state, less the mean query; -inf where a token was seen too rarely.
    """
    mixing: Any = model.blocks[layer].get_submodule("attention.self")
    entering = means.states[layer].to(model.device)
    queries, _, _ = mixing.project(entering[None])
    seen = (means.counts >= SEEN).to(model.device)
    queries = queries[0] - queries[0, seen].mean(0)  # (V, h, k)
    scores = torch.einsum("Vhk,...kv->...hvV", queries, lambdas.to(queries))
    return scores.masked_fill(~seen, -torch.inf)


def key_tokens(means: TokenMeans, layer: int, k: int) -> Nearest:
    """The tokens to which each key of a block gives the most weight: ids and lifts (k, u, tokens)."""
    lifts = means.lifts[layer].permute(1, 2, 0).masked_fill(means.counts < SEEN, -torch.inf)
    found = lifts.topk(k, dim=-1)
    return Nearest(found.indices, found.values)


def strongest(values: Tensor, number: int) -> list[tuple[int, ...]]:
    """The places of the largest of values of any shape, the largest first."""
    return [
        tuple(int(i) for i in np.unravel_index(place, values.shape))
        for place in values.flatten().topk(min(number, values.numel())).indices.tolist()
    ]

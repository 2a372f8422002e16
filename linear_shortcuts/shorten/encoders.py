"""A sentence encoder that leaves early: its first blocks, the mean over tokens, one matrix, and length 1.

The mean of what a matrix makes of states is what it makes of their mean. So the map is fitted where it is used, from
the mean of h_i to that of h_L, by ridge regression with an intercept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.files import WORK, InputError, derive
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.scores import bootstrap_interval
from linear_shortcuts.scores.embeddings import mean, pool
from linear_shortcuts.scores.measures import nearest, overlap
from linear_shortcuts.shorten.choice import resumable
from linear_shortcuts.shorten.corrections import Correction, Moments, best
from linear_shortcuts.shorten.judgement import CONFIDENCE, RESAMPLES
from linear_shortcuts.shorten.surgery import with_blocks
from linear_shortcuts.states import SequenceRecorder, batches
from linear_shortcuts.states.extraction import TOKENS_PER_BATCH
from linear_shortcuts.text import Tokens, encode

Bars = Callable[[Iterable[Any], str], Iterable[Any]]  # batches and what is done with them
SPEED_SENTENCES, SPEED_TURNS = 32, 8  # of a batch, and batches


@dataclass(frozen=True)
class ShortEncoder:
    """The first blocks of an encoder, the map of their mean, and what is known of both.

    model: the blocks, in memory, sharing weights with the original. dense: from the mean over tokens (d,) to the
    mean of the last states. max_tokens: of a sentence; what is longer is cut. made: how, for its card.
    report: `whole`, `shorter` and `without` the map -> cosine, recall, parameters, sentences a second.
    """

    model: LanguageModel
    dense: Correction
    max_tokens: int | None
    made: dict[str, Any]
    report: dict[str, dict[str, Any]]


def exit_encoder(
    model: LanguageModel,
    sentences: Mapping[str, Tokens],
    layer: int,
    *,
    max_tokens: int | None = None,
    seed: int = 0,
    work: Path = WORK,
    bars: Bars = lambda own, what: own,
) -> ShortEncoder:
    """An encoder of the first `layer` blocks, whose embeddings come closest to those of the whole.

    sentences: the splits `fit`, `choose` (of the penalty) and `report`, as `read` makes them. What is finished
    waits in `work`.

    Raises `InputError` for a layer that the model does not have, and for a model that predicts tokens.
    """
    if not model.family.headless:
        raise InputError(f"{model.name} predicts tokens, so it is no encoder of sentences; use exit_at")
    if not 1 <= layer < model.layers:
        raise InputError(
            f"layer {layer} is no exit of an encoder of {model.layers} blocks; give 1 to {model.layers - 1}"
        )
    ids = {name: own.sentences for name, own in sentences.items()}
    with resumable(model, ids, f"exit.{layer}", {"exit": layer}, work, code=__file__) as partial:
        for name, tokens in sentences.items():
            if name not in partial:
                found = mean_states(model, tokens, (layer,), lambda parts: bars(parts, "read"))
                partial.save(name, {f"{name}.{at}.pickle": states for at, states in found.items()})
        means = {name: {at: partial.load(f"{name}.{at}.pickle") for at in (layer, model.layers)} for name in sentences}
    dense = fit_dense(means, layer)
    shorter = with_blocks(model, range(layer))
    guesses = embeddings(means["report"], dense, layer)
    report = score(guesses, seed)
    speeds = seconds_per_batch({"whole": (model, None), "shorter": (shorter, dense)}, sentences["report"])
    for name, own in {"whole": model, "shorter": shorter}.items():
        extra = 0 if own is model else dense.matrix.numel() + len(dense.matrix)
        report[name]["parameters"] = extra + sum(each.numel() for each in own.network.parameters())
        report[name]["sentences_per_second"] = SPEED_SENTENCES / float(torch.tensor(speeds[name]).median())
    made = {"method": "encoder", "start": layer, "end": model.layers, "of": model.layers, "penalty": dense.penalty}
    return ShortEncoder(shorter, dense, max_tokens, made, report)


def read(tokenizer: Any, texts: Sequence[str], max_tokens: int | None) -> Tokens:
    """Sentences as an encoder reads them: with special tokens, cut to a length."""
    cut = {} if max_tokens is None else {"truncation": True, "max_length": max_tokens}
    ids = encode(tokenizer, texts, **cut)["input_ids"]
    return Tokens([torch.tensor(own, dtype=torch.int64) for own in ids], torch.zeros(len(ids), dtype=torch.int64))


@torch.inference_mode()
def mean_states(
    model: LanguageModel,
    tokens: Tokens,
    layers: Iterable[int],
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[int, Tensor]:
    """Layer -> the mean over the tokens of each sentence, (n, d) float32; the last layer is always there.

    At the last layer, whatever norm follows it.
    """
    wanted = sorted({*layers, model.layers})
    found = {layer: torch.empty(len(tokens), model.width) for layer in wanted}
    for batch in progress(list(batches(tokens, model, TOKENS_PER_BATCH))):
        recorder = SequenceRecorder()
        with model.watch(recorder):
            model.encode(batch.ids, batch.mask)
        mask = torch.ones_like(batch.ids) if batch.mask is None else batch.mask
        for layer in wanted:
            states = recorder.states[layer].float()
            found[layer][batch.rows.cpu()] = mean(model.finish(states) if layer == model.layers else states, mask).cpu()
    return found


def fit_dense(means: Mapping[str, Mapping[int, Tensor]], layer: int) -> Correction:
    """The ridge regression from the mean of h_layer to that of the last layer.

    means: the splits `fit` and `choose` (of the penalty), as `mean_states` gives them.
    """
    moments = {}
    for split in ("fit", "choose"):
        source, target = means[split][layer], means[split][max(means[split])]
        moments[split] = Moments(source.shape[1])
        moments[split].update(source, target)
    return best(moments["fit"], moments["choose"], intercept=True)


def embeddings(means: Mapping[int, Tensor], dense: Correction, layer: int) -> dict[str, Tensor]:
    """The embeddings (n, d) of the whole encoder, of the shorter one, and of one without the map."""
    matrix, shift = dense.matrix.float(), dense.shift
    assert shift is not None
    return {
        "whole": F.normalize(means[max(means)], dim=-1),
        "shorter": F.normalize(means[layer] @ matrix.T + shift.float(), dim=-1),
        "without": F.normalize(means[layer], dim=-1),
    }


def score(found: Mapping[str, Tensor], seed: int) -> dict[str, dict[str, Any]]:
    """Cosine to the whole encoder's embedding, and recall of its nearest sentences among these, with intervals.

    found: as `embeddings` gives them. The intervals resample sentences, as queries.
    """
    wanted = nearest(found["whole"])
    scores = {}
    for name, own in found.items():
        values = torch.stack([(own * found["whole"]).sum(1), overlap(nearest(own), wanted)])
        low, high = bootstrap_interval(values, RESAMPLES, CONFIDENCE, derive(seed, "sentences resampled"))
        scores[name] = {
            key: float(number)
            for at, what in enumerate(("cosine", "recall"))
            for key, number in ((what, values[at].mean()), (f"{what}_low", low[at]), (f"{what}_high", high[at]))
        }
    return scores


@torch.inference_mode()
def seconds_per_batch(
    encoders: Mapping[str, tuple[LanguageModel, Correction | None]],
    tokens: Tokens,
    *,
    sentences: int = SPEED_SENTENCES,
    turns: int = SPEED_TURNS,
) -> dict[str, list[float]]:
    """Seconds that each encoder takes for each of some batches; they take turns, so that a busy machine slows all.

    encoders: by name, the blocks and the map that follows their mean. A first batch warms up.
    """
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    size = min(sentences, len(tokens))
    for turn in range(turns + 1):
        first = turn * size % max(1, len(tokens) - size + 1)
        [batch] = batches(tokens.part(first, first + size), next(iter(encoders.values()))[0], 10**9)
        for name, (model, dense) in encoders.items():
            start = time.perf_counter()
            embed(model, dense, batch.ids, batch.mask)
            if turn:
                taken[name].append(time.perf_counter() - start)
    return taken


def embed(model: LanguageModel, dense: Correction | None, ids: Tensor, mask: Tensor | None) -> Tensor:
    """Embeddings (batch, d) of token ids (batch, tokens), as the encoder that is written makes them."""
    states = model.network(input_ids=ids, attention_mask=mask).last_hidden_state
    mask = torch.ones_like(ids) if mask is None else mask
    if dense is None:
        return pool(states, mask)
    assert dense.shift is not None
    return F.normalize(F.linear(mean(states, mask), dense.matrix.to(states), dense.shift.to(states)), dim=-1)

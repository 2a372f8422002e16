"""The study as a straightforward script does it: correct, and written without a thought for time.

A forward pass at batch size 4 for every layer and every purpose, a `LinearRegression` for every pair, early exit
sample by sample and once per lambda. `benchmarks/compare.py` times the project against it. GPT-2 only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

BATCH = 4
PARTS = {"mat_attn": ("attn",), "mat_ffn": ("mlp",), "mat_ln1_ln2": ("ln_1", "ln_2")}
STEPS = ("ln_1", "attn", "residual_1", "ln_2", "mlp", "residual_2")


def batches(sentences: Sequence[Tensor], positions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Four sentences after the other, padded on the right: ids (batch, tokens), positions (batch,)."""
    for first in range(0, len(sentences), BATCH):
        yield pad_sequence(list(sentences[first : first + BATCH]), batch_first=True), positions[first : first + BATCH]


def embed(network, ids: Tensor) -> Tensor:
    transformer = network.transformer
    return transformer.wte(ids) + transformer.wpe(torch.arange(ids.shape[1]))


def run_block(block, states: Tensor, stand_ins: dict[str, Tensor] | None = None) -> list[Tensor]:
    """The block's input and the output of each of its six steps; a stand-in (d, d) takes the place of its step."""

    def step(name: str, genuine, value: Tensor) -> Tensor:
        return value @ stand_ins[name].T if stand_ins and name in stand_ins else genuine(value)

    normed = step("ln_1", block.ln_1, states)
    attended = step("attn", lambda value: block.attn(value)[0], normed)
    middle = states + attended
    normed_2 = step("ln_2", block.ln_2, middle)
    fed = step("mlp", block.mlp, normed_2)
    return [states, normed, attended, middle, normed_2, fed, middle + fed]


def at(states: Tensor, positions: Tensor) -> Tensor:
    return states[torch.arange(len(states)), positions]


def logits_of(network, states: Tensor) -> Tensor:
    return network.lm_head(network.transformer.ln_f(states))


@torch.no_grad()
def extract(network, sentences: Sequence[Tensor], positions: Tensor) -> Tensor:
    """The hidden states (L + 1, n, d) at the positions: for every layer the whole model runs over all sentences."""
    layers = []
    for layer in range(len(network.transformer.h) + 1):
        rows = []
        for ids, where in batches(sentences, positions):
            states = [embed(network, ids)]
            for block in network.transformer.h:
                states.append(run_block(block, states[-1])[-1])
            rows.append(at(states[layer], where))
        layers.append(torch.cat(rows))
    return torch.stack(layers)


@torch.no_grad()
def extract_step(network, sentences, positions, block: int, step: int) -> tuple[Tensor, Tensor]:
    """What enters and what leaves one step of one block, (n, d) each: the model runs over all sentences."""
    inputs, outputs = [], []
    for ids, where in batches(sentences, positions):
        states = embed(network, ids)
        for number, module in enumerate(network.transformer.h):
            sites = run_block(module, states)
            if number == block:
                inputs.append(at(sites[step], where))
                outputs.append(at(sites[step + 1], where))
            states = sites[-1]
    return torch.cat(inputs), torch.cat(outputs)


def fit(source: Tensor, target: Tensor) -> np.ndarray:
    """The matrix (d, d) of one pair."""
    return LinearRegression(fit_intercept=False).fit(source.numpy(), target.numpy()).coef_


def r2(source: Tensor, target: Tensor, matrix: np.ndarray) -> tuple[float, float]:
    """r2 of the mapped and of the unchanged source as a guess at the target."""
    guess = source.numpy() @ matrix.T
    return r2_score(target.numpy(), guess), r2_score(target.numpy(), source.numpy())


@torch.no_grad()
def fixed_exit(
    network, sentences, positions, mapping: str, layer: int, to_last: Tensor, stand_ins
) -> dict[str, Tensor]:
    """One mapping at one exit layer; to_last: A_{L, layer}; stand_ins: for every block, name of the step -> matrix."""
    top_ids, surprisal, kl = [], [], []
    for ids, where in batches(sentences, positions):
        states = [embed(network, ids)]
        for block in network.transformer.h:
            states.append(run_block(block, states[-1])[-1])
        if mapping in PARTS and layer < len(network.transformer.h):
            guess = states[layer]
            for number in range(layer, len(network.transformer.h)):
                chosen = {name: stand_ins[number][name] for name in PARTS[mapping]}
                guess = run_block(network.transformer.h[number], guess, chosen)[-1]
            guess = at(guess, where)
        elif mapping == "mat" and layer < len(network.transformer.h):
            guess = at(states[layer], where) @ to_last.T
        else:
            guess = at(states[layer if mapping == "id" else -1], where)
        full = torch.softmax(logits_of(network, at(states[-1], where)), dim=-1)
        early = torch.softmax(logits_of(network, guess), dim=-1)
        best = early.topk(10, dim=-1).indices
        top_ids.append(best)
        surprisal.append(-full.gather(1, best[:, :1])[:, 0].log())
        kl.append((full * (full.log() - early.log())).sum(-1))
    return {"top_ids": torch.cat(top_ids), "surprisal": torch.cat(surprisal), "kl": torch.cat(kl)}


@torch.no_grad()
def early_exit(network, sentences, positions, mapping: str, lambda_: float, to_last, mean_length: float) -> Tensor:
    """Where each sentence leaves for one lambda, (n,): block by block, with a read-out after each."""
    blocks = network.transformer.h
    left = []
    for ids, position in zip(sentences, positions.tolist(), strict=True):
        states = embed(network, ids[None])
        needed = 0.9 * lambda_ + 0.1 * math.exp(-4 * position / mean_length)
        for layer, block in enumerate(blocks, start=1):
            states = run_block(block, states)[-1]
            if layer == len(blocks):
                break
            state = states[0, position]
            guess = to_last[layer] @ state if mapping == "mat" else state
            two = torch.softmax(logits_of(network, guess), dim=-1).topk(2).values
            if float(two[0] - two[1]) > needed:
                break
        logits_of(network, states[0, position]).argmax()  # the prediction itself
        left.append(layer)
    return torch.tensor(left)

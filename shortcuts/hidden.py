"""Hidden states: recorded in one forward pass per sentence, stored in shards of sentences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from shortcuts import artifacts
from shortcuts.cards import read_card
from shortcuts.errors import InputError
from shortcuts.models import Call, LanguageModel, Watcher
from shortcuts.tokens import Tokens


@dataclass(frozen=True)
class Shard:
    """What is recorded of m sentences, at the sampled position of each; float32.

    hidden_states: (L + 1, m, d), h_0..h_L.
    attention_outputs: (L, m, d), the attention sub-step of every block before its residual sum. It is the only
        sub-step that looks at other positions; all the others follow from it and h by pointwise modules. (0, m, d)
        for a model whose blocks have no known parts.
    """

    hidden_states: Tensor
    attention_outputs: Tensor


@dataclass(frozen=True)
class Batch:
    """A right-padded batch of sentences."""

    rows: list[int]  # which sentences
    ids: Tensor  # (batch, tokens) int64
    mask: Tensor | None  # (batch, tokens) int64, or None where no padding can be seen
    positions: Tensor  # (batch,) the sampled position of each

    def at_positions(self, states: Tensor) -> Tensor:
        """Of (batch, tokens, d), the vectors at the sampled positions, (batch, d)."""
        return states[torch.arange(len(states), device=states.device), self.positions.to(states.device)]


def batches(tokens: Tokens, model: LanguageModel, tokens_per_batch: int) -> Iterator[Batch]:
    """Batches of similar length, longest first, on the model's device.

    For a causal model nothing after the sampled token can matter: sentences end there, and padding needs no mask.
    For a masked one the sampled token is behind the mask token.
    """
    causal = model.family.causal
    sentences, positions = tokens.sentences, tokens.positions
    lengths = [p + 1 if causal else len(ids) for ids, p in zip(sentences, positions.tolist(), strict=True)]
    order = sorted(range(len(sentences)), key=lambda row: -lengths[row])
    while order:
        size = max(1, tokens_per_batch // lengths[order[0]])
        rows, order = order[:size], order[size:]
        width = lengths[rows[0]]
        ids = torch.zeros(len(rows), width, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for place, row in enumerate(rows):
            ids[place, : lengths[row]] = sentences[row][: lengths[row]]
            mask[place, : lengths[row]] = 1
            if model.mask_token is not None:  # tokens brought from elsewhere may still show what is to be guessed
                ids[place, positions[row]] = model.mask_token
        padded = not causal and lengths[rows[-1]] < width
        yield Batch(
            rows,
            ids.to(model.device),
            mask.to(model.device) if padded else None,
            positions[rows].to(model.device),
        )


class _Recorder(Watcher):
    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.states: list[Tensor] = []
        self.attention: list[Tensor] = []

    def state(self, layer: int, states: Tensor) -> None:
        self.states.append(self.batch.at_positions(states).to(self.batch.ids.device))

    def attention_output(self, block: int, states: Tensor) -> None:
        self.attention.append(self.batch.at_positions(states).to(self.batch.ids.device))


class SequenceRecorder(Watcher):
    """Keeps the states of all positions and the attention calls of one batch, for reruns from any layer."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []  # L + 1 tensors (batch, tokens, d)
        self.calls: list[Call] = []  # one per block

    def state(self, layer: int, states: Tensor) -> None:
        self.states.append(states)

    def attention_call(self, block: int, call: Call) -> None:
        self.calls.append(call)


@torch.inference_mode()
def extract(model: LanguageModel, tokens: Tokens, first: int, last: int, tokens_per_batch: int) -> Shard:
    """Record sentences first..last-1 in a single forward pass each, in their own order.

    Raises `InputError` that names layer and sentence if a value is not finite.
    """
    part = tokens.part(first, last)
    hidden = torch.empty(model.layers + 1, len(part), model.width)
    attention = torch.empty(model.layers if model.family.steps else 0, len(part), model.width)
    for batch in batches(part, model, tokens_per_batch):
        recorder = _Recorder(batch)
        with model.watch(recorder):
            model.encode(batch.ids, batch.mask)
        hidden[:, batch.rows] = torch.stack(recorder.states).float().cpu()
        if recorder.attention:
            attention[:, batch.rows] = torch.stack(recorder.attention).float().cpu()
    check_finite(hidden, "layer", first)
    check_finite(attention, "the attention of block", first)
    return Shard(hidden, attention)


def check_finite(values: Tensor, what: str, first: int) -> None:
    """Raise `InputError` if one of values (places, n, d) is not finite.

    what: of what the places are numbers, and first: the number of the first of the n sentences, for the error.
    """
    bad = (~torch.isfinite(values).all(dim=-1)).nonzero()
    if len(bad):
        place, row = bad[0].tolist()
        raise InputError(
            f"{what} {place} of sentence {first + row} has a value that is not finite; the numbers overflow, so check "
            "the checkpoint's weights and dtype"
        )


# --- stored --------------------------------------------------------------------------------------------------


def shard_ranges(sentences: int, per_shard: int) -> Iterator[tuple[int, int, int]]:
    """(number, first, last + 1) of the shards of a split."""
    for number, first in enumerate(range(0, sentences, per_shard)):
        yield number, first, min(first + per_shard, sentences)


def shard_files(shard: Shard, number: int) -> dict[str, Any]:
    """The file (name -> value) of one shard."""
    return {f"{number:05d}.pickle": vars(shard)}


@dataclass(frozen=True)
class HiddenStates:
    """The recorded hidden states of one split, read shard by shard."""

    folder: Path
    card: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> HiddenStates:
        return cls(folder, read_card(folder, made_by="stages/04_extract_hidden_states.py"))

    @property
    def layers(self) -> int:
        """L: the layers are 0..L."""
        return self.card["layers"]

    @property
    def width(self) -> int:
        return self.card["width"]

    def __len__(self) -> int:
        return self.card["sentences"]

    @property
    def fingerprint(self) -> str:
        return artifacts.fingerprint(self.card)

    def __iter__(self) -> Iterator[Shard]:
        """The shards, in the order of the sentences; a damaged one raises `InputError`."""
        for name, sha256 in self.card["files"].items():
            yield Shard(**artifacts.load(self.folder / name, sha256=sha256))

    def stack(self) -> Tensor:
        """All hidden states at once, (L + 1, n, d)."""
        states = torch.empty(self.layers + 1, len(self), self.width)
        first = 0
        for shard in self:
            last = first + shard.hidden_states.shape[1]
            states[:, first:last] = shard.hidden_states
            first = last
        return states

"""The text that lenses are fitted and scored on: that of the main pipeline, as its own stages left it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import artifacts
from linear_shortcuts.lenses.closed_form import Part, future_part
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.settings import Folders
from linear_shortcuts.states import SequenceRecorder
from linear_shortcuts.states.provenance import check_model
from linear_shortcuts.states.shards import HiddenStates
from linear_shortcuts.text import Tokens, check_fit
from linear_shortcuts.text.pieces import byte_counts
from linear_shortcuts.text.rows import packed
from linear_shortcuts.text.tokens import load_states_tokens, load_tokens

MADE_BY = "the project's stages 01 to 05 for this model"


@dataclass(frozen=True)
class Rows:
    """Rows of text of one length; ids: (number, length)."""

    ids: Tensor
    card: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """That of the text, however many rows of it: rows already read count when more are asked for."""
        return artifacts.fingerprint({key: value for key, value in self.card.items() if key != "rows"})


def train_rows(folders: Folders, model: LanguageModel, length: int, number: int) -> Rows:
    """The first rows of a model's training text; `InputError` if it has fewer, or if the model cannot read them."""
    path = folders.tokens("train")
    tokens, _ = load_tokens(path, made_by=MADE_BY)
    check_fit(tokens, model.vocabulary, model.max_tokens, path, model.mask_token)
    card = {"corpus": folders.corpus, "tokens_sha256": artifacts.file_sha256(path), "rows": number, "length": length}
    return Rows(packed(tokens, length, number, path), {**card, "model": model.identity["weights_sha256"]})


ROWS = 16  # in one forward pass


def batches(ids: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Rows (n, T) as many at a time as go through the model at once, each with the number of its first row."""
    for first in range(0, len(ids), ROWS):
        yield first, ids[first : first + ROWS]


@torch.inference_mode()
def states_of(model: LanguageModel, ids: Tensor) -> Tensor:
    """h_0..h_L of rows of text (m, T), (L + 1, m, T, d) float32, on the CPU."""
    recorder = SequenceRecorder()
    with model.watch(recorder):
        model.encode(ids.to(model.device), None)
    return torch.stack([states.float().cpu() for states in recorder.states])


def ahead(model: LanguageModel, states: Tensor) -> Part:
    """What `future` is regressed on, of some sources and the last layer (S + 1, m, T, d), at positions that count."""
    return future_part(states, len(states) - 1, slice(None), causal=model.family.causal)


def true_next(tokens: Tokens, *, causal: bool) -> Tensor:
    """(n,) the id that follows each sampled position; -1 at a sentence's end.

    Of a masked model the pipeline keeps the mask in place of the token, so what stood there is not known: all are -1.
    """
    pairs = zip(tokens.sentences, tokens.positions.tolist(), strict=True)
    known = [int(ids[place + 1]) if causal and place + 1 < len(ids) else -1 for ids, place in pairs]
    return torch.tensor(known)


@dataclass(frozen=True)
class Validation:
    """What lenses are scored on: states (L + 1, n, d), the true next tokens and their bytes, (n,) each."""

    states: Tensor
    truth: Tensor
    bytes: Tensor
    fingerprint: str


def validation(folders: Folders, model: LanguageModel, tokenizer: Any, sentences: int) -> Validation:
    """The first validation sentences; `InputError` if their states are of another model or other tokens."""
    recorded = HiddenStates.open(folders.hidden("validation"), made_by=MADE_BY)
    check_model(recorded.card, model, recorded.folder, made_by=MADE_BY)
    tokens = load_states_tokens(folders.tokens("validation"), recorded.card, made_by=MADE_BY)
    tokens, states = tokens.part(0, sentences), recorded.stack()[:, :sentences]
    truth = true_next(tokens, causal=model.family.causal)
    lengths = byte_counts(tokenizer, model.vocabulary)[truth.clamp(min=0)]
    return Validation(states, truth, lengths, recorded.fingerprint)

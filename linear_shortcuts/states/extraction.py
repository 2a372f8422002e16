"""Hidden states, recorded in one forward pass per sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from linear_shortcuts.files import InputError, check_kind
from linear_shortcuts.models import Call, LanguageModel, Watcher
from linear_shortcuts.text import Tokens, check_fit, encode

Positions = Literal["sampled", "all"]  # of which tokens of a sentence the states are recorded
TOKENS_PER_BATCH = 1024  # what a CPU's cache holds


def hidden_states(
    model: LanguageModel,
    tokenizer: Any,
    texts: Sequence[str],
    at: Literal["prediction", "all"] = "prediction",
    *,
    tokens_per_batch: int = TOKENS_PER_BATCH,
) -> Tensor:
    """What a model thinks of some texts at every layer: h_0..h_L, (L + 1, n, d), float32, on the CPU.

    at: `prediction`, one vector a text, where the model predicts: the last token of a causal model, the mask token of
        a masked one, which must stand once in every text. `all`, one vector a token, those of a text after each other.
    tokens_per_batch: padded tokens in one forward pass; a GPU wants more. It changes no more than rounding does.

    Raises `InputError` that names the text if the model cannot read it.
    """
    check_kind("model", model, LanguageModel, "give what load_model or models.loading.wrap makes of it")
    check_kind("tokenizer", tokenizer, Callable, "give what load_tokenizer makes of it")  # type: ignore[arg-type]
    if isinstance(texts, str) or not texts:
        raise InputError("texts must be a list with at least one text")
    for number, text in enumerate(texts):
        check_kind(f"text {number}", text, str, "give a list of strings")
    if at not in ("prediction", "all"):
        raise InputError(f"at is {at!r}; it must be 'prediction' or 'all'")
    sentences = [torch.tensor(ids, dtype=torch.int64) for ids in encode(tokenizer, texts)["input_ids"]]
    mask = -1 if model.mask_token is None else model.mask_token
    places: list[int] = []
    for number, ids in enumerate(sentences):
        found = [len(ids) - 1] if model.family.causal else (ids == mask).nonzero().flatten().tolist()
        if len(ids) == 0:
            raise InputError(f"text {number} has no token")
        if len(found) != 1:
            raise InputError(
                f"text {number} has the mask token {len(found)} times, but {model.name} is a masked model and predicts "
                f"at one; write {tokenizer.mask_token} once in every text"
            )
        places += found
    read = Tokens(sentences, torch.tensor(places))
    check_fit(read, model.vocabulary, model.max_tokens, "texts")
    shard = extract(model, read, 0, len(read), tokens_per_batch, "all" if at == "all" else "sampled")
    return shard.hidden_states.clone()  # outside of inference mode, so that whoever trains on them can


@dataclass(frozen=True)
class Shard:
    """What is recorded of m tokens, the sampled one of each sentence or all of them; float32.

    hidden_states: (L + 1, m, d), h_0..h_L.
    attention_outputs: (L, m, d), the attention sub-step of every block before its residual sum. It is the only
        sub-step that looks at other positions; all the others follow from it and h by pointwise modules. (0, m, d)
        for a model whose blocks have no known parts.
    """

    hidden_states: Tensor
    attention_outputs: Tensor

    def __repr__(self) -> str:
        shapes = {name: tuple(value.shape) for name, value in vars(self).items()}
        return f"Shard({', '.join(f'{name} {shape}' for name, shape in shapes.items())})"


@dataclass(frozen=True)
class Batch:
    """A right-padded batch of sentences, and the m vectors of it that are wanted."""

    ids: Tensor  # (batch, tokens) int64
    mask: Tensor | None  # (batch, tokens) int64, or None where no padding can be seen
    rows: Tensor  # (m,) where each vector goes among those of all sentences
    places: Tensor  # (m,) in which line of the batch it is
    positions: Tensor  # (m,) and at which position

    def at_positions(self, states: Tensor) -> Tensor:
        """Of (batch, tokens, d), the wanted vectors, (m, d)."""
        return states[self.places.to(states.device), self.positions.to(states.device)]


def batches(
    tokens: Tokens, model: LanguageModel, tokens_per_batch: int, positions: Positions = "sampled"
) -> Iterator[Batch]:
    """Batches of similar length, longest first, on the model's device.

    Where only the sampled position is wanted of a causal model, nothing after it can matter: sentences end there.
    Padding needs no mask in a causal model. In a masked one the sampled token is behind the mask token.
    Where a length switches what a model does (`LanguageModel.switch`), no batch straddles it and no cut crosses it.
    """
    causal = model.family.causal
    lengths = tokens.positions + 1 if causal and positions == "sampled" else tokens.lengths
    beyond = 0  # sentences on the far side of the switch, which come first, for they are longer
    if model.switch is not None:
        far = tokens.lengths > model.switch
        lengths, beyond = torch.where(far, lengths.clamp(min=model.switch + 1), lengths), int(far.sum())
    first_rows = lengths.cumsum(0) - lengths  # of every sentence's vectors, where all are wanted
    order = torch.argsort(lengths, descending=True, stable=True)
    start = 0
    while start < len(order):
        end = start + max(1, tokens_per_batch // int(lengths[order[start]]))
        chosen = order[start : min(end, beyond) if start < beyond else end]
        start += len(chosen)
        long, sampled = lengths[chosen], tokens.positions[chosen]
        kept = zip(chosen.tolist(), long.tolist(), strict=True)
        ids = pad_sequence([tokens.sentences[row][:n] for row, n in kept], batch_first=True)
        if model.mask_token is not None:  # tokens brought from elsewhere may still show what is to be guessed
            ids[torch.arange(len(chosen)), sampled] = model.mask_token
        real = torch.arange(ids.shape[1]) < long[:, None]
        rows, places, wanted = chosen, torch.arange(len(chosen)), sampled
        if positions == "all":
            places, wanted = real.nonzero(as_tuple=True)
            rows = first_rows[chosen][places] + wanted
        padded = not causal and not bool(real.all())
        yield Batch(
            ids.to(model.device),
            real.long().to(model.device) if padded else None,
            rows.to(model.device),
            places.to(model.device),
            wanted.to(model.device),
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
def extract(
    model: LanguageModel,
    tokens: Tokens,
    first: int,
    last: int,
    tokens_per_batch: int,
    positions: Positions = "sampled",
) -> Shard:
    """Record sentences first..last-1 in a single forward pass each, in their own order.

    positions: `sampled`, one vector per sentence; `all`, one per token, those of a sentence after each other.

    Raises `InputError` that names layer and sentence if a value is not finite.
    """
    part = tokens.part(first, last)
    vectors = count_vectors(part, positions)
    # On the model's device, so that nothing waits for a copy until the shard is whole.
    hidden = torch.empty(model.layers + 1, vectors, model.width, device=model.device)
    attention = torch.empty(model.layers if model.family.steps else 0, vectors, model.width, device=model.device)
    for batch in batches(part, model, tokens_per_batch, positions):
        recorder = _Recorder(batch)
        with model.watch(recorder):
            model.encode(batch.ids, batch.mask)
        for kept, recorded in ((hidden, recorder.states), (attention, recorder.attention)):
            for layer, states in enumerate(recorded):
                kept[layer, batch.rows] = states.float()
    owners = torch.repeat_interleave(part.lengths) if positions == "all" else torch.arange(len(part))
    check_finite(hidden, "layer", first + owners)
    check_finite(attention, "the attention of block", first + owners)
    return Shard(hidden.cpu(), attention.cpu())


def count_vectors(tokens: Tokens, positions: Positions) -> int:
    """How many vectors of each layer are recorded of these sentences."""
    return int(tokens.lengths.sum()) if positions == "all" else len(tokens)


def check_finite(values: Tensor, what: str, sentences: Tensor) -> None:
    """Raise `InputError` if one of values (places, m, d) is not finite.

    what: of what the places are numbers; sentences: (m,) the number of the sentence of each vector, for the error.
    """
    bad = (~torch.isfinite(values).all(dim=-1)).nonzero()
    if len(bad):
        place, row = bad[0].tolist()
        raise InputError(
            f"{what} {place} of sentence {int(sentences[row])} has a value that is not finite; the numbers overflow, "
            "so check the checkpoint's weights and dtype"
        )

"""The invariants that make a model usable here, measured on any checkpoint: is its family's declaration true of it?

Each invariant is a function of a model and a few sentences that gives the largest difference it saw, relative to the
largest magnitude of what was compared. The tests hold every family to them; `linear-shortcuts check` a user's model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.models import PARTS, LanguageModel, Step, stand_in_steps
from linear_shortcuts.scores import part_guesses
from linear_shortcuts.states import SequenceRecorder, extract
from linear_shortcuts.text import Tokens

# What rounding alone may do to a relative difference after some tens of blocks; a wrong declaration is off by far more.
ALLOWED = {"float64": 1e-4, "float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}
SENTENCES, LONGEST = 8, 24


@dataclass(frozen=True)
class Invariant:
    """holds: in words; measure: the largest relative difference, or None where the model leaves nothing to measure."""

    name: str
    holds: str
    measure: Callable[[LanguageModel, Tokens], float | None]


@dataclass(frozen=True)
class Finding:
    """What one invariant gave."""

    invariant: Invariant
    difference: float | None
    allowed: float

    @property
    def passed(self) -> bool:
        return self.difference is None or self.difference <= self.allowed


def check(model: LanguageModel, tokens: Tokens) -> Iterator[Finding]:
    """Measure the invariants one after the other."""
    allowed = ALLOWED[str(model.network.dtype).removeprefix("torch.")]
    for invariant in INVARIANTS:
        with torch.inference_mode():
            yield Finding(invariant, invariant.measure(model, tokens), allowed)


def sample_tokens(model: LanguageModel, *, seed: int = 0) -> Tokens:
    """Random sentences of random lengths, a sampled position in each; masked there, for a masked model."""
    generator = torch.Generator().manual_seed(seed)
    config = model.network.config.get_text_config()
    control = {getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos")} | {0, model.mask_token}
    ordinary = torch.tensor([number for number in range(model.vocabulary) if number not in control])
    longest = min(LONGEST, model.max_tokens or LONGEST)
    sentences, positions = [], []
    for number in range(SENTENCES):
        length = longest if number == 0 else int(torch.randint(2, longest + 1, (), generator=generator))
        ids = ordinary[torch.randint(0, len(ordinary), (length,), generator=generator)]
        # The first is read half-way, so that something of the longest sentence lies behind the position.
        position = length // 2 if number == 0 else int(torch.randint(0, length, (), generator=generator))
        if model.mask_token is not None:
            ids[position] = model.mask_token
        sentences.append(ids)
        positions.append(position)
    return Tokens(sentences, torch.tensor(positions))


# --- the invariants --------------------------------------------------------------------------------------------


def _logits(model: LanguageModel, tokens: Tokens) -> float | None:
    if model.family.headless:
        return None
    worst = 0.0
    for ids in tokens.sentences:
        logits = _forward(model, ids).logits
        worst = max(worst, _difference(model.decode(_run(model, ids).states[-1]), logits))
    return worst


def _states(model: LanguageModel, tokens: Tokens) -> float | None:
    if not model.family.steps:
        return None  # some models that are read by structure list other states than those their blocks hand on
    ids = tokens.sentences[0]
    theirs = _forward(model, ids, output_hidden_states=True).hidden_states
    if theirs is None or len(theirs) != model.layers + 1:
        return None
    *ours, last = _run(model, ids).states
    # Of h_L the library shows what the final norm makes of it, where there is one; `decoding` speaks of that, but of an
    # encoder nothing is decoded.
    ours += [model.finish(last)] if model.family.headless else []
    return max(_difference(own, their) for own, their in zip(ours, theirs[: len(ours)], strict=True))


def _blocks(model: LanguageModel, tokens: Tokens) -> float | None:
    if not model.family.steps:
        return None
    worst = 0.0
    for ids in tokens.sentences:
        recorder = _run(model, ids)
        for block in range(model.layers):
            attend = model.attention(block, recorder.calls[block])
            rebuilt = model.sites(block, recorder.states[block], attend)[-1]
            worst = max(worst, _difference(rebuilt, recorder.states[block + 1]))
    return worst


def _records(model: LanguageModel, tokens: Tokens) -> float | None:
    if not model.family.steps:
        return None
    shard = extract(model, tokens, 0, len(tokens), LONGEST * SENTENCES)
    worst = 0.0
    for block in range(model.layers):
        rebuilt = model.sites(block, shard.hidden_states[block], _seen(shard.attention_outputs[block]))[-1]
        worst = max(worst, _difference(rebuilt, shard.hidden_states[block + 1]))
    return worst


def _batches(model: LanguageModel, tokens: Tokens) -> float:
    together = extract(model, tokens, 0, len(tokens), LONGEST * SENTENCES).hidden_states
    alone = extract(model, tokens, 0, len(tokens), 1).hidden_states
    return _layer_difference(together, alone)


def _truncation(model: LanguageModel, tokens: Tokens) -> float | None:
    if not model.family.causal:
        return None
    cut = extract(model, tokens, 0, len(tokens), 1).hidden_states
    whole = torch.empty_like(cut)
    for row, (ids, position) in enumerate(zip(tokens.sentences, tokens.positions.tolist(), strict=True)):
        for layer, states in enumerate(_run(model, ids).states):
            whole[layer, row] = states[0, position].float().cpu()
    return _layer_difference(cut, whole)


def _stand_ins(model: LanguageModel, tokens: Tokens) -> float | None:
    if not model.family.steps:
        return None
    start, worst = model.layers // 2, 0.0
    maps = _SizedMatrices(tokens, start)
    # Each sentence alone: nothing keeps small what a stand-in makes of padding, and nought times infinity is no number.
    guesses = part_guesses(model, tokens, maps, 1, [start])  # type: ignore[arg-type]
    for mapping, part in PARTS.items():
        matrices = maps.stand_ins(model, part)
        with ExitStack() as stack:
            for block in range(start, model.layers):
                for step, matrix in matrices[block].items():
                    stack.enter_context(replaced(model.blocks[block], model.family.steps[step], matrix))
            for row, (ids, position) in enumerate(zip(tokens.sentences, tokens.positions.tolist(), strict=True)):
                guess, given = guesses[mapping][0, row], _forward(model, ids)
                if model.family.headless:
                    worst = max(worst, _difference(model.finish(guess), given.last_hidden_state[0, position]))
                else:
                    worst = max(worst, _difference(model.decode(guess), given.logits[0, position]))
    return worst


INVARIANTS = (
    Invariant("decoding", "the head reads the model's own logits off h_L", _logits),
    Invariant("states", "h_0 to h_(L-1) are the library's hidden states", _states),
    Invariant("blocks", "a block rebuilt from its declared sub-steps is the block", _blocks),
    Invariant("records", "so it is from what is recorded at one position", _records),
    Invariant("batches", "padding and neighbours in a batch change nothing", _batches),
    Invariant("truncation", "what stands behind the position changes nothing", _truncation),
    Invariant("stand-ins", "a matrix in a part's place acts as inside the network itself", _stand_ins),
)


# --- helpers ---------------------------------------------------------------------------------------------------


class _SizedMatrices:
    """A random matrix as the stand-in of everything, times what keeps the stream as large as it is.

    A matrix of one size in every place would blow the stream up, or let it vanish, over some tens of blocks: a norm
    gives vectors of its own size whatever it reads. So the check's sentences are taken through the stand-ins block by
    block, and what each of them gives is made as large as what the genuine part gave.
    """

    def __init__(self, tokens: Tokens, start: int) -> None:
        self.tokens, self.start = tokens, start
        self._made: dict[str, list[dict[int, Tensor]]] = {}

    def stand_ins(self, model: LanguageModel, part: str) -> list[dict[int, Tensor]]:
        """For every block, sub-step -> matrix; those before the start are never run."""
        if part not in self._made:
            self._made[part] = self._sized(model, stand_in_steps(model.family, part))
        return self._made[part]

    def _sized(self, model: LanguageModel, steps: list[int]) -> list[dict[int, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(model.width, model.width, generator=generator) / model.width**0.5
        matrix = (torch.eye(model.width) + noise).to(model.device) / 2
        runs = [_run(model, ids) for ids in self.tokens.sentences]
        streams = [run.states[self.start] for run in runs]
        made: list[dict[int, Tensor]] = [dict.fromkeys(steps, matrix) for _ in range(self.start)]
        for block in range(self.start, model.layers):
            attend = [model.attention(block, run.calls[block]) for run in runs]
            genuine = [model.sites(block, run.states[block], own) for run, own in zip(runs, attend, strict=True)]
            placed: dict[int, Tensor] = {}
            for step in steps:
                placed[step] = matrix
                sites = [model.sites(block, h, own, placed)[step + 1] for h, own in zip(streams, attend, strict=True)]
                sizes = [_size(own[step + 1]) / _size(site) for own, site in zip(genuine, sites, strict=True)]
                placed[step] = matrix * min(sizes)
            streams = [model.sites(block, h, own, placed)[-1] for h, own in zip(streams, attend, strict=True)]
            made.append(placed)
        return made


def _size(states: Tensor) -> float:
    """The root mean square of states, which no overflow reaches."""
    return float(states.double().square().mean().sqrt().clamp(min=torch.finfo(torch.float32).tiny))


@contextmanager
def replaced(block: nn.Module, step: Step, matrix: Tensor) -> Iterator[None]:
    """Put a matrix in the place of one sub-step of a block, from outside: the network's own forward then runs it."""
    read: list[Tensor] = []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        read[:] = given[:2] if step.takes_residual else given[:1]

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        value = (read[0].to(matrix) @ matrix.T).to(read[0])
        if step.takes_residual:
            value = value + read[1]
        return (value, *output[1:]) if isinstance(output, tuple) else value

    first, last = block.get_submodule(step.modules[0]), block.get_submodule(step.modules[-1])
    handles = [
        first.register_forward_pre_hook(enter, with_kwargs=True),
        last.register_forward_hook(leave),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _seen(output: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda states: output


def _forward(model: LanguageModel, ids: Tensor, **asked: bool) -> Any:
    """What the model itself makes of one sentence (tokens,), without a cache, as `LanguageModel.encode` runs it."""
    options = {"use_cache": False} if model.family.causal else {}
    return model.network(input_ids=ids[None].to(model.device), **options, **asked)


def _run(model: LanguageModel, ids: Tensor) -> SequenceRecorder:
    """States of all layers and attention calls of one unpadded sentence."""
    recorder = SequenceRecorder()
    with model.watch(recorder):
        model.encode(ids[None].to(model.device), None)
    return recorder


def _difference(one: Tensor, other: Tensor) -> float:
    one, other = one.float().cpu(), other.float().cpu()
    ratio = float((one - other).abs().max() / other.abs().max().clamp(min=torch.finfo(torch.float32).tiny))
    return ratio if math.isfinite(ratio) else math.inf  # the larger of two numbers is not one that is none


def _layer_difference(one: Tensor, other: Tensor) -> float:
    return max(_difference(mine, theirs) for mine, theirs in zip(one, other, strict=True))


# --- the command -----------------------------------------------------------------------------------------------


def describe(model: LanguageModel) -> str:
    """One line on what was loaded."""
    kind = "causal" if model.family.causal else "an encoder" if model.family.headless else "masked"
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    known = f"{len(model.family.steps)} sub-steps a block" if model.family.steps else "read by structure, parts unknown"
    limit = f"{model.max_tokens:,} tokens" if model.max_tokens else "any number of tokens"
    return (
        f"{model.name}: {model.network.config.model_type}, {kind}, {known}; {parameters:,} parameters in "
        f"{model.identity['dtype']}, {model.layers} blocks of width {model.width:,}, {model.vocabulary:,} token ids, "
        f"{limit}"
    )


def notes(model: LanguageModel, tokens: Tokens) -> Iterator[str]:
    """What is no fault but should be known, a line each."""
    if model.family.headless:
        yield "the model has no prediction head, so no exits: its states and the maps between them can be studied"
    if model.unused:
        yield f"{len(model.unused)} weights of the checkpoint have no place in the model, such as {model.unused[0]}"
    layer = _more_than_the_stream(model, tokens)
    if layer is not None:
        yield (
            f"blocks after layer {layer} read more of the tokens than h_{layer}, as where each is given the embeddings "
            "again: h_i is not all they know, so no map from it can make up for them"
        )


@torch.inference_mode()
def _more_than_the_stream(model: LanguageModel, tokens: Tokens) -> int | None:
    """A layer i for which the last state changes with the tokens although h_i is held as it is; None: there is none."""
    ids = tokens.sentences[0]
    states = _run(model, ids).states
    for layer in sorted({1, model.layers // 2} & set(range(1, model.layers))):

        def hold(module: nn.Module, args: Any, output: Any, held: Tensor = states[layer]) -> Any:
            return type(output)((held, *output[1:])) if isinstance(output, (tuple, list)) else held

        handle = model.blocks[layer - 1].register_forward_hook(hold)
        try:
            end = _run(model, ids.flip(0)).states[-1]
        finally:
            handle.remove()
        if _difference(end, states[-1]) > ALLOWED[str(model.network.dtype).removeprefix("torch.")]:
            return layer
    return None


def tokenizer_line(model: LanguageModel, tokenizer: Any | None) -> tuple[bool, str]:
    """Whether every id of the tokenizer has an embedding, and a row of the table that says so; None: it has none."""
    largest = None if tokenizer is None else max(tokenizer.get_vocab().values())
    passed = largest is not None and largest < model.vocabulary
    measured = "—" if largest is None else f"{largest:,}"
    outcome = "passed" if passed else "FAILED"
    holds = "the tokenizer is there, and its largest id has an embedding"
    return passed, f"{'tokenizer':<12}{outcome:<9}{measured:>10}{model.vocabulary - 1:>10,}   {holds}"


def line(finding: Finding) -> str:
    """A finding as a row of the table whose head is `HEAD`."""
    measured = "—" if finding.difference is None else f"{finding.difference:.1e}"
    outcome = "n/a" if finding.difference is None else "passed" if finding.passed else "FAILED"
    invariant = finding.invariant
    return f"{invariant.name:<12}{outcome:<9}{measured:>10}{finding.allowed:>10.0e}   {invariant.holds}"


HEAD = f"{'invariant':<12}{'':<9}{'largest':>10}{'allowed':>10}   what holds (differences are relative)"

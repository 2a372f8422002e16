"""Alternation: what a model predicts when some of its blocks are run and the others jumped over, or left out.

A jump is taken at every position, and one position of a sentence is not like the others: behind the mask token of a
masked model, or the first of a causal one, on which attention rests and whose state is massive. A map fitted on states
of one kind does not carry the other: what is fitted behind masks knows no words, and what is fitted on both carries
the massive coordinate into ordinary states, where later blocks attend to it. So each kind has maps of its own here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.files import Partial
from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
from linear_shortcuts.maps.fitting import fit_maps, submodule_moments
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.scores.exits import Judge, holding, no_attention, read_out
from linear_shortcuts.scores.schedules import (
    GREEDY,
    Schedule,
    Way,
    greedy_schedules,
    jumps,
    possible,
    ways_to_score,
)
from linear_shortcuts.states import SequenceRecorder, batches
from linear_shortcuts.states.extraction import Batch, Shard, extract
from linear_shortcuts.states.shards import shard_ranges
from linear_shortcuts.text import Tokens

if TYPE_CHECKING:
    from linear_shortcuts.settings import Schedules

SENTENCES = 50  # the unit of resuming
Step = tuple[int, int, str]  # from layer, to layer, how


@dataclass(frozen=True)
class Fitted:
    """What takes the place of blocks: maps between layers, and of attention, maps between the sites of a block.

    ordinary: those of all positions but the one that is not like the others; None: they have the same, as in the study.
    """

    layers: LayerMaps
    submodules: SubmoduleMaps
    ordinary: Fitted | None = None


@torch.inference_mode()
def fit_ordinary(model: LanguageModel, tokens: Tokens, tokens_per_batch: int) -> Fitted:
    """Maps fitted on every position of some sentences but the one that is not like the others.

    Raises `InputError` if these are fewer than the model is wide.
    """
    shard = extract(model, tokens, 0, len(tokens), tokens_per_batch, "all")
    special = tokens.lengths.cumsum(0) - tokens.lengths + _special(model, tokens.positions)
    rows = torch.ones(int(tokens.lengths.sum()), dtype=torch.bool).index_fill(0, special, False)
    shard = Shard(shard.hidden_states[:, rows], shard.attention_outputs[:, rows])
    moments = submodule_moments(model, range(model.layers), [shard])
    submodules = {
        (block, source, step + 1): moments[block][step].solve().matrices[0].float().cpu()
        for block in moments
        for step, source in enumerate(model.family.sources)
    }
    return Fitted(fit_maps(shard.hidden_states), SubmoduleMaps.of(submodules))


def _special(model: LanguageModel, positions: Tensor) -> Tensor:
    """The position of each sentence that is not like the others; positions: the sampled ones."""
    return positions if model.mask_token is not None else torch.zeros_like(positions)


def score(
    model: LanguageModel,
    data: Tokens,
    known: Tokens,
    fitted: Fitted,
    r2: Mapping[tuple[int, int], float],
    how: Schedules,
    seed: int,
    tokens_per_batch: int,
    partial: Partial,
    watch: Callable[..., Any],
) -> list[dict[str, Any]]:
    """The record of every way that `how` asks for, see `run_ways`; none if not `possible`. What is finished waits in
    `partial`.

    data: what is scored. known: train sentences, on which ordinary positions are fitted and the greedy search looks.
    r2: of the train split. watch: shows how far the work is, with the options that tqdm has.
    """
    if not possible(model, fitted.layers):
        return []
    chunks = list(shard_ranges(min(how.sentences, len(data)), SENTENCES))
    todo = [chunk for chunk in chunks if chunk[0] not in partial]
    if todo and how.ordinary_sentences:
        fitted = replace(fitted, ordinary=fit_ordinary(model, known.part(0, how.ordinary_sentences), tokens_per_batch))
    if GREEDY not in partial:
        some = known.part(0, how.greedy_sentences or 0)
        partial.save(GREEDY, {}, search(model, some, fitted, tokens_per_batch, watch) if len(some) else [])
    ways = ways_to_score(model, r2, how, seed, [tuple(schedule) for schedule in partial.note(GREEDY)])
    for number, first, last in watch(todo, desc=f"{model.name}: score", unit=" chunks", disable=None):
        records = run_ways(model, data.part(first, last), ways, fitted, tokens_per_batch)
        partial.save(number, {f"{number}.pickle": records})
    return _joined([partial.load(f"{number}.pickle") for number, _, _ in chunks])


def search(
    model: LanguageModel, tokens: Tokens, fitted: Fitted, tokens_per_batch: int, watch: Callable[..., Any]
) -> list[Schedule]:
    """The greedy schedules by mean KL on some sentences; see `greedy_schedules`. watch: as of `score`."""

    def kl(schedules: Sequence[Schedule]) -> list[float]:
        records = run_ways(model, tokens, [Way(GREEDY, own) for own in schedules], fitted, tokens_per_batch)
        return [float(record["kl"].double().mean().nan_to_num(nan=torch.inf)) for record in records]

    def shown(numbers: Sequence[Schedule]) -> Iterable[Schedule]:
        return watch(numbers, desc=f"{model.name}: search", unit=" blocks", disable=None)

    return greedy_schedules(model.layers, kl, watch=shown)


@torch.inference_mode()
def run_ways(
    model: LanguageModel, tokens: Tokens, ways: Sequence[Way], fitted: Fitted, tokens_per_batch: int
) -> list[dict[str, Any]]:
    """One record per way, of n sentences: `kind`, `mapped`, `blocks` run, `schedule`, and by sample the top ids, the
    surprisal and KL of `exits.Readout`, and `loss` (n,), the cross-entropy of the true next token in nats.

    `loss` is nan where a sentence ends at its position, or the model is masked: its token is not known any more.
    Each layer that ways begin alike is computed once a batch. Blocks must have known parts.
    """
    found: list[list[tuple[Tensor, dict[str, Tensor]]]] = [[] for _ in ways]
    order = sorted(range(len(ways)), key=lambda number: _steps(ways[number], model.layers))
    for batch in batches(tokens, model, tokens_per_batch):
        passed = _Pass(model, batch, fitted)
        full = Judge.of(model.decode(batch.at_positions(passed.recorder.states[-1])))
        truth = _next_tokens(model, tokens, batch.rows.cpu())
        path: list[tuple[tuple[Step, ...], Tensor]] = []
        for number in order:
            steps = _steps(ways[number], model.layers)
            while path and path[-1][0] != steps[: len(path[-1][0])]:
                path.pop()
            for length in range(len(path) + 1, len(steps) + 1):
                states = path[-1][1] if path else passed.recorder.states[0]
                path.append((steps[:length], passed.step(states, steps[length - 1])))
            end = batch.at_positions(path[-1][1] if path else passed.recorder.states[0])
            logits = model.decode(end)
            loss = F.cross_entropy(logits.float(), truth.to(logits.device), reduction="none", ignore_index=-1).cpu()
            record = vars(read_out(logits, full, holding(end)))
            loss = loss.masked_fill((truth < 0) | record["kl"].isnan(), torch.nan)
            found[number].append((batch.rows.cpu(), {**record, "loss": loss}))
    return [_record(way, parts, len(tokens)) for way, parts in zip(ways, found, strict=True)]


def _steps(way: Way, layers: int) -> tuple[Step, ...]:
    """A way in order."""
    jumped = [(i, j, "jump" if way.mapped else "drop") for i, j in jumps(way.schedule, layers)]
    attend = dict.fromkeys(way.without_attention, "mapped" if way.mapped else "dropped")
    return tuple(sorted(jumped + [(block, block + 1, attend.get(block, "run")) for block in way.schedule]))


class _Pass:
    """One batch, and what the full model did with it."""

    def __init__(self, model: LanguageModel, batch: Batch, fitted: Fitted) -> None:
        self.model, self.fitted = model, fitted
        self.special = torch.arange(len(batch.ids)), _special(model, batch.positions).cpu()
        self.recorder = SequenceRecorder()
        with model.watch(self.recorder):
            model.encode(batch.ids, batch.mask)

    def step(self, states: Tensor, step: Step) -> Tensor:
        """States (batch, tokens, d) of one layer as a step carries them to a later one."""
        source, target, how = step
        if how == "drop":
            return states
        if how in ("run", "dropped"):
            attend = self.model.attention(source, self.recorder.calls[source]) if how == "run" else torch.zeros_like
            return self.model.sites(source, states, attend)[-1]
        carry = self._jump if how == "jump" else self._attention
        if self.fitted.ordinary is None:
            return carry(self.fitted, states, source, target)
        carried = carry(self.fitted.ordinary, states, source, target)
        carried[self.special] = carry(self.fitted, states[self.special], source, target)
        return carried

    def _jump(self, fitted: Fitted, states: Tensor, source: int, target: int) -> Tensor:
        return fitted.layers.jump(states, source, target)

    def _attention(self, fitted: Fitted, states: Tensor, source: int, target: int) -> Tensor:
        stand_ins = fitted.submodules.stand_ins(self.model, "attention")[source]
        return self.model.sites(source, states, no_attention, stand_ins)[-1]


def _next_tokens(model: LanguageModel, tokens: Tokens, rows: Tensor) -> Tensor:
    """The true next token of each sentence (m,), -1 where there is none to know."""
    after = [(tokens.sentences[row], int(tokens.positions[row]) + 1) for row in rows.tolist()]
    known = model.family.causal
    return torch.tensor([int(ids[place]) if known and place < len(ids) else -1 for ids, place in after])


# --- records -------------------------------------------------------------------------------------------------

_BY_SAMPLE = ("top_ids", "surprisal", "kl", "loss")


def _record(way: Way, parts: Sequence[tuple[Tensor, Mapping[str, Tensor]]], n: int) -> dict[str, Any]:
    """The samples of all batches in the order of the sentences."""
    rows = torch.cat([rows for rows, _ in parts])
    back = torch.empty(n, dtype=torch.int64).scatter_(0, rows, torch.arange(n))
    return {
        "kind": way.kind, "mapped": way.mapped, "blocks": len(way.schedule), "schedule": list(way.schedule),
        "without_attention": list(way.without_attention),
        **{key: torch.cat([part[key] for _, part in parts])[back] for key in _BY_SAMPLE},
    }  # fmt: skip


def _joined(chunks: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The records of consecutive sentences as those of all."""
    return [
        {**own[0], **{key: torch.cat([part[key] for part in own]) for key in _BY_SAMPLE}}
        for own in zip(*chunks, strict=True)
    ]

"""Schedules: some blocks are run, others jumped over, and what the model then predicts.

A schedule is the set of blocks 0..L-1 that are run. Each longest stretch of others, from layer i to layer j, is a jump,
by A_{j,i} at every position, so that later blocks attend to what was jumped (or, dropped, by nothing at all).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from linear_shortcuts.files import derive
from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.scores.exits import Judge, holding, read_out, spread
from linear_shortcuts.states import SequenceRecorder, batches
from linear_shortcuts.text import Tokens

if TYPE_CHECKING:
    from linear_shortcuts.settings import Schedules

Schedule = tuple[int, ...]  # the blocks that are run, ascending
Watch = Callable[[Sequence[Any]], Iterable[Any]]  # passes work on piece by piece, as a progress bar does
ROUND_ROBIN, BEST, FINAL, CHANCE, GREEDY, ATTENTION, FULL = (
    "round_robin", "best", "final", "chance", "greedy", "attention", "full",
)  # fmt: skip


def jumps(schedule: Schedule, layers: int) -> list[tuple[int, int]]:
    """The jumps (i, j) of a schedule, from layer i to layer j, in order; no two follow each other."""
    ends = [-1, *schedule, layers]
    return [(before + 1, after) for before, after in itertools.pairwise(ends) if after > before + 1]


def round_robin(layers: int, run: int, skip: int) -> Schedule:
    """Run some blocks, skip some, and so on to the end; all of them if none is skipped.

    run + skip must divide the number of layers, as in the study.
    """
    if layers % (run + skip):
        raise ValueError(f"run {run} and skip {skip} make {run + skip}, which does not divide {layers} layers")
    return tuple(block for block in range(layers) if block % (run + skip) < run)


def round_robins(layers: int) -> list[Schedule]:
    """Of every number of blocks that a round robin can run, but all, the one of the shortest round."""
    found: dict[int, Schedule] = {}
    for size in range(2, layers + 1):
        for run in range(1, size) if layers % size == 0 else ():
            found.setdefault(layers // size * run, round_robin(layers, run, size - run))
    return list(found.values())


def best_schedule(r2: Mapping[tuple[int, int], float], layers: int, run: int) -> Schedule:
    """The schedule of `run` blocks whose jumps have the largest product of r2, where less than 0 counts as 0.

    Dynamic programming over the last block that is run and how many were run up to it. r2: by the pair of layers. Of
    several that are equally good, the first in the order of tuples.
    """

    def worth(source: int, target: int) -> float:
        return 1.0 if source == target else max(0.0, r2[source, target])

    # number of blocks run -> last of them (-1: none) -> the best way there: its product, and the blocks
    ways: list[dict[int, tuple[float, Schedule]]] = [{-1: (1.0, ())}]
    for _ in range(run):
        found: dict[int, tuple[float, Schedule]] = {}
        for block in range(len(ways) - 1, layers):
            options = [
                (-product * worth(last + 1, block), (*blocks, block))
                for last, (product, blocks) in ways[-1].items()
                if last < block
            ]
            product, blocks = min(options)
            found[block] = (-product, blocks)
        ways.append(found)
    return min((-product * worth(last + 1, layers), blocks) for last, (product, blocks) in ways[run].items())[1]


def final_jump(run: int) -> Schedule:
    """The first blocks, and then one jump: what `mat` does at the exit after them."""
    return tuple(range(run))


def chance_schedule(layers: int, run: int, seed: int) -> Schedule:
    """Some blocks at random, each choice as likely as another."""
    generator = torch.Generator().manual_seed(derive(seed, "schedule", str(run)) % 2**63)
    return tuple(sorted(torch.randperm(layers, generator=generator)[:run].tolist()))


def greedy_schedules(
    layers: int, kl: Callable[[Sequence[Schedule]], Sequence[float]], watch: Watch = iter
) -> list[Schedule]:
    """From all blocks on, always leave out the one without which the KL stays smallest; longest schedule first.

    kl: of several schedules, the mean KL to the full model, infinite where one diverges.
    """
    found: list[Schedule] = [tuple(range(layers))]
    for _ in watch(found * layers):
        options = [tuple(b for b in found[-1] if b != block) for block in found[-1]]
        values = kl(options)
        found.append(min(zip(values, options, strict=True))[1])
    return found


def asked_schedules(
    r2: Mapping[tuple[int, int], float], layers: int, runs: Sequence[int], chances: int, seed: int
) -> list[tuple[str, Schedule]]:
    """What is scored at each number of blocks in `runs`, by kind; r2: of the train split, so that none is chosen on."""
    asked = [(ROUND_ROBIN, schedule) for schedule in round_robins(layers) if len(schedule) in runs]
    for run in runs:
        asked += [(BEST, best_schedule(r2, layers, run)), (FINAL, final_jump(run))]
        drawn = {chance_schedule(layers, run, derive(seed, str(number))) for number in range(chances)}
        asked += [(CHANCE, schedule) for schedule in sorted(drawn)]
    return asked


def ways_to_score(
    model: LanguageModel,
    r2: Mapping[tuple[int, int], float],
    how: Schedules,
    seed: int,
    greedy: Sequence[Schedule] = (),
) -> list[Way]:
    """Every way that is scored: all blocks first, then every schedule mapped and dropped, then attention alone.

    greedy: what `greedy_schedules` found; of it and of every other kind the same numbers of blocks are scored.
    """
    runs = spread(model.layers, how.numbers)
    asked = asked_schedules(r2, model.layers, runs, how.chances, seed)
    asked += [(GREEDY, schedule) for schedule in greedy if len(schedule) in runs]
    ways = [Way(kind, schedule, mapped) for kind, schedule in asked for mapped in (True, False)]
    return [Way(FULL, tuple(range(model.layers))), *ways, *attention_ways(model, how.numbers)]


def possible(model: LanguageModel, maps: LayerMaps) -> bool:
    """Whether schedules of a model can be run: it predicts, its parts are known, and every jump has a map."""
    known = any(step.part == "attention" for step in model.family.steps)
    return not model.family.headless and known and len(maps) == model.layers * (model.layers + 1) // 2


def search(
    model: LanguageModel,
    tokens: Tokens,
    maps: LayerMaps,
    submodule_maps: SubmoduleMaps,
    tokens_per_batch: int,
    watch: Watch = iter,
) -> list[Schedule]:
    """The greedy schedules by mean KL on some sentences; see `greedy_schedules`. watch: of the numbers of blocks."""

    def kl(schedules: Sequence[Schedule]) -> list[float]:
        ways = [Way(GREEDY, schedule) for schedule in schedules]
        records = run_ways(model, tokens, ways, maps, submodule_maps, tokens_per_batch)
        return [float(record["kl"].double().mean().nan_to_num(nan=torch.inf)) for record in records]

    return greedy_schedules(model.layers, kl, watch=watch)


# --- running them ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """How one schedule is run: which blocks, whether what lies between is mapped or dropped, and whose attention.

    without_attention: blocks whose attention alone gives way to its stand-in, or to nothing if dropped.
    """

    kind: str
    schedule: Schedule
    mapped: bool = True
    without_attention: tuple[int, ...] = ()


@torch.inference_mode()
def run_ways(
    model: LanguageModel,
    tokens: Tokens,
    ways: Sequence[Way],
    maps: LayerMaps,
    submodule_maps: SubmoduleMaps,
    tokens_per_batch: int,
    watch: Watch = iter,
) -> list[dict[str, Any]]:
    """One record per way, of n sentences: `kind`, `mapped`, `blocks` run, `schedule`, and by sample the top ids, the
    surprisal and KL of `exits.Readout`, and `loss` (n,), the cross-entropy of the true next token in nats.

    `loss` is nan where a sentence ends at its position, or the model is masked: its token is not known any more.
    Each layer that ways begin alike is computed once a batch. Blocks must have known parts.
    """
    found: list[list[tuple[Tensor, dict[str, Tensor]]]] = [[] for _ in ways]
    order = sorted(range(len(ways)), key=lambda number: _steps(ways[number], model.layers))
    some = any(way.without_attention for way in ways)
    attention = submodule_maps.stand_ins(model, "attention") if some else []
    for batch in watch(list(batches(tokens, model, tokens_per_batch))):
        recorder = SequenceRecorder()
        with model.watch(recorder):
            model.encode(batch.ids, batch.mask)
        full = Judge.of(model.decode(batch.at_positions(recorder.states[-1])))
        truth = _next_tokens(model, tokens, batch.rows.cpu())
        path: list[tuple[tuple[Any, ...], Tensor]] = []
        for number in order:
            steps = _steps(ways[number], model.layers)
            while path and path[-1][0] != steps[: len(path[-1][0])]:
                path.pop()
            for length in range(len(path) + 1, len(steps) + 1):
                states = path[-1][1] if path else recorder.states[0]
                path.append((steps[:length], _step(model, recorder, states, steps[length - 1], maps, attention)))
            end = batch.at_positions(path[-1][1] if path else recorder.states[0])
            logits = model.decode(end)
            loss = F.cross_entropy(logits.float(), truth.to(logits.device), reduction="none", ignore_index=-1).cpu()
            record = vars(read_out(logits, full, holding(end)))
            loss = loss.masked_fill((truth < 0) | record["kl"].isnan(), torch.nan)
            found[number].append((batch.rows.cpu(), {**record, "loss": loss}))
    return [_record(way, parts, len(tokens)) for way, parts in zip(ways, found, strict=True)]


def _steps(way: Way, layers: int) -> tuple[tuple[int, int, str], ...]:
    """A way as (from layer, to layer, how), in order."""
    jumped = [(i, j, "jump" if way.mapped else "drop") for i, j in jumps(way.schedule, layers)]
    attend = dict.fromkeys(way.without_attention, "mapped" if way.mapped else "dropped")
    return tuple(sorted(jumped + [(block, block + 1, attend.get(block, "run")) for block in way.schedule]))


def _step(
    model: LanguageModel,
    recorder: SequenceRecorder,
    states: Tensor,
    step: tuple[int, int, str],
    maps: LayerMaps,
    attention: Sequence[Mapping[int, Tensor]],
) -> Tensor:
    source, target, how = step
    if how == "jump":
        return maps.jump(states, source, target)
    if how == "drop":
        return states
    stand_ins: Mapping[int, Tensor] = {}
    if how == "mapped":
        stand_ins = attention[source]
    elif how == "dropped":  # a matrix of zeros: the stream passes by
        stand_ins = {a: torch.zeros_like(matrix) for a, matrix in attention[source].items()}
    return model.sites(source, states, model.attention(source, recorder.calls[source]), stand_ins)[-1]


def _next_tokens(model: LanguageModel, tokens: Tokens, rows: Tensor) -> Tensor:
    """The true next token of each sentence (m,), -1 where there is none to know."""
    after = [(tokens.sentences[row], int(tokens.positions[row]) + 1) for row in rows.tolist()]
    known = model.family.causal
    return torch.tensor([int(ids[place]) if known and place < len(ids) else -1 for ids, place in after])


def _record(way: Way, parts: Sequence[tuple[Tensor, Mapping[str, Tensor]]], n: int) -> dict[str, Any]:
    """The samples of all batches in the order of the sentences."""
    rows = torch.cat([rows for rows, _ in parts])
    back = torch.empty(n, dtype=torch.int64).scatter_(0, rows, torch.arange(n))
    joined = {key: torch.cat([part[key] for _, part in parts])[back] for key in parts[0][1]}
    kept = {key: joined[key] for key in ("top_ids", "surprisal", "kl", "loss")}
    return {
        "kind": way.kind, "mapped": way.mapped, "blocks": len(way.schedule), "schedule": list(way.schedule),
        "without_attention": list(way.without_attention), **kept,
    }  # fmt: skip


def attention_ways(model: LanguageModel, most: int) -> list[Way]:
    """All blocks run, but every n-th, from the first on, without its own attention, for n up to `most`."""
    blocks = tuple(range(model.layers))
    sets = {tuple(range(0, model.layers, n)) for n in range(1, most + 1)}
    return [Way(ATTENTION, blocks, mapped, own) for own in sorted(sets, key=len) for mapped in (True, False)]

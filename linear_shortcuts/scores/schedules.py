"""Schedules: which blocks are run and which are jumped over; `alternation` runs them.

A schedule is the set of blocks 0..L-1 that are run. Each longest stretch of others, from layer i to layer j, is a jump,
by A_{j,i} at every position, so that later blocks attend to what was jumped (or, dropped, by nothing at all).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from linear_shortcuts.files import derive
from linear_shortcuts.maps import LayerMaps
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.scores.exits import spread

if TYPE_CHECKING:
    from linear_shortcuts.settings import Schedules

Schedule = tuple[int, ...]  # the blocks that are run, ascending
Watch = Callable[[Sequence[Any]], Iterable[Any]]  # passes work on piece by piece, as a progress bar does
ROUND_ROBIN, BEST, FINAL, CHANCE, GREEDY, ATTENTION, FULL = (
    "round_robin", "best", "final", "chance", "greedy", "attention", "full",
)  # fmt: skip


@dataclass(frozen=True)
class Way:
    """How one schedule is run: which blocks, whether what lies between is mapped or dropped, and whose attention.

    without_attention: blocks whose attention alone gives way to its stand-in, or to nothing if dropped.
    """

    kind: str
    schedule: Schedule
    mapped: bool = True
    without_attention: tuple[int, ...] = ()


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


def attention_ways(model: LanguageModel, most: int) -> list[Way]:
    """All blocks run, but every n-th, from the first on, without its own attention, for n up to `most`."""
    blocks = tuple(range(model.layers))
    sets = {tuple(range(0, model.layers, n)) for n in range(1, most + 1)}
    return [Way(ATTENTION, blocks, mapped, own) for own in sorted(sets, key=len) for mapped in (True, False)]

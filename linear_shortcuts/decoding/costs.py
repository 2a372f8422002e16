"""What checks and guesses cost on this machine: on it depends how many guesses are worth to be checked."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

from linear_shortcuts.decoding.shortcuts import Shortcuts, stack_of
from linear_shortcuts.decoding.speculation import guess
from linear_shortcuts.decoding.stack import keep, new_cache
from linear_shortcuts.decoding.tree import Tree
from linear_shortcuts.models import LanguageModel


@torch.inference_mode()
def check_costs(
    model: LanguageModel,
    most: int = 8,
    *,
    past: int = 128,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds of a check of 1..most tokens behind `past` others: all blocks and the head.

    The median of some rounds, in turn, so that other work on the machine meets all of them; and never less than for
    fewer tokens. Where the model reads fewer tokens, `past` is as many as it can.
    """
    stack, cache = stack_of(model), new_cache()
    past = min(past, (model.max_tokens or past + most) - most)
    ids = torch.arange(past + most, device=model.device)[None] % model.vocabulary
    calls = stack.prepare(ids[:, :past], 0)
    stack.run(calls, calls.states, 0, stack.layers, cache)
    seconds: list[list[float]] = [[] for _ in range(most)]
    for _ in range(rounds):
        for more in range(most):
            began = clock()
            calls = stack.prepare(ids[:, past : past + more + 1], past)
            stack.decode(stack.run(calls, calls.states, 0, stack.layers, cache)[0]).argmax(-1).cpu()
            seconds[more].append(clock() - began)
            keep(cache, past)
    medians = [statistics.median(taken) for taken in seconds]
    return [max(medians[: more + 1]) for more in range(most)]


@torch.inference_mode()
def guess_cost(
    model: LanguageModel,
    shortcuts: Shortcuts,
    costs: Sequence[float],
    *,
    width: int = 4,
    past: int = 128,
    rounds: int = 15,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of what self-speculation does in a pass besides the check: a tree is guessed, cut, and kept in part.

    The median of some rounds, behind `past` tokens, or as many as the model leaves room for; costs: of checks.
    """
    stack, cache = stack_of(model), new_cache()
    draft = shortcuts.to(model.device, model.network.dtype).draft(stack, width)
    past = min(past, (model.max_tokens or past + len(costs)) - len(costs))
    ids = torch.arange(past + len(costs), device=model.device)[None] % model.vocabulary
    calls = stack.prepare(ids, 0)
    middles = stack.run(calls, calls.states, 0, draft.middle, cache)
    ends = stack.run(calls, middles, draft.middle, stack.layers, cache)
    above = torch.cat([middles[0, past - 1], ends[0, past - 1]])
    whole = [(layer.keys, layer.values) for layer in cache.layers]
    seconds = []
    for _ in range(rounds):
        keep(cache, past)
        began = clock()
        tree, _ = guess(stack, Tree([int(ids[0, past])]), above, draft, past, len(costs), cache)
        tree = tree.only(tree.worth(costs))
        tree.mask(past, 0, model.network.dtype)
        spent = clock() - began
        for layer, (keys, values) in zip(cache.layers, whole, strict=True):
            layer.keys, layer.values = keys.clone(), values.clone()
        began = clock()
        keep(cache, past, [0, 2][: len(costs)])
        seconds.append(spent + clock() - began)
    return statistics.median(seconds)

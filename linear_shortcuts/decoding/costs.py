"""What a check of some tokens costs on this machine: on it depends how many guesses are worth to be checked."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from linear_shortcuts.decoding.shortcuts import stack_of
from linear_shortcuts.decoding.stack import keep, new_cache
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

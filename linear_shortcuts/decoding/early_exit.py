"""Decoding that leaves early: a token is made by the first layer that is sure enough of it.

A few layers are asked only, each through its map and a head, which may be a short list. A layer is sure where the
margin between its two best tokens is above a threshold (Schuster et al. 2022, arXiv:2207.07061).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from linear_shortcuts.decoding.choice import Choice
from linear_shortcuts.decoding.filling import Waiting
from linear_shortcuts.decoding.full import Step
from linear_shortcuts.decoding.short_list import ShortList
from linear_shortcuts.decoding.stack import Affine, Calls, Stack

Threshold = Callable[[int], float]  # of how many tokens were made before this one: the margin that is sure enough


def threshold(lambda_: float, tokens: int) -> Threshold:
    """0.9 lambda + 0.1 exp(-4 t / N) at the t-th of N = `tokens` tokens, both counted from 0; strict at first."""
    return lambda t: 0.9 * lambda_ + 0.1 * math.exp(-4 * t / tokens)


def early_exit(
    stack: Stack,
    prompt: Sequence[int],
    choose: Choice,
    exits: Mapping[int, Affine],
    sure: Threshold,
    waiting: Waiting,
    short_list: ShortList | None = None,
) -> Iterator[Step]:
    """Decode without end; all blocks read the prompt and make the first token.

    exits: layer in 1..L-1 -> the map of its states to h_L; layers that are asked, in rising order.
    waiting: new, on a cache of its own, with the way to fill what later blocks lack of tokens that left.
    short_list: the tokens among which the exits choose; None: the whole head.
    """
    device, cache = stack.network.device, waiting.cache
    ids = torch.tensor([list(prompt)], device=device)
    calls = stack.prepare(ids, 0)
    states = stack.run(calls, calls.states, 0, stack.layers, cache)
    token = choose(stack.decode(states[0, -1]))
    yield Step((token,), (stack.layers,))
    known, made = [*prompt, token], 1
    while True:
        position = len(known) - 1
        token, layer, state = _one(stack, known, choose, exits, sure(made), waiting, short_list)
        if layer < stack.layers:
            waiting.leave(position, layer, state)
        else:
            waiting.forget()
        yield Step((token,), (layer,))
        known.append(token)
        made += 1


def _one(
    stack: Stack,
    known: Sequence[int],
    choose: Choice,
    exits: Mapping[int, Affine],
    sure: float,
    waiting: Waiting,
    short_list: ShortList | None,
) -> tuple[int, int, Tensor]:
    """The token after `known`, the layer that made it, and the state there of the last of `known`."""
    position, prepared = len(known) - 1, dict[tuple[int, int], Calls]()

    def calls(first: int, last: int) -> Calls:
        if (first, last) not in prepared:
            ids = torch.tensor([known[first:last]], device=stack.network.device)
            prepared[first, last] = stack.prepare(ids, first)
        return prepared[first, last]

    state = calls(position, position + 1).states
    for block in range(stack.layers):
        if block in exits:
            guess = exits[block](state[0, -1])
            logits = stack.decode(guess, None if short_list is None else short_list.head)
            best = torch.softmax(logits.float(), dim=-1).topk(2)
            if float(best.values[0] - best.values[1]) > sure:
                token = int(best.indices[0])
                return token if short_list is None else int(short_list.ids[token]), block, state
        state = waiting.through(block, state, position, calls)
    return choose(stack.decode(state[0, -1])), stack.layers, state

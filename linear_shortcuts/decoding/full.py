"""Decoding with all blocks, one token a step: what every other way is held against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from linear_shortcuts.decoding.choice import Choice
from linear_shortcuts.decoding.stack import Stack, new_cache


@dataclass(frozen=True)
class Step:
    """tokens: new ids, in order, one at least. layers: of each, how many blocks made it.

    drafted: how many tokens were guessed and checked. Of the tokens all but the last are guesses that held.
    """

    tokens: tuple[int, ...]
    layers: tuple[int, ...]
    drafted: int = 0


def full(stack: Stack, prompt: Sequence[int], choose: Choice) -> Iterator[Step]:
    """Decode without end from a prompt of one token or more; whoever has enough stops asking."""
    device = stack.network.device
    cache, new, past = new_cache(), torch.tensor([list(prompt)], device=device), 0
    while True:
        calls = stack.prepare(new, past)
        states = stack.run(calls, calls.states, 0, stack.layers, cache)
        token = choose(stack.decode(states[0, -1]))
        yield Step((token,), (stack.layers,))
        past += new.shape[1]
        new = torch.tensor([[token]], device=device)


def full_batch(stack: Stack, prompts: Sequence[Sequence[int]], chooses: Sequence[Choice]) -> Iterator[list[int]]:
    """The next token of every prompt, without end, in one pass for all; shorter prompts are padded on the left.

    chooses: of every prompt its own choice, so that the draws of one do not depend on the others.
    """
    device, longest = stack.network.device, max(map(len, prompts))
    new = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    cache, past = new_cache(), 0
    while True:
        positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, past:] if stack.takes_positions else None
        calls = stack.prepare(new, past, positions, mask)
        states = stack.run(calls, calls.states, 0, stack.layers, cache)
        logits = stack.decode(states[:, -1])
        tokens = [choose(row) for choose, row in zip(chooses, logits, strict=True)]
        yield tokens
        past += new.shape[1]
        new = torch.tensor(tokens, device=device)[:, None]
        mask = torch.cat([mask, torch.ones(len(tokens), 1, dtype=mask.dtype, device=device)], dim=1)

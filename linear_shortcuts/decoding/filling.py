"""What later blocks are told of tokens that left before them: four ways to come by their keys and values.

    copy        the block's own keys and values of the state the token left with (CALM, arXiv:2207.07061)
    map         of that state carried to the block by a fitted map: K = W_K norm(A h)
    kv_map      keys and values fitted themselves, before any norm of keys and the rotation: [k; v] = B h + b
    recompute   the token is run through the block after all, together with the next one that needs it: exact

All four wait until a token comes by that needs them, so that a block reads its weights once for many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from linear_shortcuts.decoding.projections import Projections, take_keys_and_values
from linear_shortcuts.decoding.stack import Affine, Calls, Stack, cached

Way = Literal["copy", "map", "kv_map", "recompute"]
WAYS: tuple[Way, ...] = get_args(Way)

Guesses = Mapping[tuple[int, int], Affine]  # by the layer a token left at, and the block, from 0, that lacks it


class Waiting:
    """The tokens that left early, and the state and the layer that each left with.

    guesses: for `map` at (i, j) the map of states of layer i to those of layer j, which enter block j; for `kv_map` the
        map of states of layer i to what the modules that `projections` found in block j give, one after the other.
    """

    def __init__(
        self,
        stack: Stack,
        cache: DynamicCache,
        way: Way,
        guesses: Guesses | None = None,
        projections: Projections | None = None,
    ) -> None:
        self.stack, self.cache, self.way = stack, cache, way
        self.guesses, self.projections = guesses or {}, projections
        self.left: dict[int, tuple[int, Tensor]] = {}  # position -> layer, state (1, 1, d)

    def leave(self, position: int, layer: int, state: Tensor) -> None:
        """A token leaves at a layer, with its state (1, 1, d) of that layer."""
        self.left[position] = (layer, state)

    def through(self, block: int, state: Tensor, position: int, calls: Callable[[int, int], Calls]) -> Tensor:
        """The token at `position` through a block, (1, 1, d), which is first told of all tokens before it.

        calls: what the blocks are given for the tokens from one position up to, and without, another.
        """
        first = cached(self.cache, block)
        if self.way == "recompute":
            chunk = torch.cat([*(self.left[late][1] for late in range(first, position)), state], dim=1)
            made = self.stack.call(calls(first, position + 1), chunk, block, self.cache)
            for number, late in enumerate(range(first, position)):
                self.left[late] = (block + 1, made[:, number : number + 1])
            return made[:, -1:]
        if first < position:
            self._tell(block, calls(first, position), [self.left[late] for late in range(first, position)])
        return self.stack.call(calls(position, position + 1), state, block, self.cache)

    def forget(self) -> None:
        """Drop the tokens that every block knows."""
        known = min(cached(self.cache, block) for block in range(self.stack.layers))
        self.left = {position: left for position, left in self.left.items() if position >= known}

    def _tell(self, block: int, calls: Calls, left: list[tuple[int, Tensor]]) -> None:
        carried = torch.cat([self._carry(layer, block, state) for layer, state in left], dim=1)
        if self.way != "kv_map":
            take_keys_and_values(self.stack, calls, carried, block, self.cache)
            return
        assert self.projections is not None
        with self.projections.give(block, carried):
            take_keys_and_values(self.stack, calls, calls.states, block, self.cache)

    def _carry(self, layer: int, block: int, state: Tensor) -> Tensor:
        as_it_is = self.way == "copy" or (self.way == "map" and layer == block)
        return state if as_it_is else self.guesses[layer, block](state)

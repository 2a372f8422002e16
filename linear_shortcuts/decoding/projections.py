"""A block's keys and values, and the linear modules that make them, whatever the family calls them.

What reaches the cache shows which modules make keys and values: those without which it would be another. So no
family's entry has to name them, and norms of keys and the rotation by position, which come after, stay the model's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from linear_shortcuts.decoding.stack import Calls, Stack, new_cache


class _Taken(Exception):  # noqa: N818 (it is no error)
    """Raised from inside a block once it has handed its keys and values to the cache."""


class _Taker(DynamicCache):
    """A cache that takes keys and values for another, and lets nothing follow."""

    def __init__(self, cache: DynamicCache) -> None:
        super().__init__()
        self.cache, self.layers = cache, cache.layers

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **options: Any) -> Any:
        self.cache.update(key_states, value_states, layer_idx)
        raise _Taken


def take_keys_and_values(stack: Stack, calls: Calls, states: Tensor, block: int, cache: DynamicCache) -> None:
    """Cache the keys and values that a block makes of states (batch, tokens, d); it does nothing else with them."""
    try:
        stack.call(calls, states, block, _Taker(cache))
    except _Taken:
        return
    raise AssertionError(f"block {block} made no keys and values")


class Projections:
    """The modules of every block that make its keys and values, and those beside them that make neither.

    One module may make keys, values and queries (GPT-2).
    """

    def __init__(self, stack: Stack) -> None:
        self.found: list[list[nn.Module]] = []
        self.idle: list[list[nn.Module]] = []
        for block in range(stack.layers):
            called, needed = _called_and_needed(stack, block)
            self.found.append(needed)
            self.idle.append([module for module in called if module not in needed])

    def sizes(self, block: int) -> list[int]:
        """How many numbers a token each of the modules found in a block gives."""
        return [outputs(module) for module in self.found[block]]

    @contextmanager
    def give(self, block: int, made: Tensor) -> Iterator[None]:
        """Let the modules found in a block return their parts of `made` (batch, tokens, e), and the others zeros."""
        parts = made.split(self.sizes(block), dim=-1)
        replaced = [*self.found[block], *self.idle[block]]
        try:
            for module, part in zip(self.found[block], parts, strict=True):
                _return(module, part)
            for module in self.idle[block]:
                _return(module, made.new_zeros(*made.shape[:-1], outputs(module)))
            yield
        finally:
            for module in replaced:
                del module.__dict__["forward"]

    def made_of(self, stack: Stack, calls: Calls, states: Tensor, block: int) -> list[Tensor]:
        """What the modules found in a block return of states (m, d) that enter it, (m, e) each.

        calls: of m rows of one token each.
        """
        with self.record(block) as made:
            take_keys_and_values(stack, calls, states[:, None], block, new_cache())
        return [part[:, 0] for part in made]

    @contextmanager
    def record(self, block: int) -> Iterator[list[Tensor]]:
        """What the modules found in a block return meanwhile, in their order of call."""
        seen: list[Tensor] = []
        handles = [
            module.register_forward_hook(lambda module, args, output: seen.append(output))
            for module in self.found[block]
        ]
        try:
            yield seen
        finally:
            for handle in handles:
                handle.remove()


def outputs(module: Any) -> int:
    """The numbers that a linear module gives: of GPT-2's, whose weights are transposed, nf."""
    return module.nf if hasattr(module, "nf") else module.weight.shape[0]


def _return(module: nn.Module, value: Tensor) -> None:
    module.__dict__["forward"] = lambda states: value


def _called_and_needed(stack: Stack, block: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """The linear modules that a block calls before it has keys and values, and those of them that these depend on."""
    ids = torch.tensor([[1, 2]], device=stack.network.device)
    calls = stack.prepare(ids, 0)
    states = torch.randn(calls.states.shape, generator=torch.Generator().manual_seed(0)).to(calls.states)
    called: list[nn.Module] = []
    linear = [
        module
        for module in stack.blocks[block].modules()
        if not list(module.children()) and getattr(getattr(module, "weight", None), "ndim", 0) == 2
    ]
    handles = [module.register_forward_hook(lambda module, args, output: called.append(module)) for module in linear]
    try:
        whole = _keys_and_values(stack, calls, states, block)
    finally:
        for handle in handles:
            handle.remove()
    needed = []
    for module in called:
        _return(module, states.new_zeros(*states.shape[:-1], outputs(module)))
        try:
            without = _keys_and_values(stack, calls, states, block)
        finally:
            del module.__dict__["forward"]
        if not all(map(torch.equal, whole, without)):
            needed.append(module)
    return called, needed


def _keys_and_values(stack: Stack, calls: Calls, states: Tensor, block: int) -> Sequence[Tensor]:
    cache = new_cache()
    take_keys_and_values(stack, calls, states, block, cache)
    return cache.layers[block].keys, cache.layers[block].values

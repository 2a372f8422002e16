"""The blocks of a causal model run in part, on a cache: the ground that every way of decoding stands on.

The model's own forward pass prepares what its blocks are given (embeddings, positions, masks) while the blocks stand
aside; then blocks are called with it, and which ones, on what states, is ours to say. So no family is known by name.

Torch and transformers are all that is needed here, for this module travels with packaged models.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, DynamicLayer

WINDOWS = ("sliding_window", "window_size", "attention_chunk_size")  # what configurations call one


@dataclass(frozen=True)
class Affine:
    """weight (e, d) and bias (e,) or None: states (..., d) become weight @ h + bias, (..., e)."""

    weight: Tensor
    bias: Tensor | None = None

    def __call__(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weight, self.bias)


@dataclass(frozen=True)
class Calls:
    """What the model would give its blocks for some new tokens.

    states: h_0, (batch, tokens, d). arguments: of every block, besides the states. past: the cache named in them.
    """

    states: Tensor
    arguments: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]
    past: DynamicCache


class Stack:
    """The blocks of a causal network with a head, callable one by one.

    blocks, head: dotted paths; the head's modules are applied one after the other to h_L, a final norm the first.
    scale, cap: logits are multiplied by `scale`, and bounded as cap * tanh(logits / cap) where there is a cap.
    """

    def __init__(
        self, network: Any, blocks: str, head: Sequence[str], scale: float = 1.0, cap: float | None = None
    ) -> None:
        self.network, self.scale, self.cap = network, scale, cap
        self.blocks: list[nn.Module] = list(network.get_submodule(blocks))
        self.head: list[nn.Module] = [network.get_submodule(path) for path in head]
        self._tuples, self._embeds_alone = self._look()
        self.takes_positions = "position_ids" in inspect.signature(network.base_model.forward).parameters
        config = network.config.get_text_config()
        windows = [getattr(config, key, None) for key in WINDOWS]
        self.window: int | None = min((window for window in windows if window), default=None)

    def branches(self, tokens: int) -> bool:
        """Whether drafts may branch where so many tokens are read: positions can be given and no window is passed.

        The masks of branches are ours, and know no window.
        """
        return self.takes_positions and (self.window is None or tokens <= self.window)

    @property
    def layers(self) -> int:
        """L, the number of blocks."""
        return len(self.blocks)

    @torch.no_grad()
    def _look(self) -> tuple[bool, bool]:
        """Whether blocks return their states in a tuple, and whether h_0 is the embedding of its token and no more.

        Both as seen in a pass over a few tokens of all the vocabulary.
        """
        seen: list[tuple[tuple[Any, ...], dict[str, Any], Any]] = []
        embed = self.network.get_input_embeddings()
        ids = torch.linspace(0, embed.num_embeddings - 1, 8, device=self.network.device).long()[None]
        handle = self.blocks[0].register_forward_hook(lambda module, *call: seen.append(call), with_kwargs=True)
        try:
            self.network.base_model(input_ids=ids)
        finally:
            handle.remove()
        args, options, output = seen[0]
        return isinstance(output, tuple), torch.equal(args[0] if args else options["hidden_states"], embed(ids))

    def embed(self, ids: Tensor, past: int, positions: Tensor | None = None) -> Tensor:
        """h_0 of `ids` (batch, tokens), as `prepare` has it, (batch, tokens, d); sooner where it is but looked up."""
        if self._embeds_alone:
            embedded: Tensor = self.network.get_input_embeddings()(ids)
            return embedded
        return self.prepare(ids, past, positions).states

    def prepare(self, ids: Tensor, past: int, positions: Tensor | None = None, mask: Tensor | None = None) -> Calls:
        """What the blocks would be given for `ids` (batch, tokens) behind `past` tokens; no block runs.

        positions: (batch, tokens), if they do not simply go on. mask: (batch, past + tokens) of 0 and 1 where lines are
        padded on the left, or (batch, 1, tokens, past + tokens), added to the scores of attention.
        """
        stub = _as_if(past, self.layers)
        options: dict[str, Any] = {} if positions is None else {"position_ids": positions}
        if mask is not None:
            options["attention_mask"] = mask
        with self._aside() as seen:
            self.network.base_model(input_ids=ids, past_key_values=stub, use_cache=True, **options)
        return Calls(seen[0][0], [rest for _, rest in seen], stub)

    @contextmanager
    def _aside(self) -> Iterator[list[tuple[Tensor, tuple[tuple[Any, ...], dict[str, Any]]]]]:
        """Blocks hand on what they are given, and it is noted: their states and other arguments."""
        seen: list[tuple[Tensor, tuple[tuple[Any, ...], dict[str, Any]]]] = []

        def hand_on(*args: Any, **options: Any) -> Any:
            states, rest = (args[0], args[1:]) if args else (options.pop("hidden_states"), ())
            seen.append((states, (rest, options)))
            return (states, None) if self._tuples else states

        try:
            for block in self.blocks:
                block.__dict__["forward"] = hand_on  # what nn.Module itself would do, without its checks
            yield seen
        finally:
            for block in self.blocks:
                del block.__dict__["forward"]

    def run(self, calls: Calls, states: Tensor, first: int, last: int, cache: DynamicCache) -> Tensor:
        """States (batch, tokens, d) of layer `first` as states of layer `last`; their keys and values are cached."""
        for block in range(first, last):
            states = self.call(calls, states, block, cache)
        return states

    def call(self, calls: Calls, states: Tensor, block: int, cache: DynamicCache) -> Tensor:
        """What one block makes of states (batch, tokens, d), with `cache` in the place of the prepared one."""
        rest, options = calls.arguments[block]
        swapped = {key: cache if value is calls.past else value for key, value in options.items()}
        output = self.blocks[block](states, *(cache if value is calls.past else value for value in rest), **swapped)
        return output[0] if self._tuples else output

    def decode(self, states: Tensor, last: nn.Module | None = None) -> Tensor:
        """Logits (..., V) of states (..., d) read as h_L; last: in the place of the head's last module."""
        for module in self.head[:-1]:
            states = module(states)
        return self.bound((last or self.head[-1])(states))

    def bound(self, logits: Tensor) -> Tensor:
        """What the model makes of its head's output."""
        logits = logits * self.scale if self.scale != 1 else logits
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


def new_cache() -> DynamicCache:
    """A cache of transformers' own class. Every layer keeps all tokens: windows are seen to by the masks alone.

    A layer that forgot what left its window could not be cut back.
    """
    return DynamicCache()


def cached(cache: DynamicCache, block: int) -> int:
    """Tokens whose keys and values a block has."""
    return cache.layers[block].get_seq_length() if block < len(cache.layers) else 0


def keep(cache: DynamicCache, length: int, path: Sequence[int] = (), blocks: range | None = None) -> None:
    """Cut layers of a cache back to their first `length` tokens and, behind them, those at length + p for p in path.

    path: rising. blocks: those to cut, all by default; a block that has fewer tokens is left as it is.
    """
    straight = list(path) == list(range(len(path)))
    places = None
    for block in range(len(cache.layers)) if blocks is None else blocks:
        layer = cache.layers[block]
        end = length + len(path)
        if layer.get_seq_length() < end:
            continue
        if not straight:
            places = torch.tensor(path, device=layer.keys.device) + length if places is None else places
            for kept in (layer.keys, layer.values):
                kept[..., length:end, :] = kept.index_select(-2, places)
        layer.keys, layer.values = layer.keys[..., :end, :], layer.values[..., :end, :]


def _as_if(length: int, layers: int) -> DynamicCache:
    """A cache that says it has so many tokens, for whoever makes masks and positions; there is nothing in it."""
    cache = DynamicCache()
    for _ in range(layers):
        layer = DynamicLayer()
        if length:
            layer.lazy_initialization(torch.empty(1), torch.empty(1))
            layer.keys = layer.values = torch.empty(1).expand(1, 1, length, 1)
        cache.layers.append(layer)
    return cache

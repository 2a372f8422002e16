"""Shorter models beside the whole one, row by row: what they share with it, its first blocks, runs once for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.models import LanguageModel, Watcher
from linear_shortcuts.shorten.surgery import keeping
from linear_shortcuts.text.article_rows import IGNORED, Row


class SideBySide:
    """Some models on the same rows as the whole one; the blocks they share with it run once a row."""

    def __init__(self, whole: LanguageModel, others: Mapping[str, LanguageModel]) -> None:
        self.whole = whole
        self.rests = {name: _rest(whole, model) for name, model in others.items()}
        self._layers = {rest.layer for rest in self.rests.values() if rest is not None}

    @torch.inference_mode()
    def __call__(self, row: Row) -> Iterator[tuple[str, Tensor]]:
        """Of each model its name and log p (scored positions, V), float32; first of the whole one, by no name."""
        scored = (row.labels != IGNORED).to(self.whole.device)
        kept = _Kept(self._layers)
        with self.whole.watch(kept):
            logits = logits_of(self.whole, row.ids)
        whole = logits[scored].float().log_softmax(-1)
        yield "", whole
        for name, rest in self.rests.items():
            if rest is None:
                yield name, whole
            else:
                yield name, rest.logits(row.ids, kept.states[rest.layer])[scored].float().log_softmax(-1)


def _rest(whole: LanguageModel, model: LanguageModel) -> Rest | None:
    """What has to run of a model beside the whole one: at least a block, from which on it is entered."""
    return None if model is whole else Rest(model, min(shared_blocks(whole, model), model.layers - 1))


class _Kept(Watcher):
    def __init__(self, wanted: set[int]) -> None:
        self.wanted = wanted
        self.states: dict[int, Tensor] = {}

    def state(self, layer: int, states: Tensor) -> None:
        if layer in self.wanted:
            self.states[layer] = states


def shared_blocks(model: LanguageModel, other: LanguageModel) -> int:
    """How many of their first blocks are one model's as much as the other's: the same weights, and no hook on them."""
    for number, (block, own) in enumerate(zip(model.blocks, other.blocks, strict=False)):
        weights = zip(block.parameters(), own.parameters(), strict=False)
        if not all(ours is theirs for ours, theirs in weights) or any(part._forward_hooks for part in own.modules()):
            return number
    return min(model.layers, other.layers)


class Rest:
    """The blocks of a model from one on, run on a state that another model has computed: what is shared runs once."""

    def __init__(self, model: LanguageModel, layer: int) -> None:
        self.layer = layer
        self.model = keeping(model, range(layer, model.layers))
        self._states: Tensor | None = None
        self.model.blocks[0].register_forward_pre_hook(self._enter, with_kwargs=True)

    def logits(self, ids: Tensor, states: Tensor) -> Tensor:
        """Logits (n, V) of ids (n,), whose states at `layer` are (1, n, d)."""
        self._states = states
        return logits_of(self.model, ids)

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (self._states, *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": self._states}


def logits_of(model: LanguageModel, ids: Tensor) -> Tensor:
    """The model's own logits (n, V) of a row of ids (n,)."""
    options = {"use_cache": False} if model.family.causal else {}
    return model.network(input_ids=ids[None].to(model.device), **options).logits[0]

"""A model with fewer blocks that shares its weights with the original, and what is changed in it.

What is made here is an ordinary network of the original's class: its configuration says how many blocks there are, and
lists of one entry a block are cut along. Only `add_product` hangs a hook on it, which no checkpoint can hold.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.files import InputError
from linear_shortcuts.models import LanguageModel

# What configurations hold one entry of for each block, by the names the library has for it.
_BY_BLOCK = ("layer_types", "mlp_layer_types", "no_rope_layers", "attention_layers")
_NUMBERS = ("layer_idx", "layer_id")  # of a block, by which a cache keeps what it saw


@dataclass(frozen=True)
class Cut:
    """The blocks `start` to `end` - 1, counted from 0, are left out: layer `start` takes the place of layer `end`."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"blocks {self.start} to {self.end - 1}" if self.end - self.start > 1 else f"block {self.start}"


def without(model: LanguageModel, cut: Cut) -> LanguageModel:
    """The model without the blocks of a cut."""
    return with_blocks(model, [*range(cut.start), *range(cut.end, model.layers)])


def with_blocks(model: LanguageModel, kept: Sequence[int]) -> LanguageModel:
    """A model of some blocks of another, in their order, that shares its weights; the original is left as it is."""
    shorter = keeping(model, kept)
    for number, block in enumerate(shorter.blocks):
        for module in block.modules():
            for key in _NUMBERS:
                if hasattr(module, key):
                    setattr(module, key, number)
    return shorter


def keeping(model: LanguageModel, kept: Sequence[int]) -> LanguageModel:
    """The same, but each block keeps its number, and so has no place in a cache: for a part of a model."""
    network = sharing(model.network)
    _cut_config(network.config.get_text_config(), kept)
    blocks = network.get_submodule(model.family.blocks)
    network.set_submodule(model.family.blocks, nn.ModuleList(blocks[number] for number in kept))
    return replace(model, network=network)


def sharing(network: Any) -> Any:
    """A network of its own whose parameters and buffers are those of another, not copies."""
    return copy.deepcopy(network, {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())})


def _cut_config(config: Any, kept: Sequence[int]) -> None:
    blocks = config.num_hidden_layers
    config.num_hidden_layers = len(kept)
    for key in _BY_BLOCK:
        entries = getattr(config, key, None)
        if isinstance(entries, (list, tuple)) and len(entries) == blocks:
            setattr(config, key, [entries[number] for number in kept])
    if hasattr(config, "attention_types"):  # GPT-Neo's: from which `attention_layers` is made
        config.attention_types = [[[kind], 1] for kind in config.attention_layers]


# --- the layer that writes last ----------------------------------------------------------------------------


def down_projection(model: LanguageModel, block: int) -> Any:
    """The layer of a block, counted from 0, whose output joins the stream as it is, so that a matrix folds into it.

    Raises `InputError` that says why, where there is none.
    """
    kind = model.network.config.model_type
    if not model.family.steps:
        raise InputError(
            f"where a model of type {kind} keeps its down-projection is not declared, so nothing is folded into it; "
            "leave the blocks out with the method drop"
        )
    there = dict(model.blocks[block].named_modules())
    found = next((there[path] for path in model.family.down if path in there), None)
    if found is None:
        raise InputError(
            f"in a model of type {kind} a norm stands between the down-projection and the stream, so no matrix folds "
            "into it; leave the blocks out with the method drop"
        )
    return found


def fold(model: LanguageModel, block: int, matrix: Tensor, shift: Tensor | None) -> None:
    """Let a block's down-projection give (I + D) m + c where it gave m, in weights of the model's own.

    matrix: D (d, d). shift: c (d,), or None for a layer without a bias; one with a bias has its bias transformed too.
    """
    layer = down_projection(model, block)
    turn = torch.eye(len(matrix), dtype=torch.float64, device=matrix.device) + matrix.double()
    weight = layer.weight.double().to(turn.device)
    turned = turn @ weight if isinstance(layer, nn.Linear) else weight @ turn.T  # GPT-2's Conv1D is (in, out)
    layer.weight = _like(layer.weight, turned)
    if shift is not None:
        layer.bias = _like(layer.bias, turn @ layer.bias.double().to(turn.device) + shift.double())


def _like(parameter: Tensor, value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.to(parameter.device, parameter.dtype).contiguous(), requires_grad=False)


def add_product(model: LanguageModel, block: int, matrix: Tensor, shift: Tensor | None) -> None:
    """Make h of the stream that leaves a block, counted from 0, h + D h + c whenever the model runs.

    No place of an ordinary checkpoint could hold such a matrix D (d, d): this is for measuring, on whole rows. Their
    first position is left as it is: no fit has seen it, and in many models it is hundreds of times as large as all
    others and what they attend to, so that whatever is added to it is felt everywhere.
    """
    factor = matrix.T.to(model.device, model.network.dtype)
    added = None if shift is None else shift.to(model.device, model.network.dtype)

    def corrected(states: Tensor) -> Tensor:
        product = states[:, 1:] @ factor
        return torch.cat([states[:, :1], states[:, 1:] + (product if added is None else product + added)], dim=1)

    model.blocks[block].register_forward_hook(_on_states(corrected))


def _on_states(change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return change(output[0]), *output[1:]
        return change(output)

    return hook

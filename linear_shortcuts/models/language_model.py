"""One loaded language model, and the few things the study asks of it.

What its parts are called and in which order they work is data, in `families`. Nothing here, or anywhere
else in the project, knows one architecture from another.

Hidden states follow one convention, `CONVENTION`: h_0 enters the first block, h_i leaves block i, and h_L is taken
before the final norm, which belongs to the prediction head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linear_shortcuts.files import InputError
from linear_shortcuts.models.families import Family, Step, adjust, longest, switch
from linear_shortcuts.models.products import linear

CONVENTION = "h_0 enters block 1, h_i leaves block i, h_L before the final norm"


@dataclass(frozen=True)
class LanguageModel:
    """A frozen language model in evaluation mode, seen through its family."""

    name: str
    network: Any  # a Hugging Face model with its prediction head, if it has one
    family: Family
    identity: Mapping[str, Any]  # id, revision, SHA-256 of the weights, …: what an artifact's card records
    mask_token: int | None = None  # of a masked model that predicts what is behind it
    unused: tuple[str, ...] = ()  # names of weights in the checkpoint that the model has no place for

    def __repr__(self) -> str:
        kind = type(self.network).__name__
        return f"LanguageModel({self.name}: {kind}, {self.layers} blocks of width {self.width}, on {self.device})"

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.network.get_submodule(self.family.blocks))

    @property
    def layers(self) -> int:
        """L, the number of blocks; the layers of hidden states are 0..L."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        return width(self.network.config)

    @property
    def vocabulary(self) -> int:
        return self.network.config.get_text_config().vocab_size

    @property
    def max_tokens(self) -> int | None:
        """The longest sentence the model can read; None where it sets no limit."""
        return longest(self.network.config, self.family)

    @property
    def switch(self) -> int | None:
        """The length beyond which the longest sentence of a batch changes the states of all; None for most models."""
        return switch(self.network.config)

    @property
    def device(self) -> torch.device:
        """Where token ids go in; the blocks of a model loaded with a device map may lie elsewhere."""
        return next(self.network.parameters()).device

    def encode(self, ids: Tensor, attention_mask: Tensor | None) -> None:
        """Run the blocks on token ids (batch, tokens), without the head; hooks see what happens."""
        options = {"use_cache": False} if self.family.causal else {}
        self.network.base_model(input_ids=ids, attention_mask=attention_mask, **options)

    def decode(self, states: Tensor) -> Tensor:
        """Logits (..., V) of states (..., d) read as if they were h_L: final norm (if any), then head, once.

        Raises `InputError` if the model has no prediction head.
        """
        if self.family.headless:
            raise InputError(f"{self.name} has no prediction head, so nothing can be read off its states")
        norm = () if self.family.final_norm is None else (self.family.final_norm,)
        return adjust(self.family, self.network.config, self._through((*norm, *self.family.head), states))

    def finish(self, states: Tensor) -> Tensor:
        """States (..., d), read as if they were h_L, as the head or an encoder's user gets them: final norm, if any."""
        return self._through(() if self.family.final_norm is None else (self.family.final_norm,), states)

    def _through(self, paths: tuple[str, ...], states: Tensor) -> Tensor:
        modules = [self.network.get_submodule(path) for path in paths]
        states = self._enter(modules[0], states) if modules else states
        for module in modules:
            states = module(states)
        return states

    def sites(
        self,
        block: int,
        states: Tensor,
        attend: Callable[[Tensor], Tensor],
        stand_ins: Mapping[int, Tensor] | None = None,
    ) -> list[Tensor]:
        """The vectors of one block before its first and after each of its sub-steps: tensors like `states`.

        block: 0..L-1; states (..., d): site 0, the block's input.
        attend: the output of the attention sub-step from its input.
        stand_ins: sub-step a -> matrix (d, d) that takes the place of the genuine sub-step, as `matrix @ site`.

        With no stand-ins the last site is the output of the genuine block.
        """
        module = self.blocks[block]
        stand_ins = stand_ins or {}
        sites = [self._enter(module, states)]
        for a, (step, source) in enumerate(zip(self.family.steps, self.family.sources, strict=True)):
            value = sites[source]
            if a in stand_ins:
                matrix = stand_ins[a].to(value.device)
                value = linear(value.to(matrix.dtype), matrix).to(value.dtype)
            elif step.part == "attention":
                value = attend(value).to(device=value.device, dtype=value.dtype)
            elif step.part == "residual":
                for site in step.adds:
                    value = value + sites[site]
            else:
                for path in step.modules:
                    residual = (torch.zeros_like(value),) if step.takes_residual else ()
                    value = module.get_submodule(path)(value, *residual)
            sites.append(value)
        return sites

    def _enter(self, module: nn.Module, states: Tensor) -> Tensor:
        """States as a module of this model reads them: on its device, in the precision of the weights."""
        parameter = next(module.parameters(), states)
        return states.to(device=parameter.device, dtype=self.network.dtype)

    @contextmanager
    def watch(self, watcher: Watcher) -> Iterator[None]:
        """Tell `watcher` what passes while the model runs; the hooks are always removed."""
        handles = []
        attention = self._attention
        try:
            for number, block in enumerate(self.blocks):
                if number == 0:
                    handles.append(block.register_forward_pre_hook(_on_input(watcher.state, 0), with_kwargs=True))
                handles.append(block.register_forward_hook(_on_output(watcher.state, number + 1)))
                if attention is None:
                    continue
                first = block.get_submodule(attention.modules[0])
                last = block.get_submodule(attention.output or attention.modules[-1])
                handles += [
                    first.register_forward_pre_hook(_on_rest(watcher.attention_call, number), with_kwargs=True),
                    last.register_forward_hook(_on_output(watcher.attention_output, number)),
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def attention(self, block: int, call: Call) -> Callable[[Tensor], Tensor]:
        """The genuine attention sub-step of a block, as a function of its input alone.

        call: what the model itself passed besides the input (masks, positions), as a `Watcher` saw it.
        """
        step = self._attention
        assert step is not None
        first, *rest = [self.blocks[block].get_submodule(path) for path in step.modules]
        arguments, options = call

        def attend(states: Tensor) -> Tensor:
            others = (torch.zeros_like(states), *arguments[1:]) if step.takes_residual else arguments
            value = _tensor(first(states, *others, **options))
            for module in rest:
                value = module(value)
            return value

        return attend

    @property
    def _attention(self) -> Step | None:
        return next((step for step in self.family.steps if step.part == "attention"), None)


Call = tuple[tuple[Any, ...], dict[str, Any]]  # positional and keyword arguments


class Watcher:
    """What can be seen while a model runs: override what you need. Blocks are numbered 0..L-1, layers 0..L."""

    def state(self, layer: int, states: Tensor) -> None: ...  # h_layer, (batch, tokens, d)
    def attention_call(self, block: int, call: Call) -> None: ...  # its arguments besides the input
    def attention_output(self, block: int, states: Tensor) -> None: ...  # (batch, tokens, d)


def _tensor(output: Any) -> Tensor:
    # Some modules return a tuple or list whose first entry is the state, some the bare state.
    return output[0] if isinstance(output, (tuple, list)) else output


def _split(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Tensor, Call]:
    if args:
        return args[0], (args[1:], kwargs)
    rest = dict(kwargs)
    # Nearly every block calls its input so; in one that does not, the input is the first tensor.
    name = "hidden_states" if "hidden_states" in rest else next(k for k, v in rest.items() if isinstance(v, Tensor))
    return rest.pop(name), ((), rest)


def _on_input(tell: Callable[[int, Tensor], None], number: int) -> Callable[..., None]:
    return lambda module, args, kwargs: tell(number, _split(args, kwargs)[0])


def _on_rest(tell: Callable[[int, Call], None], number: int) -> Callable[..., None]:
    return lambda module, args, kwargs: tell(number, _split(args, kwargs)[1])


def _on_output(tell: Callable[[int, Tensor], None], number: int) -> Callable[..., None]:
    return lambda module, args, output: tell(number, _tensor(output))


def width(config: Any) -> int:
    """The width d of the hidden states."""
    return config.get_text_config().hidden_size

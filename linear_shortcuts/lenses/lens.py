"""One lens: how a state of one layer is moved to where the model's head can read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from linear_shortcuts.files import InputError, check_kind
from linear_shortcuts.models import LanguageModel, linear


@dataclass(frozen=True, eq=False)
class Lens:
    """An affine map, from the states of layer `source` to those of layer `target`, as which it guesses them.

    factors: matrices (r, d), (d, r) or (d, d), applied one after the other, as `A @ h`; none, and it is the identity.
    bias: (d,), added at the end; None is 0.
    card: what it is worth nothing without: the model, and on what it was fitted; see `lens_set.lens_card`.
    """

    name: str
    source: int
    target: int
    factors: tuple[Tensor, ...] = ()
    bias: Tensor | None = None
    card: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        kind = " @ ".join(str(tuple(factor.shape)) for factor in reversed(self.factors)) or "identity"
        return f"Lens({self.name}, layer {self.source} to {self.target}, {kind}{' + bias' * (self.bias is not None)})"

    def transport(self, states: Tensor) -> Tensor:
        """Carry states (..., d) of the source layer to the target layer, (..., d).

        Computed in float32, or in the states' own precision if that is higher; returned in the states' own.
        Raises `InputError` for states that are no real numbers or of another width.
        """
        check_kind("states", states, Tensor, "give a tensor, as torch.from_numpy makes of an array")
        if not states.is_floating_point():
            raise InputError(f"states are {states.dtype}; a lens moves real numbers, so give floats")
        width = self.factors[0].shape[1] if self.factors else states.shape[-1:].numel()
        if not states.ndim or states.shape[-1] != width:
            raise InputError(f"states have shape {tuple(states.shape)}, but the lens {self.name} takes (..., {width})")
        moved = states.float() if states.itemsize < 4 else states
        for factor in self.factors:
            moved = linear(moved, factor.to(moved))
        if self.bias is not None:
            moved = moved + self.bias.to(moved)
        return moved.to(states.dtype)

    def read_out(self, model: LanguageModel, states: Tensor) -> Tensor:
        """Logits (..., V) that the model's final norm and head give to states (..., d) of the source layer."""
        return model.decode(self.transport(states))

    @cached_property
    def matrix(self) -> Tensor | None:
        """The product of the factors, (d, d); None is the identity."""
        if not self.factors:
            return None
        product = self.factors[0]
        for factor in self.factors[1:]:
            product = factor @ product
        return product

    @property
    def parameters(self) -> int:
        """The numbers that it holds."""
        return sum(tensor.numel() for tensor in self.tensors.values())

    @property
    def flops(self) -> int:
        """Floating-point operations to carry one vector."""
        return sum(2 * factor.numel() for factor in self.factors) + (0 if self.bias is None else self.bias.numel())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Its factors and bias by the names that its file gives them."""
        named = {f"{self.source}.factor.{n}": factor for n, factor in enumerate(self.factors)}
        return named if self.bias is None else {**named, f"{self.source}.bias": self.bias}

    @classmethod
    def of_tensors(cls, name: str, source: int, target: int, tensors: Mapping[str, Tensor], **others: Any) -> Lens:
        """The lens whose `tensors` are those of one source among these."""
        factors: list[Tensor] = []
        while (key := f"{source}.factor.{len(factors)}") in tensors:
            factors.append(tensors[key].float())
        bias = tensors.get(f"{source}.bias")
        return cls(name, source, target, tuple(factors), None if bias is None else bias.float(), **others)

"""Layers of R models at once, for vectors that are columns: (R, d, m).

With the sequences on the last axis, norms, softmax and the cells of an LSTM run over many neighbouring numbers instead
of d, which may be 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-5  # of PyTorch's layer norm


@dataclass(frozen=True)
class Normed:
    """A layer norm's output, and what its gradients need."""

    output: Tensor  # (R, d, m)
    normed: Tensor  # (R, d, m), before weight and bias
    scale: Tensor  # (R, 1, m)


def normalize(x: Tensor, weight: Tensor, bias: Tensor) -> Normed:
    """R layer norms with weight and bias (R, d), over axis 1.

    Means are products with a small matrix, which for columns is faster than a reduction.
    """
    mean = x.new_full((len(x), x.shape[1], x.shape[1]), 1 / x.shape[1])
    centred = torch.baddbmm(x, mean, x, alpha=-1)
    scale = torch.bmm(mean[:, :1], centred * centred).add_(EPSILON).rsqrt_()
    normed = centred.mul_(scale)
    return Normed(torch.addcmul(bias[..., None], normed, weight[..., None]), normed, scale)


def normalize_backward(
    gradient: Tensor, found: Normed, p: Mapping[str, Tensor], name: str, gradients: dict[str, Tensor]
) -> Tensor:
    """The gradient of the input, from that of the output; those of weight and bias go into `gradients`."""
    normed, size = found.normed, gradient.shape[1]
    mean = normed.new_full((len(normed), size, size), 1 / size)
    gradients[name + "weight"] = (gradient * normed).sum(2)
    gradients[name + "bias"] = gradient.sum(2)
    inner = gradient * p[name + "weight"][..., None]
    along = torch.bmm(mean, inner * normed)
    return torch.baddbmm(inner, mean, inner, alpha=-1).addcmul_(normed, along, value=-1).mul_(found.scale)


def linear_gradients(
    gradient: Tensor, x: Tensor, p: Mapping[str, Tensor], name: str, gradients: dict[str, Tensor]
) -> Tensor:
    """The gradient of the input x (R, i, m) of linear layers with weight (R, o, i), from that of their output."""
    gradients[name + "weight"] = torch.bmm(gradient, x.mT)
    gradients[name + "bias"] = gradient.sum(2)
    return torch.bmm(p[name + "weight"].mT, gradient)


# --- for autograd ------------------------------------------------------------------------------------------


class LayerNorm(torch.autograd.Function):
    """`normalize` and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        found = normalize(x, weight, bias)
        ctx.save_for_backward(found.normed, found.scale, weight)
        return found.output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normed, scale, weight = ctx.saved_tensors
        gradients: dict[str, Tensor] = {}
        result = normalize_backward(gradient, Normed(normed, normed, scale), {"weight": weight}, "", gradients)
        return result, gradients["weight"], gradients["bias"]


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Columns x (R, d, ...) through R layer norms with weight and bias (R, d)."""
    return LayerNorm.apply(x.flatten(2), weight, bias).unflatten(2, x.shape[2:])


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Columns x (R, i, ...) through R linear layers with weight (R, o, i) and bias (R, o)."""
    return torch.baddbmm(bias[..., None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


def lookup(table: Tensor, ids: Tensor) -> Tensor:
    """The columns of tables (R, d, V) that ids (R, n, N) name: (R, d, N, n)."""
    index = ids.mT.flatten(1)[:, None].expand(-1, table.shape[1], -1)
    return table.gather(2, index).unflatten(2, ids.mT.shape[1:])


def select(x: Tensor, places: Tensor) -> Tensor:
    """x (R, d, N, n) at places (R, n): (R, d, n)."""
    index = places[:, None, None].expand(-1, x.shape[1], 1, -1)
    return x.gather(2, index).squeeze(2)

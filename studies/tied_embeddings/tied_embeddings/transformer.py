"""R transformers without positions as one computation, with their gradients in closed form.

Such a transformer cannot tell apart equal symbols of a sequence, so its states belong to symbols, not to places: slot s
of a sequence holds the state of symbol s, and attention to a symbol that occurs c times is attention to one with log c
added to its score, which is exact. Before the first layer the slots of all sequences are the same, the input vectors,
so that the first keys, values and queries are worked out once. The last layer is worked out at the mask only.

Vectors are columns, as in `columns`: states are (R, d, S, m), with S slots and m = 1 while all sequences are the same,
m = n then. Gradients are written out because autograd takes longer than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tied_embeddings.columns import Normed, linear_gradients, normalize, normalize_backward
from tied_embeddings.settings import ModelSettings

Parameters = Mapping[str, Tensor]
Gradients = dict[str, Tensor]
BACKWARD: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda gradient, x: gradient * (x > 0),
    "gelu": torch.ops.aten.gelu_backward,
}
FORWARD: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "gelu": F.gelu}


@dataclass(frozen=True)
class Layer:
    """What the gradients of a layer need of its forward pass; Q queries, of the mask or of every slot.

    x: (R, d, S, m). q: (R, d, Q, m), scaled; k, v: (R, d, S, m). attention: (R, heads, S, Q, n). All others have
    columns (R, ., Q n).
    """

    x: Tensor
    queries: slice
    q: Tensor
    k: Tensor
    v: Tensor
    attention: Tensor
    attended: Tensor
    first: Normed
    before: Tensor
    after: Tensor
    second: Normed

    @property
    def output(self) -> Tensor:
        """(R, d, Q, n)."""
        return self.second.output.unflatten(2, self.attention.shape[3:])


def counted(ids: Tensor, vocabulary: int) -> Tensor:
    """Logarithms of how often each symbol occurs in sequences (..., R, n, N): (..., R, 1, V, 1, n)."""
    counts = ids.new_zeros(*ids.shape[:-1], vocabulary).scatter_add_(-1, ids, torch.ones_like(ids))
    return counts.float().log().mT.contiguous()[..., None, :, None, :]


def forward(settings: ModelSettings, p: Parameters, table: Tensor, counts: Tensor, mask: int) -> list[Layer]:
    """All layers, for input embeddings (R, V, d) and the logarithms of counts; the last one at the mask only."""
    layers: list[Layer] = []
    x = table.mT[..., None]
    for number in range(settings.layers):
        queries = slice(mask, mask + 1) if number == settings.layers - 1 else slice(None)
        layers.append(_forward(settings, p, f"body.{number}.", x, queries, counts))
        x = layers[-1].output
    return layers


def _forward(settings: ModelSettings, p: Parameters, name: str, x: Tensor, queries: slice, counts: Tensor) -> Layer:
    d, heads = settings.embedding, settings.heads or 1
    weight, bias = p[name + "self_attn.in_proj_weight"], p[name + "self_attn.in_proj_bias"][..., None]
    asking = x[:, :, queries]
    kv = torch.baddbmm(bias[:, d:], weight[:, d:], x.flatten(2)).unflatten(2, x.shape[2:])
    q = torch.baddbmm(bias[:, :d], weight[:, :d], asking.flatten(2)).mul_((d // heads) ** -0.5)
    q, (k, v) = q.unflatten(2, asking.shape[2:]), kv.chunk(2, 1)
    scores = _inner(_split(k, heads), _split(q, heads))
    attention = (scores + counts).softmax(2)
    attended = _mix(_split(v, heads), attention).flatten(3).flatten(1, 2)
    y = _linear(p, name + "self_attn.out_proj.", attended)
    y = y.unflatten(2, attention.shape[3:]).add_(asking).flatten(2)
    first = normalize(y, p[name + "norm1.weight"], p[name + "norm1.bias"])
    before = _linear(p, name + "linear1.", first.output)
    after = FORWARD[settings.activation](before)
    second = normalize(
        _linear(p, name + "linear2.", after).add_(first.output), p[name + "norm2.weight"], p[name + "norm2.bias"]
    )
    return Layer(x, queries, q, k, v, attention, attended, first, before, after, second)


def backward(settings: ModelSettings, p: Parameters, layers: list[Layer], gradient: Tensor) -> tuple[Tensor, Gradients]:
    """From the gradient of the last layer's output, (R, d, n), those of the input embeddings and of all parameters."""
    gradients: Gradients = {}
    for number in range(settings.layers - 1, -1, -1):
        gradient = _backward(settings, p, f"body.{number}.", layers[number], gradient.flatten(2), gradients)
    return gradient.squeeze(3).mT, gradients


def _backward(
    settings: ModelSettings, p: Parameters, name: str, layer: Layer, gradient: Tensor, gradients: Gradients
) -> Tensor:
    """The gradient (R, d, S, m) of the layer's input; those of its parameters go into `gradients`."""
    heads, x = settings.heads or 1, layer.x
    asking = x[:, :, layer.queries]
    outer = normalize_backward(gradient, layer.second, p, name + "norm2.", gradients)
    inner = linear_gradients(outer, layer.after, p, name + "linear2.", gradients)
    inner = BACKWARD[settings.activation](inner, layer.before)
    outer = outer.add_(linear_gradients(inner, layer.first.output, p, name + "linear1.", gradients))
    outer = normalize_backward(outer, layer.first, p, name + "norm1.", gradients)
    attended = linear_gradients(outer, layer.attended, p, name + "self_attn.out_proj.", gradients)
    attended = _split(attended.unflatten(2, layer.attention.shape[3:]), heads)
    q, k, v = (_split(part, heads) for part in (layer.q, layer.k, layer.v))
    to_attention = _inner(v, attended)
    scores = torch._softmax_backward_data(to_attention, layer.attention, 2, q.dtype)
    if x.shape[3] == 1:
        scores = scores.sum(-1, keepdim=True)
    to_q = _mix(k, scores).flatten(1, 2).flatten(2).mul_((settings.embedding // heads) ** -0.5)
    to_k = _mix(q, scores.transpose(2, 3)).flatten(1, 2)
    to_v = _mix(attended, layer.attention.transpose(2, 3), keep=x.shape[3]).flatten(1, 2)
    to_kv = torch.cat([to_k.flatten(2), to_v.flatten(2)], 1)
    d, weight = settings.embedding, p[name + "self_attn.in_proj_weight"]
    gradients[name + "self_attn.in_proj_weight"] = torch.cat(
        [torch.bmm(to_q, asking.flatten(2).mT), torch.bmm(to_kv, x.flatten(2).mT)], 1
    )
    gradients[name + "self_attn.in_proj_bias"] = torch.cat([to_q.sum(2), to_kv.sum(2)], 1)
    result = torch.bmm(weight[:, d:].mT, to_kv).unflatten(2, x.shape[2:])
    residual = outer.unflatten(2, layer.attention.shape[3:])
    if x.shape[3] == 1:
        residual = residual.sum(-1, keepdim=True)
    result[:, :, layer.queries] += torch.bmm(weight[:, :d].mT, to_q).unflatten(2, asking.shape[2:]).add_(residual)
    return result


def _linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    return torch.baddbmm(p[name + "bias"][..., None], p[name + "weight"], x)


def _split(x: Tensor, heads: int) -> Tensor:
    """(R, d, S, m) as (R, heads, d/heads, S, m)."""
    return x.unflatten(1, (heads, -1))


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of vectors a (R, h, e, S, m) and b (R, h, e, Q, l), sequence by sequence: (R, h, S, Q, m or l)."""
    if a.shape[4] == 1:  # the same for all sequences: one product does
        return (a.squeeze(4).mT @ b.flatten(3)).unflatten(3, b.shape[3:])
    return (a[..., None, :] * b[:, :, :, None]).sum(2)


def _mix(a: Tensor, weights: Tensor, keep: int = 0) -> Tensor:
    """Sums of vectors a (R, h, e, S, m) with weights (R, h, S, Q, l): (R, h, e, Q, m or l).

    keep: 1 sums over the sequences too.
    """
    if a.shape[4] == 1:
        return (a.squeeze(4) @ weights.flatten(3)).unflatten(3, weights.shape[3:])
    if keep == 1:
        return (a.flatten(3) @ weights.transpose(2, 3).flatten(3).mT)[..., None]
    return (a[..., None, :] * weights[:, :, None]).sum(3)

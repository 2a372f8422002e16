"""R bidirectional LSTMs as one computation, as are both directions of a layer; backpropagation is written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tied_embeddings.columns import linear, lookup, select
from tied_embeddings.settings import ModelSettings


def forward(settings: ModelSettings, p: Mapping[str, Tensor], table: Tensor, ids: Tensor, places: Tensor) -> Tensor:
    """The vectors (R, d, n) that are read out, for input embeddings (R, V, d) and ids (R, n, N), at places (R, n)."""
    x = None
    for layer in range(settings.layers):
        both = []
        for suffix in (f"l{layer}", f"l{layer}_reverse"):
            weight = p[f"body.lstm.weight_ih_{suffix}"]
            bias = p[f"body.lstm.bias_ih_{suffix}"] + p[f"body.lstm.bias_hh_{suffix}"]
            if x is None:  # what the first layer reads depends on the symbol alone
                both.append(lookup(linear(table.mT, weight, bias), ids))
            else:
                both.append(linear(x, weight, bias))
        gates = torch.cat([both[0], both[1].flip(2)])  # (2R, 4h, N, n), both directions from their first symbol on
        recurrent = [p[f"body.lstm.weight_hh_l{layer}{suffix}"] for suffix in ("", "_reverse")]
        forwards, backwards = Recurrence.apply(gates, torch.cat(recurrent)).chunk(2)
        x = torch.cat([forwards, backwards.flip(2)], 1)  # (R, 2h, N, n)
    assert x is not None
    return linear(select(x, places), p["body.linear.weight"], p["body.linear.bias"])


class Recurrence(torch.autograd.Function):
    """The states (R, h, N, n) of LSTMs, with backpropagation through time.

    gates: (R, 4h, N, n), what the input gives to the gates i, f, g, o. recurrent: (R, 4h, h), the recurrent weights.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, recurrent: Tensor) -> Tensor:
        models, _, length, n = gates.shape
        width = recurrent.shape[-1]
        opened = gates.permute(2, 0, 1, 3).contiguous()  # (N, R, 4h, n); a step is a block
        cells = gates.new_zeros(length + 1, models, width, n)
        states = torch.zeros_like(cells)
        bounded = torch.empty_like(cells)  # tanh of the cells
        for t in range(length):
            now = opened[t] if t == 0 else opened[t].baddbmm_(recurrent, states[t])
            now[:, : 2 * width].sigmoid_()
            now[:, 2 * width : 3 * width].tanh_()
            now[:, 3 * width :].sigmoid_()
            i, f, g, o = now.chunk(4, 1)
            torch.mul(i, g, out=cells[t + 1]).addcmul_(f, cells[t])
            torch.tanh(cells[t + 1], out=bounded[t + 1])
            torch.mul(o, bounded[t + 1], out=states[t + 1])
        ctx.save_for_backward(opened, cells, bounded, states, recurrent)
        return states[1:].permute(1, 2, 0, 3)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        opened, cells, bounded, states, recurrent = ctx.saved_tensors
        length, width = len(opened), recurrent.shape[-1]
        gradient = gradient.permute(2, 0, 1, 3)  # (N, R, h, n)
        i, f, g, o = opened.chunk(4, 2)
        # All that does not run through time, for all steps at once.
        before = torch.empty_like(opened)  # d gate / d what enters its sigmoid or tanh, times what it multiplies
        torch.mul(g, i * (1 - i), out=before[:, :, :width])
        torch.mul(cells[:-1], f * (1 - f), out=before[:, :, width : 2 * width])
        torch.mul(i, 1 - g * g, out=before[:, :, 2 * width : 3 * width])
        torch.mul(bounded[1:], o * (1 - o), out=before[:, :, 3 * width :])
        through = o * (1 - bounded[1:] * bounded[1:])
        carried = None
        for t in range(length - 1, -1, -1):
            state = gradient[t] if carried is None else gradient[t] + torch.bmm(recurrent.mT, before[t + 1])
            cell = state * through[t]
            if carried is not None:
                cell.addcmul_(carried, f[t + 1])
            carried = cell
            now = before[t].unflatten(1, (4, width))
            now[:, :3].mul_(cell[:, None])
            now[:, 3].mul_(state)
        flat = before.permute(1, 2, 0, 3)  # (R, 4h, N, n)
        to_weight = torch.bmm(flat.flatten(2), states[:-1].permute(1, 2, 0, 3).flatten(2).mT)
        return flat, to_weight

"""Products with weights, in the widest instructions of a CPU.

For float32 torch asks MKL, which uses the widest vectors on Intel's CPUs alone; oneDNN, which torch has too, on any. On
an AMD EPYC it takes 0.45 times as long at every width from 128 up. Narrow models are left alone: they take seconds.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NARROW = 192
FEW = 8  # rows for which weights are packed; of up to twice as many the product is still the faster one


def linear(states: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`states @ weight.T + bias`, (..., e), of states (..., d) and a weight (e, d)."""
    if _to_onednn(states, weight):
        return torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return F.linear(states, weight, bias)


def widen(network: nn.Module) -> None:
    """Let the linear layers of a model multiply as `linear` does, those of GPT-2 among them."""
    from transformers.pytorch_utils import Conv1D

    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = _WideLinear
        elif type(module) is Conv1D:
            module.__class__ = _wide_conv1d()


def pack(network: nn.Module) -> None:
    """Lay out the weights of wide linear layers for products with few rows, as decoding makes them, once and for all.

    oneDNN otherwise does so in every call, which for a token or eight costs as much again as the product. Takes the
    memory of these weights once more; they must not change afterwards. Where oneDNN is not used nothing happens.
    """
    if not (_onednn_is_wider() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")):
        return
    for module in network.modules():
        if not isinstance(module, _WideLinear):
            continue
        weight = module.weight.detach()
        if weight.dtype == torch.float32 and weight.device.type == "cpu" and min(weight.shape) >= NARROW:
            module.__dict__["packed"] = torch.ops.mkldnn._reorder_linear_weight(weight, FEW)


def _to_onednn(states: Tensor, weight: Tensor) -> bool:
    # It knows no derivatives, so it is used only where none can be asked for.
    return (
        torch.is_inference_mode_enabled()
        and states.dtype == weight.dtype == torch.float32
        and states.device.type == weight.device.type == "cpu"
        and min(weight.shape) >= NARROW
        and states.numel() > 0
        and not torch.is_autocast_enabled("cpu")
        and _onednn_is_wider()
    )


@cache
def _onednn_is_wider() -> bool:
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        return False
    described = Path("/proc/cpuinfo")
    maker = described.read_text() if described.exists() else platform.processor()
    return "GenuineIntel" not in maker and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class _WideLinear(nn.Linear):
    def forward(self, states: Tensor) -> Tensor:
        packed = self.__dict__.get("packed")
        few = packed is not None and states.numel() <= 2 * FEW * self.in_features
        if few and _to_onednn(states, self.weight):
            return torch.ops.mkldnn._linear_pointwise(states, packed, self.bias, "none", [], "")
        return linear(states, self.weight, self.bias)


@cache
def _wide_conv1d() -> Any:
    from transformers.pytorch_utils import Conv1D

    class _WideConv1D(Conv1D):
        def forward(self, states: Tensor) -> Tensor:
            if _to_onednn(states, self.weight):
                return linear(states, self.weight.T, self.bias)
            return super().forward(states)

    return _WideConv1D

"""Products in the widest instructions: the same numbers to the last digits, where no derivative is asked for."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from linear_shortcuts.models import products

ONEDNN = torch.ops.mkldnn._linear_pointwise if torch.backends.mkldnn.is_available() else None


@pytest.fixture
def calls(monkeypatch):
    """Products that went to oneDNN, as on a CPU that is not Intel's."""
    if ONEDNN is None:
        pytest.skip("torch was built without oneDNN")
    seen = []
    monkeypatch.setattr(products, "_onednn_is_wider", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", lambda *args: seen.append(args) or ONEDNN(*args))
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_a_wide_layer_computes_the_same(kind, bias, calls):
    torch.manual_seed(0)
    layer = nn.Linear(256, 320, bias=bias) if kind == "linear" else Conv1D(320, 256)
    states = torch.randn(3, 7, 256)
    expected = layer(states)
    products.widen(nn.Sequential(layer))
    with torch.inference_mode():
        torch.testing.assert_close(layer(states), expected, atol=1e-5, rtol=1e-5)
    assert len(calls) == 1
    assert isinstance(layer, (nn.Linear, Conv1D))


def test_what_is_narrow_rough_or_differentiated_goes_the_usual_way(calls):
    layer, narrow = nn.Linear(256, 256), nn.Linear(products.NARROW - 1, 256)
    products.widen(nn.Sequential(layer, narrow))
    states = torch.randn(5, 256, requires_grad=True)
    layer(states).sum().backward()
    assert states.grad is not None
    with torch.inference_mode():
        narrow(torch.randn(2, products.NARROW - 1))
        layer(torch.empty(0, 256))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(torch.randn(2, 256)).dtype == torch.bfloat16
    assert not calls


@pytest.mark.parametrize("rows", [1, 3, 8, 16, 17, 40])
def test_packed_weights_give_the_same_products(rows):
    layers = (nn.Linear(256, 320), nn.Linear(320, 200, bias=False), nn.Linear(200, 7))
    module = nn.Sequential(*layers).requires_grad_(False)
    products.widen(module)
    states = torch.randn(1, rows, 256)
    with torch.inference_mode():
        before = module(states)
    products.pack(module)
    with torch.inference_mode():
        torch.testing.assert_close(module(states), before, atol=1e-5, rtol=1e-4)
    onednn = products._onednn_is_wider()
    assert ["packed" in layer.__dict__ for layer in module] == [onednn, onednn, False]  # the last is narrow
    torch.testing.assert_close(module(states), before, atol=1e-5, rtol=1e-4)  # outside of inference mode

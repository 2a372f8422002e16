"""The precision of the products, and none of it afterwards."""

import pytest
import tiny
import torch

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.precision import arithmetic
from linear_shortcuts.states.extraction import extract


def test_precision_is_that_of_the_products_and_leaves_no_trace():
    model = tiny.model("gpt2")
    tokens = tiny.tokens(model, 20)
    exact = extract(model, tokens, 0, 20, 100).hidden_states
    with arithmetic("bf16", model.device):
        rough = extract(model, tokens, 0, 20, 100).hidden_states
    with arithmetic("float32", model.device):
        again = extract(model, tokens, 0, 20, 100).hidden_states
    assert torch.equal(again, exact)
    assert rough.dtype == torch.float32
    error = (rough - exact)[1:].norm() / exact[1:].norm()
    assert 1e-4 < error < 3e-2  # bfloat16 keeps 8 bits
    assert torch.equal(rough[0], exact[0])  # no product before the first block
    with pytest.raises(InputError, match="only CUDA has"), arithmetic("tf32", model.device):
        pass

"""One lens: an affine map applied the right way round, read through the model's own head."""

import pytest
import tiny
import torch

from linear_shortcuts import InputError
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.states.extraction import extract

WIDTH = 6


def lens(*factors, bias=None):
    return Lens("made", 1, 3, tuple(factors), bias)


def test_transport_is_the_product_of_the_factors_and_the_bias():
    first, second, bias = torch.randn(2, WIDTH), torch.randn(WIDTH, 2), torch.randn(WIDTH)
    low, h = lens(first, second, bias=bias), torch.randn(5, 3, WIDTH)
    torch.testing.assert_close(low.transport(h), torch.einsum("ij,jk,btk->bti", second, first, h) + bias)
    torch.testing.assert_close(lens(low.matrix, bias=bias).transport(h), low.transport(h))
    assert (low.parameters, low.flops) == (2 * 2 * WIDTH + WIDTH, 2 * 2 * 2 * WIDTH + WIDTH)
    assert torch.equal(lens().transport(h), h)
    assert lens().matrix is None


def test_it_computes_in_float32_at_least_and_returns_the_states_own_precision():
    a, h = torch.randn(WIDTH, WIDTH), torch.randn(4, WIDTH)
    assert lens(a).transport(h.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(lens(a).transport(h.bfloat16()).float(), h.bfloat16().float() @ a.T, atol=0.1, rtol=0.01)
    assert lens(a).transport(h.double()).dtype == torch.float64


def test_states_it_cannot_carry_are_refused_in_one_line():
    made = lens(torch.eye(WIDTH))
    for states, words in (
        (torch.randn(3, WIDTH + 1), r"\(\.\.\., 6\)"),
        (torch.ones(WIDTH).long(), "int64"),
        ("h", "'h'"),
    ):
        with pytest.raises(InputError, match=words):
            made.transport(states)


def test_its_tensors_are_those_it_is_made_of():
    made = lens(torch.randn(2, WIDTH), torch.randn(WIDTH, 2), bias=torch.randn(WIDTH))
    again = Lens.of_tensors("made", 1, 3, {**made.tensors, "2.bias": torch.ones(WIDTH)})
    assert all(torch.equal(a, b) for a, b in zip(again.factors, made.factors, strict=True))
    assert torch.equal(again.bias, made.bias)
    assert repr(again) == "Lens(made, layer 1 to 3, (6, 2) @ (2, 6) + bias)"


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_the_identity_reads_the_last_layer_as_the_model_does(family):
    model = tiny.model(family)
    read = tiny.tokens(model, 4)
    states = extract(model, read, 0, 4, 500).hidden_states
    for row, ids in enumerate(read.sentences):
        expected = model.network(ids[None]).logits[0, read.positions[row]]
        found = Lens("id", model.layers, model.layers).read_out(model, states[-1][row])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)

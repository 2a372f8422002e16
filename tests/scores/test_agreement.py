"""Agreement of a lens with the full model, against a loop over the model's own logits."""

import math

import pytest
import tiny
import torch

from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.scores.agreement import agreement, bits_per_byte
from linear_shortcuts.states.extraction import extract


def test_every_measure_is_that_of_a_plain_loop():
    model = tiny.model("gpt2")
    states = extract(model, tiny.tokens(model, 30), 0, 30, 500).hidden_states
    truth = torch.arange(30) % 7
    truth[3] = -1
    lens = Lens("made", 1, 3, (torch.randn(model.width, model.width),), torch.randn(model.width))
    found = agreement(model, {"made": lens}, states[1], states[-1], truth, batch=7)["made"]
    for n in range(30):
        full = model.decode(states[-1][n]).softmax(-1)
        guess = model.decode(lens.matrix @ states[1][n] + lens.bias).softmax(-1)
        assert found["kl"][n] == pytest.approx(float((full * (full / guess).log()).sum()), rel=1e-3)
        assert found["surprisal"][n] == pytest.approx(-math.log(guess[full.argmax()]), rel=1e-3)
        for k in (1, 5, 10):
            assert found[f"p{k}"][n] == (guess.argmax() in full.topk(k).indices)
        if n == 3:
            assert found["cross_entropy"][n].isnan()
        else:
            assert found["cross_entropy"][n] == pytest.approx(-math.log(guess[truth[n]]), rel=1e-3)


def test_the_last_layer_read_as_it_is_agrees_entirely():
    model = tiny.model("bert")
    states = extract(model, tiny.tokens(model, 12), 0, 12, 500).hidden_states
    unknown = torch.full((12,), -1)
    found = agreement(model, {"id": Lens("id", 3, 3)}, states[-1], states[-1], unknown)["id"]
    assert found["kl"].abs().max() < 1e-5
    assert found["p1"].min() == 1


def test_bits_per_byte_are_all_nats_over_all_bytes():
    nats, lengths = torch.tensor([[1.0, 2.0, math.nan, 4.0]]).double(), torch.tensor([3, 1, 50, 4])
    assert bits_per_byte(nats, lengths).nanmean() == pytest.approx(7 / math.log(2) / 8)

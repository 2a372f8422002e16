"""The tuned lens: never behind its start, exact where a lens can be, and what its parts say together."""

import pytest
import tiny
import torch

from linear_shortcuts.lenses.closed_form import lenses, regressions
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.lenses.tuned import Recipe, tune
from linear_shortcuts.states.extraction import extract

RECIPE = Recipe(tokens=3600, batch=60, learning_rate=0.003, held_out=0.2, seed=0)


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def begun(request):
    model = tiny.model(request.param)
    states = extract(model, tiny.tokens(model, 300), 0, 300, 1000).hidden_states
    [regression] = regressions([(states[1:2], states[-1])])
    return model, states, lenses(1, model.layers, regression, [6], [1.0])["low_rank_6"]


def held_out_kl(model, lens, states):
    full, guess = (
        logits[-60:].log_softmax(-1) for logits in (model.decode(states[-1]), lens.read_out(model, states[1]))
    )
    return float((full.exp() * (full - guess)).sum(-1).mean())


def test_training_brings_the_held_out_kl_down_and_it_is_that_of_the_lens(begun):
    model, states, start = begun
    seen = []
    made, found = tune(model, start, states[1], states[-1], RECIPE, tell=seen.append)
    assert found["kl"] < 0.97 * found["kl_start"]
    assert found["kl_start"] == pytest.approx(held_out_kl(model, start, states), rel=1e-3)
    assert found["kl"] == pytest.approx(held_out_kl(model, made, states), rel=1e-3)
    assert sum(seen) == 3600
    assert (made.name, made.source, made.target) == ("tuned", 1, model.layers)
    again, _ = tune(model, start, states[1], states[-1], RECIPE)
    assert torch.equal(again.factors[0], made.factors[0])


def test_a_ruinous_rate_and_no_budget_end_at_the_start(begun):
    model, states, start = begun
    for recipe in (Recipe(240, 60, 50.0, 0.2, 0), Recipe(0, 60, 0.01, 0.2, 0)):
        made, found = tune(model, start, states[1], states[-1], recipe)
        assert found["kl"] == found["kl_start"]
        assert found["tokens"] == 0
        torch.testing.assert_close(made.transport(states[1]), start.transport(states[1]), atol=1e-4, rtol=1e-4)


def test_a_lens_without_a_matrix_is_no_start(begun):
    model, states, _ = begun
    with pytest.raises(ValueError, match="no matrix"):
        tune(model, Lens("id", 1, model.layers), states[1], states[-1], RECIPE)

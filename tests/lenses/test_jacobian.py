"""The Jacobian lens against torch's own Jacobian, and against the matrices of a linear model."""

import pytest
import tiny
import torch
from torch import nn

from linear_shortcuts.lenses import jacobian
from linear_shortcuts.lenses.lens_set import lens_card

POSITIONS = slice(2, 7)


def states_from(model, ids, layer, start, target):
    """h_target as a function of h_layer (T, d), through the model's own blocks."""
    kept = {}

    def replace(module, args, kwargs):
        return ((start[None], *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": start[None]})

    def keep(module, args, output):
        kept["h"] = output[0] if isinstance(output, tuple) else output

    handles = [
        model.blocks[layer].register_forward_pre_hook(replace, with_kwargs=True),
        model.blocks[target - 1].register_forward_hook(keep),
    ]
    try:
        model.encode(ids[None], None)
    finally:
        for handle in handles:
            handle.remove()
    return kept["h"][0]


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_it_is_torchs_own_jacobian_summed_over_targets_and_averaged_over_sources(family):
    model = tiny.model(family, layers=2) if family in tiny.FAMILIES else tiny.architecture(family, layers=2)
    ids = tiny.tokens(model, 1, seed=1).sentences[0].repeat(8)[:8]
    target = model.layers
    done = []
    found = jacobian.row_jacobians(model, ids, POSITIONS, target, copies=5, tell=done.append)
    watcher = jacobian._Leaf()
    with model.watch(watcher):
        model.encode(ids[None], None)
    for layer in range(target):
        start = watcher.states[layer][0].detach()
        full = torch.func.jacrev(lambda h, i=layer: states_from(model, ids, i, h, target))(start)  # (T, d, T, d)
        expected = full[POSITIONS][:, :, POSITIONS].sum(0).mean(1)
        torch.testing.assert_close(found[layer], expected, atol=1e-4, rtol=1e-3)
    assert sum(done) == model.width


def test_of_a_linear_model_it_is_that_models_matrix():
    model = tiny.linear_model("llama")
    ids = torch.arange(5, 13)
    found = jacobian.row_jacobians(model, ids, slice(0, 8), model.layers)
    identity = torch.eye(model.width)
    expected = identity
    for block in reversed(model.blocks):
        matrices = [m.dense.weight for m in block.modules() if isinstance(getattr(m, "dense", None), nn.Linear)]
        first, second = matrices  # attention, feed-forward; each beside its residual
        expected = expected @ (identity + second) @ (identity + first)
    torch.testing.assert_close(found[0], expected, atol=1e-3, rtol=1e-3)


def test_the_lens_is_the_mean_of_the_rows_and_says_how_far_half_of_them_come():
    card = lens_card(tiny.model("gpt2"), "jacobian", {"seed": 0})
    rows = list(torch.randn(4, 3, 24, 24))
    lenses = jacobian.lens_set(rows, "jacobian", 3, card)
    torch.testing.assert_close(lenses[1].matrix, torch.stack(rows).mean(0)[1])
    half, whole = torch.stack(rows[:2]).mean(0)[1], torch.stack(rows).mean(0)[1]
    assert lenses.card["fit"]["convergence"][1] == pytest.approx(float((half - whole).norm() / whole.norm()), rel=1e-4)
    assert lenses.card["fit"]["rows"] == 4
    assert jacobian.lens_set(rows[:1], "jacobian", 3, card).card["fit"]["convergence"] is None
    same = jacobian.lens_set([rows[0], rows[0]], "jacobian", 3, card)
    assert same.card["fit"]["convergence"] == [0, 0, 0]

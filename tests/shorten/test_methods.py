"""What stands in the place of blocks: exact where the blocks did nothing, or something linear."""

import pytest
import tiny
import torch
from sklearn.linear_model import Ridge

from linear_shortcuts.shorten.corrections import PENALTIES, Moments
from linear_shortcuts.shorten.methods import METHODS, fit, replaced
from linear_shortcuts.shorten.observation import cosines, observe
from linear_shortcuts.shorten.surgery import Cut, down_projection


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3"])
@pytest.mark.parametrize("method", METHODS)
def test_blocks_that_do_nothing_are_left_out_without_any_change(name, method, rows_of, logits, silence):
    model = silence(tiny.architecture(name), [1])
    [(task, found)] = fit(model, [(Cut(1, 2), method)], rows_of(model)).items()
    torch.testing.assert_close(
        logits(replaced(model, task, found).network), logits(model.network), rtol=1e-4, atol=1e-5
    )


def test_it_is_so_at_every_penalty(rows_of, silence):
    model, cut = silence(tiny.architecture("llama"), [1, 2]), Cut(1, 3)
    moments = Moments(model.width)
    for passage in observe(model, rows_of(model)["fit"], [1, 3], [0]):
        moments.update(passage.written[0], passage.states[cut.end] - passage.states[cut.start])
    for share in PENALTIES:
        assert moments.solve(share, intercept=False).matrix.abs().max() == 0


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox (Pythia)", "opt"])
def test_the_folded_matrix_is_scikit_learns_on_what_the_blocks_added(name, rows_of):
    model, rows = tiny.architecture(name), rows_of(tiny.architecture(name))
    task = Cut(1, 3), "fold"
    found = fit(model, [task], rows)[task]
    passages = list(observe(model, rows["fit"], [1, 3], [0]))
    x = torch.cat([passage.written[0] for passage in passages]).double()
    y = torch.cat([passage.states[3] - passage.states[1] for passage in passages]).double()
    biased = down_projection(model, 0).bias is not None
    spread = x - x.mean(0) if biased else x
    alpha = found.penalty * float(spread.square().sum() / model.width)
    theirs = Ridge(alpha=alpha, fit_intercept=biased, solver="svd").fit(x.numpy(), y.numpy())
    torch.testing.assert_close(found.matrix, torch.from_numpy(theirs.coef_), rtol=1e-4, atol=1e-5)
    assert (found.shift is not None) == biased


def test_what_is_linear_in_the_feed_forward_output_is_folded_exactly_without_a_penalty(rows_of, logits):
    """The blocks left out add a matrix times what the block before them wrote, which only a hook can see to."""
    model, rows = tiny.architecture("llama"), rows_of(tiny.architecture("llama"))
    torch.manual_seed(1)
    matrix = torch.randn(model.width, model.width) / 5
    kept = {}
    down_projection(model, 0).register_forward_hook(lambda module, args, output: kept.update(written=output))
    model.blocks[1].register_forward_hook(
        lambda module, args, kwargs, output: (
            (args[0] if args else kwargs["hidden_states"]) + kept["written"] @ matrix.T
        ),
        with_kwargs=True,
    )
    task = Cut(1, 2), "fold"
    found = fit(model, [task], rows)[task]
    assert found.penalty < 1e-6  # to rounding as good as none
    torch.testing.assert_close(found.matrix.float(), matrix, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        logits(replaced(model, task, found).network), logits(model.network), rtol=1e-3, atol=1e-4
    )


def test_a_full_matrix_is_at_least_as_good_as_a_folded_one_on_the_rows_it_is_fitted_on(rows_of):
    """Both explain the same target; on rows of the fit itself, as here, nothing is lost to chance."""
    model, rows = tiny.architecture("llama"), rows_of(tiny.architecture("llama"))
    same = {"fit": rows["fit"], "choose": rows["fit"]}
    found = fit(model, [(Cut(1, 3), "fold"), (Cut(1, 3), "matrix")], same)
    assert all(solution.penalty < 1e-6 for solution in found.values())  # to rounding as good as none
    assert 0 < found[Cut(1, 3), "fold"].r2 < 1
    assert 0 < found[Cut(1, 3), "matrix"].r2 < 1


def test_cosines_are_those_of_the_states(rows_of):
    model, rows = tiny.architecture("gpt2"), rows_of(tiny.architecture("gpt2"))["choose"]
    cuts = [Cut(1, 2), Cut(1, 3)]
    with torch.inference_mode():
        states = [
            model.network(input_ids=row.ids[None], output_hidden_states=True, use_cache=False).hidden_states
            for row in rows
        ]
    pairs = torch.cat([torch.nn.functional.cosine_similarity(own[1][0, 1:], own[2][0, 1:]) for own in states])
    assert cosines(model, rows, cuts)[0] == pytest.approx(float(pairs.mean()), abs=1e-6)

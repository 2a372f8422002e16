"""A mapped exit is the lens of the same matrix, and at the last layer the full model."""

import pytest
import tiny
import torch

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.maps.regression import fit
from linear_shortcuts.shorten import exits
from linear_shortcuts.shorten.corrections import PENALTIES
from linear_shortcuts.shorten.exits import exit_at
from linear_shortcuts.shorten.observation import observe

RMS = ["llama", "llama (SmolLM: tied)", "gemma", "gemma2", "qwen3"]
LAYER_NORM = ["gpt2", "gpt_neox (Pythia)", "phi", "olmo"]


def states_of(model, rows, layer):
    return torch.cat([passage.states[layer] for passage in observe(model, rows, [layer])])


@pytest.mark.parametrize("name", RMS)
def test_where_the_norm_only_rescales_the_order_of_tokens_is_the_lens_s(name, rows_of, logits, monkeypatch):
    monkeypatch.setattr(
        exits.best, "__kwdefaults__", {"penalties": (0.0,)}
    )  # so that the oracle is plain least squares
    model, rows = tiny.architecture(name), rows_of(tiny.architecture(name))
    made = exit_at(model, rows, 2)
    a = fit(states_of(model, rows["fit"], 2), states_of(model, rows["fit"], 3)).matrices[0]
    ids = torch.arange(7, 27, 2)
    with torch.inference_mode():
        states = model.network(input_ids=ids[None], output_hidden_states=True, use_cache=False).hidden_states[2][0]
        lens = model.decode((states.double() @ a.T).float())
    ours = logits(made.model.network, ids)
    assert made.made["exact"]
    assert made.made["factor"] > 0
    assert PENALTIES[0] == 0
    # Where the lens tells two tokens apart by more than rounding, so does the exit, the same way.
    apart = lens[:, :, None] - lens[:, None]
    clear = apart > 1e-3 * lens.abs().max()
    assert ((ours[:, :, None] - ours[:, None])[clear] > 0).all()
    assert clear.float().mean() > 0.4


@pytest.mark.parametrize("name", [*RMS, *LAYER_NORM])
def test_an_exit_at_the_last_layer_is_the_full_model(name, rows_of, logits):
    model = tiny.architecture(name)
    made = exit_at(model, rows_of(model), 3)
    torch.testing.assert_close(logits(made.model.network), logits(model.network))
    assert made.report["shorter"]["agreement"] == 1


@pytest.mark.parametrize("name", LAYER_NORM)
def test_where_the_norm_centres_the_map_is_fitted_to_what_the_head_reads(name, rows_of, logits, monkeypatch):
    monkeypatch.setattr(exits.best, "__kwdefaults__", {"penalties": (0.0,)})
    model, rows = tiny.architecture(name), rows_of(tiny.architecture(name))
    made = exit_at(model, rows, 2)
    norm = model.network.get_submodule(model.family.final_norm)
    with torch.inference_mode():
        read, states = norm(states_of(model, rows["fit"], 3)), states_of(model, rows["fit"], 2)
        centred = torch.nn.functional.layer_norm(states.double(), [model.width])
        b = torch.linalg.lstsq(centred, read.double(), driver="gelsd").solution
        ids = torch.arange(7, 27, 2)
        state = model.network(input_ids=ids[None], output_hidden_states=True, use_cache=False).hidden_states[2][0]
        wanted = torch.nn.functional.layer_norm(state, [model.width]).double() @ b
        wanted = model.network.get_submodule(model.family.head[0])(wanted.float())
    torch.testing.assert_close(logits(made.model.network), wanted, rtol=1e-2, atol=1e-2)
    assert not made.made["exact"]


def test_the_factor_is_the_one_of_least_kl(rows_of):
    model, rows = tiny.architecture("llama"), rows_of(tiny.architecture("llama"))
    made = exit_at(model, {**rows, "report": rows["choose"]}, 1)
    head = made.model.network.lm_head

    def kl(times):
        weight = head.weight.clone()
        head.weight.mul_(times)
        total = 0.0
        with torch.inference_mode():
            for row in rows["choose"]:
                p, q = (
                    own.network(input_ids=row.ids[None]).logits[0, 1::4].log_softmax(-1) for own in (model, made.model)
                )
                total += float((p.exp() * (p - q)).sum())
        head.weight.copy_(weight)
        return total

    assert kl(1.0) < min(kl(0.95), kl(1.05))


@pytest.mark.parametrize("step", ["_factor", "report"])
def test_a_killed_run_goes_on_with_what_is_left_and_ends_the_same(step, rows_of, tmp_path, monkeypatch):
    model = tiny.architecture("llama")
    rows = rows_of(model)
    whole = exit_at(model, rows, 2, work=tmp_path / "whole")

    def killed(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(exits, step, killed)
    with pytest.raises(KeyboardInterrupt):
        exit_at(model, rows, 2, work=tmp_path / "killed")
    monkeypatch.undo()
    monkeypatch.setattr(exits, "_map", killed)  # what was finished is not computed again
    resumed = exit_at(model, rows, 2, work=tmp_path / "killed")
    assert resumed.made == whole.made
    assert resumed.report["shorter"]["kl"] == whole.report["shorter"]["kl"]


def test_the_head_is_untied_and_the_original_keeps_its_own(rows_of):
    model = tiny.architecture("llama (SmolLM: tied)")
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    made = exit_at(model, rows_of(model), 1)
    network = made.model.network
    assert not network.config.tie_word_embeddings
    assert network.lm_head.weight.data_ptr() != network.get_input_embeddings().weight.data_ptr()
    assert model.network.config.tie_word_embeddings
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [("llama", 4, "give 1 to 3"), ("llama", 0, "layer 0 is no exit"), ("bert", 1, "is not one norm and one matrix")],
)
def test_what_has_no_exit_is_refused(name, layer, message, rows_of):
    model = tiny.architecture(name)
    with pytest.raises(InputError, match=message):
        exit_at(model, rows_of(model), layer)

"""A shorter encoder: a ridge regression of means, by another library; nothing is lost where blocks are linear."""

import pytest
import tiny
import torch
import torch.nn.functional as F
from sklearn.linear_model import LinearRegression

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import wrap
from linear_shortcuts.shorten import encoders


def encoder(linear=False):
    made = tiny.linear_model("bert") if linear else tiny.architecture("bert")
    return wrap(made.network.base_model, name="encoder")


@pytest.fixture(scope="module")
def sentences():
    return {
        name: tiny.tokens(encoder(), number, seed=seed)
        for seed, (name, number) in enumerate({"fit": 120, "choose": 30, "report": 40}.items())
    }


def test_the_mean_is_over_the_tokens_of_a_sentence_alone(sentences):
    model = encoder()
    means = encoders.mean_states(model, sentences["report"], [1])
    for row, ids in enumerate(sentences["report"].sentences):
        states = model.network(ids[None], output_hidden_states=True).hidden_states
        for layer in (1, model.layers):
            torch.testing.assert_close(means[layer][row], states[layer][0].mean(0), atol=1e-5, rtol=1e-4)


def test_without_a_penalty_the_map_is_the_linear_regression_of_scikit_learn(sentences, monkeypatch):
    monkeypatch.setattr(encoders.best, "__kwdefaults__", {"penalties": (0.0,)})
    means = {name: encoders.mean_states(encoder(), own, [2]) for name, own in sentences.items()}
    dense = encoders.fit_dense(means, 2)
    ours = encoders.embeddings(means["report"], dense, 2)
    theirs = LinearRegression().fit(means["fit"][2].double(), means["fit"][3].double())
    wanted = F.normalize(torch.from_numpy(theirs.predict(means["report"][2].double())), dim=1)
    torch.testing.assert_close(ours["shorter"].double(), wanted, atol=1e-3, rtol=0)
    torch.testing.assert_close(ours["without"], F.normalize(means["report"][2], dim=1))
    torch.testing.assert_close(ours["whole"], F.normalize(means["report"][3], dim=1))


def test_where_blocks_are_linear_nothing_is_lost(sentences):
    made = encoders.exit_encoder(encoder(linear=True), sentences, 1)
    assert made.report["shorter"]["cosine"] > 1 - 1e-4
    assert made.report["shorter"]["recall"] > 0.99
    assert made.report["without"]["recall"] < 0.9
    assert made.model.layers == 1


def test_a_killed_run_reads_no_sentence_again(sentences, tmp_path, monkeypatch):
    made = [encoders.exit_encoder(encoder(), sentences, 2, work=tmp_path)]
    monkeypatch.setattr(encoders, "mean_states", None)
    made.append(encoders.exit_encoder(encoder(), sentences, 2, work=tmp_path))
    assert torch.equal(made[0].dense.matrix, made[1].dense.matrix)


def test_what_is_reported_is_what_the_shorter_encoder_does(sentences):
    model = encoder()
    made = encoders.exit_encoder(model, sentences, 2)
    means = encoders.mean_states(model, sentences["report"], [2])
    found = encoders.embeddings(means, made.dense, 2)
    for row, ids in enumerate(sentences["report"].sentences):
        torch.testing.assert_close(
            encoders.embed(made.model, made.dense, ids[None], None)[0], found["shorter"][row], atol=1e-5, rtol=0
        )
    cosine = float((found["shorter"] * found["whole"]).sum(1).mean())
    assert made.report["shorter"]["cosine"] == pytest.approx(cosine)
    assert made.report["shorter"]["cosine_low"] < cosine < made.report["shorter"]["cosine_high"]
    assert made.report["whole"]["recall"] == 1
    assert made.report["shorter"]["parameters"] < made.report["whole"]["parameters"] + 24 * 25


@pytest.mark.parametrize(
    ("model", "layer", "message"),
    [
        (encoder(), 3, "give 1 to 2"),
        (encoder(), 0, "layer 0 is no exit"),
        (tiny.architecture("bert"), 1, "predicts tokens"),
    ],
)
def test_what_has_no_exit_is_refused(model, layer, message, sentences):
    with pytest.raises(InputError, match=message):
        encoders.exit_encoder(model, sentences, layer)

"""What gives lambda layers their start: rotary attention against complex numbers, trainings against stage 02's own."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings as hypothesis_settings, strategies as st
from scipy import stats
from transformers import BertConfig, BertModel

from lambda_bert import ablation, documents, models, page, pairs, pretraining, rotary, seeds, study
from lambda_bert.settings import README, Shape, read
from linear_shortcuts import InputError
from linear_shortcuts.files.documents import filled
from linear_shortcuts.models.loading import load_tokenizer
from linear_shortcuts.settings import devices

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = read(REPOSITORY / "studies/lambda_bert/params.yaml")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with devices.one_thread():
        yield


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(REPOSITORY / "models" / "tiny-bert")


# --- rotary attention ------------------------------------------------------------------------------------------


def by_complex_numbers(query, key, value, scaling):
    """Attention whose products are real parts of complex ones, each pair of entries a number turned by its position."""
    places, half = torch.arange(query.shape[-2]), query.shape[-1] // 2
    speeds = rotary.BASE ** (-2 * torch.arange(half) / query.shape[-1])
    turns = torch.polar(torch.ones(len(places), half), places[:, None] * speeds)
    turned = [torch.complex(states[..., :half], states[..., half:]) * turns for states in (query, key)]
    products = (turned[0] @ turned[1].conj().transpose(-1, -2)).real * scaling
    return products.softmax(-1) @ value


def test_rotary_attention_turns_queries_and_keys_as_complex_numbers():
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 5, 8, generator=generator)
    module = torch.nn.Module()
    module.is_causal = False
    found, _ = rotary.rotary_attention(module, query, key, value, None, scaling=0.3, dropout=0.0)
    torch.testing.assert_close(found.transpose(1, 2), by_complex_numbers(query, key, value, 0.3))


def test_a_bert_of_rotary_attention_alone_knows_distances_and_not_places():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16, initializer_range=0.5, attn_implementation=rotary.NAME,
    )  # fmt: skip
    model = BertModel(config).eval()
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
    ids = torch.tensor([[3, 4, 5, 6, 0, 0, 0]])
    mask = (ids > 0).long()
    shifted, shifted_mask = ids.roll(2, 1), mask.roll(2, 1)
    one, other = model(ids, mask).last_hidden_state, model(shifted, shifted_mask).last_hidden_state
    torch.testing.assert_close(one[:, :4], other[:, 2:6], atol=1e-5, rtol=1e-4)
    reordered = model(ids[:, [1, 0, 2, 3, 4, 5, 6]], mask).last_hidden_state
    assert (one[:, 2] - reordered[:, 2]).abs().max() > 1e-2  # and the order counts


# --- the variants ----------------------------------------------------------------------------------------------

SHAPE = Shape(
    layers=1, width=16, intermediate=32, heads=2, initializer_range=0.05, key_depth=2, intra_depth=2, local_context=5,
    position_initializer_range=0.02, query_scale=0.1,
)  # fmt: skip
OTHER = 20  # the token that is exchanged


def reach(model, places=24):
    """How far from a token that is exchanged the first block's output changes."""
    ids = torch.full((1, places), 10)
    other = ids.clone()
    other[0, places // 2] = OTHER
    with torch.no_grad():
        states = [model.base_model(given, output_hidden_states=True).hidden_states[1] for given in (ids, other)]
    changed = (states[0] - states[1])[0].abs().amax(-1) > 1e-7
    return int((changed.nonzero().flatten() - places // 2).abs().max())


def test_a_variant_lets_tokens_meet_as_it_says(tokenizer):
    made = {
        name: models.new_model(variant.kind, SHAPE, tokenizer, 32, "nsp", 0, variant.changes).eval()
        for name, variant in ablation.VARIANTS.items()
    }
    assert {name: reach(model) for name, model in made.items()} == {
        "both": 12, "content": 12, "position": 2, "all-tokens": 12, "bert-absolute": 12, "bert-relative": 12
    }  # fmt: skip
    layers = {name: model.base_model.encoder.layer[0].attention.self for name, model in made.items()}
    with torch.no_grad():  # without content lambdas only the windows are left
        for name in ("both", "content", "all-tokens"):
            layers[name].key.weight.zero_()
            made[name].base_model.encoder.layer[0].attention.self.content_lambda = lambda keys, values: torch.zeros(
                1, SHAPE.key_depth, SHAPE.width // SHAPE.heads
            )
    assert {name: reach(made[name]) for name in ("both", "content", "all-tokens")} == {
        "both": 2, "content": 0, "all-tokens": 12
    }  # fmt: skip
    assert layers["position"].key is None
    assert made["bert-relative"].config._attn_implementation == "rotary"


@pytest.fixture
def trained(tokenizer, tmp_path, monkeypatch):
    """Settings and pairs of a training of four steps, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    settings = replace(
        SETTINGS,
        shape=SHAPE,
        pairs=replace(SETTINGS.pairs, block_size=32),
        pretrain=replace(SETTINGS.pretrain, steps=4, batch=4, warmup_steps=1, steps_per_checkpoint=2),
    )
    texts = [[f"The number {n} is a value.", f"A function returns {n}.", "It ends."] for n in range(12)]
    split = documents.hold_out(texts, 0.3, 0)
    train, validation, _ = pairs.make_datasets(*split, tokenizer, "nsp", **settings.pairs.cutting, seed=0)
    return settings, tokenizer, train, validation


def test_both_lambdas_from_the_studys_seed_are_the_training_of_stage_02(trained, tmp_path):
    settings, tokenizer, train, validation = trained
    assert ablation.run(settings, "both", settings.seed, tokenizer, train, validation)
    found = json.loads(settings.folders.ablation("both", settings.seed).read_text())
    trainer = study.new_trainer(settings, "lambdabert", tokenizer, train, validation, tmp_path / "own", "cpu")
    trainer.train()
    trainer.model.half().float()
    assert found["results"] == pretraining.evaluate(trainer, "nsp")
    assert found["log"] == study.history(trainer)


def test_a_training_is_kept_continued_when_killed_and_refused_to_other_settings(trained):
    settings, *given = trained
    assert ablation.run(settings, "content", 7, *given)
    file = settings.folders.ablation("content", 7)
    whole = file.read_bytes()
    assert not ablation.run(settings, "content", 7, *given)
    file.unlink()
    [work] = Path("data/.work/lambda_bert/08_ablate/7").glob("*/*/")
    assert {path.name for path in work.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4"}
    (work / "checkpoint-4" / "trainer_state.json").unlink()  # as if killed before it was whole
    assert ablation.run(settings, "content", 7, *given)
    assert file.read_bytes() == whole
    longer = replace(settings, pretrain=replace(settings.pretrain, steps=6))
    with pytest.raises(InputError, match="content-7.json is of other settings"):
        ablation.run(longer, "content", 7, *given)


def test_seeds_differ_in_weights_masks_and_order_and_no_training_is_one_line(trained):
    settings, *given = trained
    with pytest.raises(InputError, match="has no training; run studies/lambda_bert/08_ablate.py first"):
        ablation.load(settings)
    settings = replace(settings, ablation=replace(settings.ablation, seeds=(1, 2, 3)))
    for seed in (1, 2):
        ablation.run(settings, "bert-relative", seed, *given)
    found = ablation.load(settings)
    assert list(found) == [("bert-relative", 1), ("bert-relative", 2)]
    assert len({training["results"]["mask_loss"] for training in found.values()}) == 2


# --- intervals -------------------------------------------------------------------------------------------------

losses = st.lists(st.floats(0, 10), min_size=2, max_size=6)


@hypothesis_settings(deadline=None, max_examples=40)
@given(losses)
def test_the_interval_of_a_mean_is_students(values):
    low, high = seeds.interval(values)
    expected = stats.ttest_1samp(np.array(values) - 20, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((expected.low + 20, expected.high + 20), abs=1e-6)
    assert seeds.interval(values[:1]) is None


def training(loss):
    scores = dict.fromkeys(seeds.SCORES, 0.5) | {"mask_loss": loss, "parameters": 7}
    return {"results": scores, "log": [{"step": 1, "eval_mask_loss": loss + 1}, {"step": 2, "eval_mask_loss": loss}]}


def test_differences_are_taken_seed_by_seed_and_one_seed_has_no_interval():
    found = {
        **{("both", seed): training(3.0 + seed) for seed in (1, 2, 3)},
        **{("content", seed): training(3.5 + seed + seed / 100) for seed in (2, 3, 4)},
        ("bert-absolute", 1): training(6.0),
        ("bert-relative", 9): training(5.0),
    }
    content, bert = seeds.differences(found, "both")
    assert (content["variant"], content["seeds"], content["difference"]) == ("content", 2, pytest.approx(0.525))
    # Two values 0.52 and 0.53: a standard error of 0.005, and Student's 12.706 at one degree of freedom.
    assert content["high"] - content["low"] == pytest.approx(2 * 0.005 * 12.706, rel=1e-3)
    assert (bert["variant"], bert["difference"], bert["low"]) == ("bert-absolute", 2.0, None)
    rows = {row["variant"]: row for row in seeds.means(found)}
    assert rows["both"]["seeds"] == 3
    assert rows["both"]["mask_loss"] == pytest.approx(5.0)
    assert rows["both"]["mask_loss_high"] - 5.0 == pytest.approx(4.3027 / math.sqrt(3), rel=1e-3)
    assert "| BERT, absolute positions | 1 | 6.000 |  | 0.500 | 0.500 |" in seeds.text(seeds.means(found))
    [axis] = seeds.curves(found).axes
    assert len(axis.lines) == len(found)
    assert list(axis.lines[0].get_ydata()) == [5.0, 4.0]


def test_the_tables_of_the_readme_are_those_of_the_tracked_numbers(monkeypatch):
    """One command writes them anew: python studies/lambda_bert/write_results.py"""
    monkeypatch.chdir(REPOSITORY)
    text = README.read_text(encoding="utf-8")
    assert filled(text, page.parts(SETTINGS), README) == text
    tables = {"means": seeds.means(ablation.load(SETTINGS))}
    tables["differences"] = seeds.differences(ablation.load(SETTINGS), SETTINGS.ablation.variants[0])
    assert json.loads(SETTINGS.folders.ablation_metrics.read_text()) == tables


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (None, None, "one seed: undecided"),
        (-0.1, 0.2, "undecided"),
        (0.1, 0.2, "loses more"),
        (-0.2, -0.1, "loses less"),
    ],
)
def test_a_difference_is_decided_where_its_interval_leaves_0_out(low, high, said):
    assert seeds.verdict({"low": low, "high": high}) == said

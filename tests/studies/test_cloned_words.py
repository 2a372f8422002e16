"""Tied embeddings on text: cloned words against counting, trained models against brute force, runs against runs."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings, strategies as st
from refusal import refusal
from scipy.spatial.distance import cdist
from scipy.stats import ttest_rel

from linear_shortcuts import InputError, load_tokenizer
from linear_shortcuts.files import artifacts
from linear_shortcuts.files.partial import Partial
from linear_shortcuts.settings.params import read_params
from tied_embeddings import clones, language_models as lm, repeats, results, seed_figures, text_model, trained_models
from tied_embeddings.clones import ClonedText, most_common_words, random_pairs, read_words, word_ids
from tied_embeddings.dataset import IGNORED
from tied_embeddings.text_settings import Clones, Encoder, LanguageModels, Repeats, TextTraining

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = REPOSITORY / "studies" / "tied_embeddings"
HYPOTHESIS = settings(deadline=None, max_examples=40)
WORDS = ["the", "of", "I", "list", "and"]
SENTENCES = [
    "I read the list of names and I return the first of the names.",
    "The list and the set of the values are read, and the list is returned.",
    "I inspect the unlisted of the listing and of I.",
]
TRAINING = TextTraining(
    steps=6,
    batch=8,
    learning_rate=0.01,
    half_period=None,
    weight_decay=0.01,
    steps_per_record=2,
    steps_per_checkpoint=2,
    validation_batches=2,
)
SMALL = Clones(
    corpus="none", sentences=100, tokenizer="tiny-bert", max_tokens=128, words=None, number=5, random_pairs=4, seed=42,
    model=Encoder(layers=1, embedding=8, feedforward=16, heads=2, initial_std=0.3), training=TRAINING,
)  # fmt: skip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(REPOSITORY / "models" / "tiny-bert")


@pytest.fixture(scope="module")
def text(tokenizer):
    return ClonedText(dict.fromkeys(clones.SHARES, SENTENCES), WORDS, tokenizer, batch_size=16)


# --- words and clones --------------------------------------------------------------------------------------


def test_half_of_the_occurrences_are_clones_and_none_is_lost(text):
    """The check of the study: share 0.5 within three standard errors; original and clone make up the word's count."""
    draws = 400
    for ids in text.sentences["train"]:
        cloned = torch.stack([text.clone(ids, generator(seed)) for seed in range(draws)])
        for number, original in enumerate(text.originals.tolist()):
            count = int((ids == original).sum())
            kept, replaced = (int((cloned == token).sum()) for token in (original, text.tokens + number))
            assert kept + replaced == draws * count
            assert abs(replaced - draws * count / 2) <= 3 * math.sqrt(draws * count) / 2
    others = ~torch.isin(ids, text.originals)
    assert others.any()
    assert torch.equal(cloned[:, others], ids[others].expand(draws, -1))


def test_occurrences_are_cloned_independently_of_each_other(text):
    ids = text.originals[:1].repeat(2)
    both = Counter(tuple((text.clone(ids, generator(seed)) >= text.tokens).tolist()) for seed in range(800))
    assert all(abs(count - 200) <= 3 * math.sqrt(800 * 3 / 16) for count in both.values())
    assert len(both) == 4


def test_the_word_i_is_looked_up_in_lower_case_and_cloned(text, tokenizer):
    number = text.words.index("I")
    assert tokenizer.convert_tokens_to_ids("I") == tokenizer.unk_token_id  # what the original did
    assert tokenizer.convert_ids_to_tokens(int(text.originals[number])) == "i"
    ids = text.sentences["train"][0]
    assert int((ids == text.originals[number]).sum()) == 2
    assert any((text.clone(ids, generator(seed)) == text.tokens + number).any() for seed in range(10))


def test_a_word_that_begins_longer_ones_is_cloned_there_too(text, tokenizer):
    """Else the word would occur before `##ing`, its clone never would, and the pair would not be equivalent."""
    ids = text.sentences["train"][2]
    start = tokenizer.convert_ids_to_tokens(ids.tolist()).index("##ing") - 1
    assert int(ids[start]) == int(text.originals[text.words.index("list")])
    assert any(text.clone(ids, generator(seed))[start] >= text.tokens for seed in range(20))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["the", "unlistedness"],
            "1 of the words to clone are not one token of this tokenizer, such as 'unlistedness'",
        ),
        (["the", "☃"], "such as '☃'"),
        (["the", "of the"], "such as 'of the'"),
        (["The", "the"], "have 'the' 2 times"),
    ],
)
def test_words_that_are_not_one_token_or_stand_twice_are_an_error(tokenizer, words, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        word_ids(words, tokenizer)


def test_the_most_common_words_are_those_a_plain_count_finds(tokenizer):
    text = " ".join(SENTENCES).lower().replace(".", " ").replace(",", " ").split()
    counted = [(-count, word) for word, count in Counter(text).items()]
    whole = [word for _, word in sorted(counted) if len(tokenizer.tokenize(word)) == 1]
    assert most_common_words(SENTENCES, tokenizer, 8) == whole[:8]
    assert "list" in whole
    with pytest.raises(InputError, match="number is 1000"):
        most_common_words(SENTENCES, tokenizer, 1000)


def test_the_list_of_common_words_has_a_hundred_and_is_of_bert(shared_data, tokenizer):
    words = read_words(STUDY / "common_words.txt")
    assert len(set(words)) == 100
    bert = load_tokenizer(shared_data / "bert_uncased_tokenizer")
    assert bert.convert_ids_to_tokens(word_ids(words, bert)) == [word.lower() for word in words]
    with pytest.raises(InputError, match="not one token"):
        word_ids(words, tokenizer)


def test_a_tokenizer_that_cannot_mask_is_refused():
    with pytest.raises(InputError, match="no mask or padding token"):
        ClonedText({"train": SENTENCES}, ["a"], load_tokenizer(REPOSITORY / "models" / "tiny-gpt2"))


# --- masking and batches -----------------------------------------------------------------------------------


def test_masking_is_that_of_bert(text):
    """15 % of the ordinary tokens are targets; of these 80 % are masked, 10 % random and 10 % as they were."""
    ids = torch.randint(5, text.tokens, (200, 500), generator=generator())
    ids[:, 0], ids[:, -9:] = 2, text.padding
    inputs, targets = text.hide(ids, generator(1))
    chosen = targets != IGNORED
    ordinary = ~torch.isin(ids, text.special)
    assert not (chosen & ~ordinary).any()
    assert torch.equal(targets[chosen], ids[chosen])
    assert torch.equal(inputs[~chosen], ids[~chosen])
    shares = [chosen.sum() / ordinary.sum()]
    shares += [(inputs == text.mask)[chosen].double().mean(), (inputs == ids)[chosen].double().mean()]
    for share, expected, number in zip(
        shares, (0.15, 0.8, 0.1), (ordinary.sum(), chosen.sum(), chosen.sum()), strict=True
    ):
        # A random token is, once in a vocabulary, the mask or the very token.
        assert abs(float(share) - expected) <= 3 * math.sqrt(expected * (1 - expected) / int(number)) + 1 / text.tokens


def test_a_batch_is_what_its_generator_says_and_every_sentence_comes_up(text):
    one, other = text.batch("train", generator(3)), text.batch("train", generator(3))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert len(one.ids) == text.batch_size
    assert not torch.equal(one.ids, text.batch("train", generator(4)).ids[:, : one.ids.shape[1]])
    lengths = Counter()
    for seed in range(60):
        ids = text.batch("train", generator(seed)).ids
        lengths.update((ids != text.padding).sum(1).tolist())
    expected = 60 * 16 / 3
    assert len(lengths) == 3
    # Batches are of sentences of one length, so that their numbers vary more than independent draws would.
    assert all(abs(count - expected) < 4 * math.sqrt(60 * 2 / 9) * 16 for count in lengths.values())


def test_the_coin_is_what_the_clones_cost_a_model_that_knows_everything_else(text):
    """A guesser that puts one half on the word and one half on its clone, and 1 on any other token, loses the coin."""
    _, targets = text.batch("train", generator(5))
    wanted = targets[targets != IGNORED]
    logits = torch.full((len(wanted), text.vocabulary), -1e4).scatter(1, wanted[:, None], 0.0)
    place = (wanted[:, None] == text.pairs).int().argmax(1)
    is_word = torch.isin(wanted, text.pairs)
    twin = text.pairs.roll(len(WORDS))[place]
    logits[is_word, twin[is_word]] = 0.0
    assert is_word.any()
    assert text.coin(targets) == pytest.approx(float(F.cross_entropy(logits, wanted)), rel=1e-5)


def test_random_pairs_are_different_pairs_of_different_words():
    pairs = random_pairs(100, 100, 0)
    assert pairs.shape == (100, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len({tuple(pair) for pair in pairs.tolist()}) == 100
    assert len(random_pairs(3, 100, 0)) == 3


# --- the model ---------------------------------------------------------------------------------------------


def model_of(text, tied, **changes):
    return text_model.new_model(text, replace(SMALL.model, **changes), tied, 1).eval()


def test_embeddings_start_as_asked_with_zeros_for_padding(text):
    model = model_of(text, False, embedding=64)
    for matrix in (model.input_embeddings.weight, model.output_embeddings.weight):
        assert matrix.shape == (text.tokens + 5, 64)
        assert float(matrix.detach().std()) == pytest.approx(0.3, rel=0.02)
        assert not matrix[text.padding].any()
    tied = model_of(text, True, embedding=64)
    assert tied.input_embeddings is tied.output_embeddings
    assert float(tied.input_embeddings.weight.detach().std()) == pytest.approx(0.3, rel=0.02)


def test_neither_padding_nor_the_order_of_tokens_is_seen(text):
    model = model_of(text, False)
    ids, targets = text.batch("train", generator(0))
    where = targets != IGNORED
    found = text_model.logits(model, ids, where)
    wider = F.pad(ids, (0, 7), value=text.padding)
    torch.testing.assert_close(text_model.logits(model, wider, F.pad(where, (0, 7))), found)
    order = torch.randperm(ids.shape[1], generator=generator(1))
    torch.testing.assert_close(model(ids)[where], found)
    torch.testing.assert_close(model(ids[:, order]), model(ids)[:, order])
    ids[0, 1] = (ids[0, 1] + 1) % text.tokens
    assert (text_model.logits(model, ids, where)[0] - found[0]).abs().max() > 1e-3  # other tokens are seen


def test_distances_are_euclidean_and_exactly_zero_for_equal_vectors():
    vectors = torch.randn(200, 128, generator=generator())
    vectors[1] = vectors[0]
    found = text_model.distances(vectors)
    assert found.shape == (200, 200)
    np.testing.assert_allclose(found, cdist(vectors, vectors), rtol=1e-5, atol=1e-5)
    assert torch.equal(found, found.T)
    assert not found.diagonal().any()
    assert found[0, 1] == 0


def run(text, tied, root, changes=None, on_step=lambda step, loss: None):
    chosen = replace(SMALL, training=replace(TRAINING, **(changes or {})))
    with Partial("clones", "none", text_model.recipe(text, chosen), root=root, code=__file__) as partial:
        return text_model.train(text, chosen, tied, partial, on_step)


@pytest.mark.parametrize("tied", [True, False])
def test_distances_are_those_of_the_matrices_before_the_first_step_and_after_the_last(text, tmp_path, tied):
    model, record = run(text, tied, tmp_path)
    assert record.steps == [0, 2, 4, 6]
    fresh = text_model.new_model(text, SMALL.model, tied, SMALL.seed)
    for name, layer in (("input", "input_embeddings"), ("output", "output_embeddings")):
        found = record.distances[name]
        assert found.shape == (4, 10, 10)
        for row, network in ((0, fresh), (-1, model)):
            vectors = getattr(network, layer).weight.detach()[text.pairs]
            np.testing.assert_allclose(found[row], cdist(vectors, vectors), rtol=1e-5, atol=1e-5)
        assert not torch.equal(found[0], found[-1])
    assert torch.equal(record.distances["input"], record.distances["output"]) == tied
    assert [line["step"] for line in record.lines] == record.steps


@pytest.mark.parametrize("killed_after", [1, 2, 3, 5])
def test_a_killed_training_continues_to_the_same_bytes(text, tmp_path, killed_after):
    whole = run(text, False, tmp_path / "whole")

    def kill(step, loss):
        if step == killed_after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(text, False, tmp_path / "parts", on_step=kill)
    done = []
    parts = run(text, False, tmp_path / "parts", on_step=lambda step, loss: done.append(step))
    assert done[0] == (killed_after - 1) // 2 * 2 + 1  # the step after the newest checkpoint
    for name, (model, record) in (("whole", whole), ("parts", parts)):
        text_model.save(tmp_path / f"{name}.pickle", record, text)
        artifacts.save(tmp_path / f"{name}_weights.pickle", dict(model.state_dict()))
    for kind in (".pickle", "_weights.pickle"):
        assert (tmp_path / f"whole{kind}").read_bytes() == (tmp_path / f"parts{kind}").read_bytes()


def test_the_learning_rate_is_a_cosine_of_the_step(text, tmp_path, monkeypatch):
    rates = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *args: (rates.append(self.param_groups[0]["lr"]), step(self, *args))[1]
    )
    run(text, True, tmp_path, {"half_period": 4, "steps": 6})
    low, high = 1e-5, TRAINING.learning_rate
    expected = [low + (high - low) * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(6)]
    assert rates == pytest.approx(expected)


def test_output_vectors_of_a_word_and_its_clone_find_each_other(tmp_path, tokenizer):
    """The claim itself, in a text of a few words: outputs meet because the loss asks it, other words' do not."""
    names = ["list", "set", "value", "name", "file", "class", "type", "string", "number", "path"]
    contexts = ["use with", "read from", "call for", "return as", "given by", "new in", "first of", "data to",
                "return an", "one or"]  # fmt: skip
    sentences = [f"{before} {name} {before}" for name, before in zip(names, contexts, strict=True)]
    cloned = ClonedText(dict.fromkeys(clones.SHARES, sentences), names, tokenizer, batch_size=64)
    changes = {"steps": 300, "batch": 64, "learning_rate": 0.05, "steps_per_record": 300, "steps_per_checkpoint": 300}
    _, record = run(cloned, False, tmp_path, changes)
    found = record.distances["output"]
    pairs = found[:, :10, 10:].diagonal(dim1=1, dim2=2).mean(1)
    others = found[:, :10, :10].sum((1, 2)) / 90
    assert pairs[-1] < 0.6 * pairs[0]
    assert others[-1] > 1.5 * others[0]


# --- language models: what the text says -------------------------------------------------------------------

rows_of_tokens = st.lists(st.lists(st.integers(0, 6), max_size=9), min_size=1, max_size=6)


@HYPOTHESIS
@given(rows_of_tokens)
def test_roles_are_the_neighbours_that_plain_counting_finds(rows):
    middles = Counter(row[i] for row in rows for i in range(1, len(row) - 1) if row[i] != 0)
    if len(middles) < 2:
        with pytest.raises(InputError, match=f"{len(middles)} different tokens, but tokens is 2"):
            lm.count_roles(rows, 2, 7, special=[0])
        return
    found = lm.count_roles(rows, 2, 7, special=[0])
    assert found.counts.tolist() == sorted(middles.values(), reverse=True)[:2]
    for number, token in enumerate(found.tokens.tolist()):
        assert middles[token] == found.counts[number]
        for step, side in ((1, found.following), (-1, found.preceding)):
            neighbours = Counter(row[i + step] for row in rows for i in range(1, len(row) - 1) if row[i] == token)
            expected = [neighbours[other] / middles[token] for other in range(7)]
            assert side[number].tolist() == pytest.approx(expected)


@HYPOTHESIS
@given(st.integers(0, 2**31))
def test_hellinger_distances_are_half_the_distance_of_the_roots(seed):
    distributions = torch.rand(5, 8, generator=generator(seed), dtype=torch.float64).pow(3)
    distributions /= distributions.sum(1, keepdim=True)
    roots = distributions.sqrt()
    np.testing.assert_allclose(lm.hellinger(distributions), cdist(roots, roots) / math.sqrt(2), atol=1e-7)


def test_hellinger_distances_are_0_of_equal_and_1_of_disjoint_distributions():
    distributions = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]], dtype=torch.float64)
    found = lm.hellinger(distributions)
    torch.testing.assert_close(
        found, torch.tensor([[0, 0, 1], [0, 0, 1], [1, 1, 0]], dtype=torch.float64), atol=1e-7, rtol=0
    )


def test_the_roles_of_a_masked_model_are_one_and_of_a_causal_model_two():
    roles = lm.count_roles(torch.randint(6, (200, 9), generator=generator()).tolist(), 6, 6, special=[])
    masked, causal = ([roles.distances(role, kind) for role in lm.ROLES] for kind in (False, True))
    assert torch.equal(*masked)
    assert not torch.equal(*causal)
    sides = [lm.hellinger(roles.following) ** 2, lm.hellinger(roles.preceding) ** 2]
    torch.testing.assert_close(masked[0] ** 2, sum(sides) / 2)


# --- language models: how alike two geometries are ---------------------------------------------------------


def vectors_of(number=40, width=12, seed=0):
    return torch.randn(number, width, generator=generator(seed), dtype=torch.float64)


def test_a_rotation_and_a_scale_change_no_measure():
    vectors = vectors_of()
    rotation, _ = torch.linalg.qr(vectors_of(12, 12, 1))
    first, second = lm.cosine_distances(vectors), lm.cosine_distances(3 * vectors @ rotation)
    assert lm.linear_cka(vectors, 3 * vectors @ rotation) == pytest.approx(1)
    assert lm.rank_correlation(first, second) == pytest.approx(1)
    assert lm.shared_neighbors(first, second, 5) == 1


def test_measures_of_unrelated_vectors_are_at_chance():
    first, second = vectors_of(400, 400, 0), vectors_of(400, 400, 1)
    distances = [lm.cosine_distances(vectors) for vectors in (first, second)]
    assert abs(lm.rank_correlation(*distances)) < 0.02
    assert lm.shared_neighbors(*distances, 10) == pytest.approx(10 / 399, abs=0.01)


def test_shared_neighbors_are_those_that_sets_have_in_common():
    first, second = (lm.cosine_distances(vectors_of(9, 3, seed)) for seed in (0, 1))

    def nearest(matrix, row):
        return set(sorted((other for other in range(9) if other != row), key=lambda other: matrix[row, other])[:3])

    expected = np.mean([len(nearest(first, row) & nearest(second, row)) / 3 for row in range(9)])
    assert lm.shared_neighbors(first, second, 3) == pytest.approx(expected)


def test_cka_is_that_of_the_centred_gram_matrices():
    first, second = vectors_of(30, 5, 0), vectors_of(30, 7, 1)
    centre = torch.eye(30, dtype=torch.float64) - 1 / 30
    grams = [centre @ vectors @ vectors.T @ centre for vectors in (first, second)]
    expected = (grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm())
    assert lm.linear_cka(first, second) == pytest.approx(float(expected))


def test_pairs_are_alike_as_their_group_says():
    rows = torch.randint(12, (400, 12), generator=generator()).tolist()
    roles = lm.count_roles(rows, 12, 12, special=[])
    groups = lm.choose_pairs(roles, causal=True, number=8, seed=0)
    distances = {role: roles.distances(role, causal=True) for role in lm.ROLES}
    mean = {
        (group, role): float(distances[role][pairs[:, 0], pairs[:, 1]].mean())
        for group, pairs in groups.items()
        for role in lm.ROLES
    }
    assert mean["input alike", "input"] < mean["random", "input"] < mean["output alike", "input"]
    assert mean["output alike", "output"] < mean["random", "output"] < mean["input alike", "output"]
    assert all(mean["alike", role] < mean["random", role] for role in lm.ROLES)
    assert list(lm.choose_pairs(roles, causal=False, number=8, seed=0)) == ["alike", "random"]


# --- language models: training and measuring ----------------------------------------------------------------

LITTLE = LanguageModels(
    corpus="none", sentences=100, shapes=("tiny-bert",), registered=(), layers=None,
    steps={"tiny-bert": 6, "tiny-gpt2": 6}, context=None, batch=2, steps_per_checkpoint=2, tokens=20,
    pairs=5, neighbors=3, seed=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def project():
    params = read_params(REPOSITORY / "params.yaml")
    small = {
        name: replace(training, layers=1, width=16, heads=2, context=16, short_context=None, full_context_steps=None)
        for name, training in params.training.items()
    }
    registry = {name: replace(entry, path=str(REPOSITORY / entry.path)) for name, entry in params.registry.items()}
    return replace(params, training=small, registry=registry)


@pytest.fixture(scope="module")
def prose():
    names = ["list", "set", "value", "name", "file", "class", "type", "string", "number", "path"]
    lines = [
        f"Return the {a} of each {b}, or the {c} if it is not in the {a}." for a in names for b in names for c in names
    ]
    return {"train": lines[::2], "validation": lines[1:100:2]}


def trained(project, prose, tied, root, name="tiny-bert", **options):
    return lm.trained(project, LITTLE, name, tied, prose, work=root, **options)


@pytest.mark.parametrize("name", ["tiny-bert", "tiny-gpt2"])
def test_tied_and_untied_models_differ_by_one_matrix_and_see_the_same_batches(project, prose, tmp_path, name):
    seen = {}
    for tied in (True, False):
        subject = trained(project, prose, tied, tmp_path, name)
        found = lm.measure(subject, prose["train"], LITTLE)
        seen[tied] = (subject, found)
        assert found["tied"] == tied == (found["agreement"]["rank_correlation"] == pytest.approx(1))
        assert found["causal"] == (name == "tiny-gpt2")
        assert len(subject.losses) == LITTLE.steps[name]
    tied, untied = seen[True][1], seen[False][1]
    vocabulary = len(seen[True][0].tokenizer)
    # Of an untied BERT the library keeps a second bias of the head, which it does not use.
    assert untied["parameters"] - tied["parameters"] == vocabulary * 16 + (vocabulary if name == "tiny-bert" else 0)
    assert abs(seen[True][0].losses - seen[False][0].losses).max() < 0.5  # the same rows with the same masks
    assert math.isclose(seen[False][0].losses[0], math.log(vocabulary), rel_tol=0.1)


def test_a_killed_training_of_a_language_model_continues_to_the_same_bytes(project, prose, tmp_path):
    whole = trained(project, prose, False, tmp_path / "whole")

    def kill(step, loss):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(project, prose, False, tmp_path / "parts", on_step=kill)
    done = []
    parts = trained(project, prose, False, tmp_path / "parts", on_step=lambda step, loss: done.append(step))
    assert done == [5, 6]
    assert torch.equal(whole.losses, parts.losses)
    for (name, one), other in zip(whole.network.state_dict().items(), parts.network.state_dict().values(), strict=True):
        assert torch.equal(one, other), name


def test_what_was_trained_is_saved_as_a_model_that_a_registry_can_name(project, prose, tmp_path):
    subject = trained(project, prose, False, tmp_path)
    found = lm.measure(subject, prose["train"], LITTLE)
    lm.save(tmp_path / "out", subject, found)
    entry = replace(project.registry["tiny-bert"], path=str(tmp_path / "out" / "model"))
    again = lm.measure(lm.registered(entry, "again"), prose["train"], LITTLE)
    assert {key: value for key, value in again.items() if key != "about"} == {
        key: value for key, value in found.items() if key != "about"
    }
    assert json.loads((tmp_path / "out" / "measures.json").read_text()) == json.loads(json.dumps(found))


def test_a_shape_is_trained_with_the_share_of_warm_up_and_full_rows_that_the_project_gives_it():
    params = read_params(REPOSITORY / "params.yaml")
    found = lm.training_settings(params, "tiny-bert", replace(LITTLE, steps={"tiny-bert": 600}), tied=False)
    assert found.layers == 6
    assert lm.training_settings(params, "tiny-bert", replace(LITTLE, layers=2), tied=False).layers == 2
    assert (found.steps, found.warmup_steps, found.full_context_steps, found.tied) == (600, 30, 100, False)
    assert found.contexts == [32, 128]
    for context in (16, 32):  # no longer than the rows with which the shape begins: all are alike
        short = lm.training_settings(params, "tiny-bert", replace(LITTLE, context=context), tied=False)
        assert short.contexts == [context]
    longer = lm.training_settings(params, "tiny-bert", replace(LITTLE, context=64), tied=False)
    assert longer.contexts == [32, 64]
    with pytest.raises(InputError, match="did you mean 'tiny-bert'"):
        lm.training_settings(params, "tiny-bart", LITTLE, tied=False)
    with pytest.raises(InputError, match="language_models.steps"):
        lm.training_settings(params, "tiny-gpt2", replace(LITTLE, steps={"tiny-bert": 600}), tied=False)
    with pytest.raises(InputError, match="shapes names 'tiny-bert', which is not in language_models.steps"):
        replace(LITTLE, steps={"tiny-gpt2": 4})
    with pytest.raises(InputError, match=r"steps.tiny-bert is 0"):
        replace(LITTLE, steps={"tiny-bert": 0})


# --- several seeds, and models that others trained ----------------------------------------------------------

SHORT = Repeats(seeds=(1, 2), clones=3, language_models={"tiny-gpt2": 2})


def test_the_numbers_of_a_training_are_those_of_its_record(text, tmp_path):
    one = repeats.clone_settings(SMALL, SHORT, seed=2)
    assert (one.seed, one.training.steps) == (2, 3)
    with Partial("a", "b", {}, root=tmp_path, code=__file__) as partial:
        numbers = repeats.clone_numbers(text, one, False, partial, lambda step, loss: None)
    with Partial("a", "c", {}, root=tmp_path, code=__file__) as partial:
        model, record = text_model.train(text, one, False, partial)
    words = len(text.words)
    own = model.output_embeddings.weight.detach()[text.pairs].double().numpy()
    twins, others = [(n, n + words) for n in range(words)], clones.random_pairs(words, 4, 2).tolist()
    apart = [np.mean([np.linalg.norm(own[i] - own[j]) for i, j in pairs]) for pairs in (twins, others)]
    expected = apart[0] / apart[1]
    assert numbers["output, clone / other word"] == pytest.approx(expected, rel=1e-5)
    assert numbers[repeats.LOSS] == record.lines[-1]["loss"] - record.lines[-1]["coin"]
    rows = repeats.rows_of("x", 2, False, numbers)
    assert {(row["experiment"], row["variant"], row["seed"]) for row in rows} == {("x", "untied", 2)}


def test_a_seed_is_named_once():
    with pytest.raises(InputError, match=r"repeats.seeds is \[1, 1\]; name each once"):
        Repeats(seeds=(1, 1), clones=3, language_models={})


def test_the_table_of_seeds_holds_a_paired_test():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5, 2))
    rows = [
        {"experiment": "e", "what": "loss", "variant": variant, "seed": seed, "value": values[seed, column]}
        for seed in reversed(range(5))
        for column, variant in enumerate(("untied", "tied"))
    ]
    test = ttest_rel(values[:, 0], values[:, 1])
    low, high = test.confidence_interval()
    mean = (values[:, 0] - values[:, 1]).mean()
    line = results.seed_table(rows).splitlines()[-1]
    assert f"| {mean:+.3f} [{low:+.3f}, {high:+.3f}] | {test.pvalue:.2g} |" in line
    assert line.endswith(" ".join(f"{one - other:+.2f}" for one, other in values) + " |")
    [axis] = seed_figures.differences(results.seed_differences(rows)).axes
    *_, bar, _mean, dots, zero = axis.lines
    assert list(bar.get_xdata()) == pytest.approx([low, high])
    assert list(dots.get_xdata()) == pytest.approx(list(values[:, 0] - values[:, 1]))
    assert list(zero.get_xdata()) == [0, 0]


def test_vectors_made_of_a_role_follow_it_and_no_other():
    """Where the text leaves nothing to guess: each token's vector is the square roots of what follows it."""
    length, tokens = 40, 24
    rows = torch.randint(tokens, (400, length), generator=generator(3))
    rows[:, 1::2] = (5 * rows[:, ::2] + rows[:, 1::2] % 3) % tokens  # what follows depends on the token
    following = torch.zeros(tokens, tokens)
    for row in rows.tolist():
        for _, token, after in zip(row, row[1:], row[2:], strict=False):
            following[token, after] += 1
    vectors = (following / following.sum(1, keepdim=True)).sqrt()
    noise = torch.randn(tokens, 8, generator=generator(4))
    found = {(row["one"], row["other"]): row for row in follow_rows(rows, {"input": vectors, "output": noise})}
    right, wrong = found["input vectors", "input role"], found["output vectors", "input role"]
    assert right["correlation"] == pytest.approx(1)
    assert right["shared"] == pytest.approx(1)
    assert wrong["low"] < 0 < wrong["high"]
    assert ("input vectors", "output vectors") in found


def follow_rows(rows, vectors):
    class Reader:
        all_special_ids = ()
        name_or_path = "reader"

        def __call__(self, texts, **options):
            return {"input_ids": rows.tolist()}

    subject = SimpleNamespace(embeddings=lambda: vectors, tokenizer=Reader(), causal=True)
    settings = SimpleNamespace(tokens=24, neighbors=3)
    return trained_models.follow(subject, SENTENCES, settings)


def test_the_jackknife_gives_the_interval_of_a_mean():
    values = torch.randn(60, generator=generator(), dtype=torch.float64)
    low, high = trained_models.interval(lambda kept: float(values[kept].mean()), 60)
    groups = torch.stack([values[group::20].mean() for group in range(20)])  # of equal size: the usual t interval
    half = 2.093024 * float(groups.std()) / 20**0.5
    assert (low + high) / 2 == pytest.approx(float(values.mean()))
    assert (high - low) / 2 == pytest.approx(half, rel=1e-5)


# --- the stages ----------------------------------------------------------------------------------------------

# Runs stages one after the other in one process, since importing torch and transformers takes longer than the work.
DRIVER = """
import runpy, sys
for line in sys.argv[1:]:
    sys.argv = line.split()
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_stages(folder, *lines):
    """Run stages, each a number and its options, in `folder`, in which `study.yaml` and `params.yaml` lie."""
    scripts = {path.name[:2]: path for path in STUDY.glob("0*.py")}
    commands = [f"{scripts[line[:2]]} --params study.yaml {line[2:]}" for line in lines]
    path = os.pathsep.join([str(REPOSITORY), str(STUDY)])
    return subprocess.run(
        [sys.executable, "-c", DRIVER, *commands],
        cwd=folder, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture
def little_study(tmp_path, prose):
    """The study's settings and the project's, made small, with a text file as corpus."""
    (tmp_path / "text.txt").write_text("\n".join(prose["train"]))
    project = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    project["corpora"]["my-text"]["path"] = "text.txt"
    for name in ("tiny-bert", "tiny-gpt2"):
        project["registry"][name]["path"] = str(REPOSITORY / "models" / name)
        project["training"][name] |= {"layers": 1, "width": 16, "heads": 2, "context": 16}
        project["training"][name] |= {"short_context": None, "full_context_steps": None}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(project))
    study = yaml.safe_load((STUDY / "params.yaml").read_text())
    study["clones"] |= {"corpus": "my-text", "sentences": 200, "number": 5, "random_pairs": 4}
    study["clones"]["model"] |= {"layers": 1, "embedding": 8, "heads": 2, "feedforward": 16}
    study["clones"]["training"] |= {"steps": 4, "batch": 8, "steps_per_record": 2, "validation_batches": 1}
    study["language_models"] |= {"corpus": "my-text", "sentences": 200, "context": None, "batch": 2, "layers": 1}
    study["language_models"]["steps"] = {"tiny-bert": 4, "tiny-gpt2": 4}
    study["language_models"] |= {"tokens": 20, "pairs": 5, "neighbors": 3}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    return tmp_path


def test_the_stages_run_one_after_the_other_and_report(little_study):
    result = run_stages(
        little_study, "04", "05 --model tiny-bert --train", "05 --model tiny-gpt2 --train", "05 --model tiny-bert",
        "05 --model tiny-gpt2", "07",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    folder = little_study / "studies" / "tied_embeddings"
    metrics = json.loads((folder / "metrics" / "text.json").read_text())
    assert metrics["clones"]["steps"] == 4
    models = metrics["language_models"]
    assert models["tiny-gpt2_tied"]["tied"]
    assert not models["tiny-gpt2_untied"]["tied"]
    gap = models["tiny-gpt2_untied"]["held_out_loss"] - models["tiny-gpt2_tied"]["held_out_loss"]
    assert models["tiny-gpt2_untied_minus_tied"] == pytest.approx(gap)
    for kind in ("svg", "pdf", "png"):
        name = "figures" if kind == "svg" else kind
        assert {path.name for path in (folder / "text" / name).iterdir()} == {
            f"cloned_words.{kind}", f"when_to_tie.{kind}"
        }  # fmt: skip
    rows = json.loads((folder / "text" / "tables" / "clones.json").read_text())
    saved = artifacts.load(folder / "data" / "clones" / "my-text" / "untied.pickle")
    pairs = saved["output"][-1][:5, 5:].diagonal()
    [last] = [row for row in rows if (row["what"], row["pairs"], row["step"]) == ("untied, output", "clones", 4)]
    assert last["distance"] == pytest.approx(float(pairs.mean()))
    assert len(saved["words"]) == 5


@pytest.mark.parametrize(
    ("line", "changes", "message"),
    [
        ("04", {"clones": {"corpus": "docstring"}}, "clones.corpus names 'docstring', which is not in corpora"),
        ("04", {"clones": {"tokenizer": "tiny-gpt2"}}, "has no mask or padding token"),
        ("04", {"clones": {"words": "words.txt"}}, "words.txt cannot be read as words"),
        ("04", {"clones": {"sentences": 90000}}, "lower clones.sentences"),
        ("05 --model tiny-bart", {}, "did you mean 'tiny-bert'?"),
        ("05 --model names-gpt2", {}, "names-gpt2 as a local folder or a hub id"),
        ("05 --model tiny-bert", {"language_models": {"tokens": 4000}}, "but tokens is 4000"),
        ("07", {}, "run studies/tied_embeddings/04_train_on_cloned_words.py first"),
    ],
)
def test_wrong_input_ends_in_one_line_that_says_how_to_mend_it(little_study, line, changes, message):
    settings = yaml.safe_load((little_study / "study.yaml").read_text())
    for key, values in changes.items():
        settings[key] |= values
    (little_study / "study.yaml").write_text(yaml.safe_dump(settings))
    [script] = STUDY.glob(f"{line[:2]}_*.py")
    error = refusal(script, "--params", "study.yaml", *line[2:].split(), folder=little_study)
    assert message in " ".join(error.split())

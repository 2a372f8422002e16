"""Character embeddings: its models against independent ones, and its pipeline against itself."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from hypothesis import given, settings, strategies as st

from character_embeddings import gradient, linearity, names, sampling, settings as study, training, vectors
from character_embeddings.counts import fit_counts
from character_embeddings.data import load_network, saved_network
from character_embeddings.logs import epoch_line, names_text
from character_embeddings.network import CharacterModel, closed_form, new_network, summarize
from character_embeddings.settings import FileNames, GeneratedNames, Network, Sampling
from character_embeddings.vocabulary import END_ID, UNKNOWN_ID, Vocabulary, pairs, split
from linear_shortcuts import InputError
from linear_shortcuts.files import artifacts
from linear_shortcuts.settings import devices

REPOSITORY = Path(__file__).resolve().parents[2]
STUDY = REPOSITORY / "studies" / "character_embeddings"
SCRIPTS = sorted(STUDY.glob("0*.py"))
SETTINGS = study.read(STUDY / "params.yaml")
HYPOTHESIS = settings(deadline=None, max_examples=40)
SHORT = replace(SETTINGS.training, epochs=2, batch=32)
seeds = st.integers(0, 2**32 - 1)
words = st.lists(st.text("abñ_", min_size=1, max_size=6), min_size=1, max_size=8)


def contexts_of(number, block_size, vocabulary, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocabulary, (number, block_size), generator=generator)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with devices.one_thread():
        yield


@pytest.fixture(scope="module")
def made_up():
    found = names.read(GeneratedNames(source="generated", number=300, seed=1)).names
    vocabulary = Vocabulary.of(found)
    train, validation = (pairs(part, vocabulary, 3) for part in split(found, 0.8))
    return found, vocabulary, train, validation


@pytest.fixture(scope="module")
def surnames(shared_data):
    folder = shared_data / "surnames"
    paths = tuple(str(folder / name) for name in SETTINGS.sources["surnames"].paths)
    return names.read(replace(SETTINGS.sources["surnames"], paths=paths)).names


# --- names and pairs ---------------------------------------------------------------------------------------


def test_generated_names_are_distinct_clean_and_the_same_every_time():
    source = SETTINGS.sources["generated"]
    found = names.read(source)
    assert len(set(found.names)) == len(found.names) == source.number >= 5000
    assert found.left_out == {}
    assert names.generate(50, 42) == names.generate(80, 42)[:50]
    assert names.generate(3, 42) == ["sarvuca", "nononrero", "mielasgero"]  # Python keeps this stream
    assert any("_" in name for name in found.names)


def test_cleaning_keeps_the_order_and_says_why_a_name_is_left_out():
    raw = ["DE LA CRUZ", "O'HARA", "GARÇON", "", "X", "SAN JUAN", "MUÑOZ", "ST. JOHN", "A\tB", "ABA"]
    found = names.clean(raw)
    assert found.names == ["dela_cruz", "san_juan", "muñoz", "aba"]
    assert sum(found.left_out.values()) == 6
    assert found.left_out["with an apostrophe or ç"] == 2


def test_files_are_read_one_after_the_other_and_sampled_as_pandas_does(tmp_path):
    pandas = pytest.importorskip("pandas")
    for number in (1, 2):
        (tmp_path / f"{number}.csv").write_text("name,n\n" + "".join(f"NAME{number}{c},1\n" for c in "ABCDEFGHIJ"))
    paths = [tmp_path / "1.csv", tmp_path / "2.csv"]
    rows = names.read_files(paths, header=True)
    assert len(rows) == 20
    np.random.seed(42)
    assert names.sample(rows, 0.3, 42) == pandas.Series(rows).sample(frac=0.3).tolist()
    assert names.read_files([tmp_path / "1.csv"], header=False)[0] == "name"


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "does not exist"), (b"\xff\xfe\x00", "cannot be read"), (b"name\n'\n", "is left")]
)
def test_a_file_without_names_is_one_line(tmp_path, content, problem):
    path = tmp_path / "names.csv"
    if content is not None:
        path.write_bytes(content)
    source = FileNames(source="file", paths=(str(path),), header=True, sample=1.0, seed=0)
    with pytest.raises(InputError, match=problem) as refused:
        names.read(source)
    assert "\n" not in str(refused.value)


def test_durana_gives_seven_windows():
    vocabulary = Vocabulary.of(["durana"])
    found = pairs(["durana"], vocabulary, 3)
    assert [vocabulary.decode(row) for row in found.contexts.tolist()] == [
        "...",
        "..d",
        ".du",
        "dur",
        "ura",
        "ran",
        "ana",
    ]
    assert vocabulary.decode(found.targets.tolist()) == "durana."
    assert vocabulary.tokens == ("▮", ".", "a", "d", "u", "r", "n")  # by count, equal ones as they first appear


@HYPOTHESIS
@given(words, st.integers(1, 5))
def test_pairs_are_those_of_a_plain_loop(listed, block_size):
    vocabulary = Vocabulary.of(listed)
    expected = []
    for name in listed:
        context = [END_ID] * block_size
        for number in [*vocabulary.encode(name), END_ID]:
            expected.append((context, number))
            context = [*context[1:], number]
    found = pairs(listed, vocabulary, block_size)
    assert list(zip(found.contexts.tolist(), found.targets.tolist(), strict=True)) == expected


def test_the_vocabulary_keeps_its_reserved_tokens(tmp_path):
    vocabulary = Vocabulary.of(["ab"])
    assert vocabulary.encode("aç") == [2, UNKNOWN_ID]
    vocabulary.save(tmp_path / "v.json")
    assert Vocabulary.load(tmp_path / "v.json") == vocabulary
    with pytest.raises(InputError, match="'x' twice"):
        Vocabulary.of(["ab"], unknown="x", end="x")
    with pytest.raises(InputError, match=r"'\.' twice"):
        Vocabulary.of(["a.b"])


def test_names_are_split_never_pairs():
    train, validation = split(["ab", "cd", "ef", "gh", "ij"], 0.8)
    assert (train, validation) == (["ab", "cd", "ef", "gh"], ["ij"])
    for share in (0.1, 0.999):
        with pytest.raises(InputError, match="leaves one side empty" if share < 0.2 else "one side empty"):
            split(["ab"], share)
    with pytest.raises(InputError, match="block_size is 0"):
        pairs(["ab"], Vocabulary.of(["ab"]), 0)


# --- count models ------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(words, st.integers(2, 4))
def test_a_count_model_is_the_formula_with_counters(listed, order):
    vocabulary = Vocabulary.of(listed)
    found = pairs(listed, vocabulary, order - 1)
    model = fit_counts(found, order, len(vocabulary), 0.01)
    joint = Counter((*context, y) for context, y in zip(found.contexts.tolist(), found.targets.tolist(), strict=True))
    totals = Counter(map(tuple, found.contexts.tolist()))
    surprisals = [
        -math.log((joint[(*c, y)] + 0.01) / (totals[tuple(c)] + 0.01 * len(vocabulary)))
        for c, y in zip(found.contexts.tolist(), found.targets.tolist(), strict=True)
    ]
    assert model.loss(found) == pytest.approx(sum(surprisals) / len(surprisals), abs=1e-12)
    everything = model.probabilities.sum(-1)  # contexts that never occur among them
    torch.testing.assert_close(everything, torch.ones_like(everything), rtol=0, atol=1e-12)
    longer = pairs(listed, vocabulary, order + 1)  # only the last characters count
    assert fit_counts(longer, order, len(vocabulary), 0.01).loss(longer) == model.loss(found)


# --- the network and its gradients -------------------------------------------------------------------------


@pytest.mark.parametrize(("vocabulary", "embedding", "parameters"), [(29, 10, 4159), (30, 3, 2680)])
def test_parameters_are_those_of_the_published_networks(vocabulary, embedding, parameters):
    summary = summarize(CharacterModel(vocabulary, 3, embedding, 64))
    assert summary.parameters == sum(layer.parameters for layer in summary.layers) == parameters
    shapes = [layer.shape for layer in summary.layers]
    assert shapes == [(32, 3, embedding), (32, 3 * embedding), (32, 64), (32, 64), (32, vocabulary)]
    if vocabulary == 29:
        assert "multiply-adds for a batch of 32: 0.13 M" in str(summary)
        assert "size of the parameters: 0.02 MB" in str(summary)


@pytest.mark.parametrize(("block_size", "embedding", "batch"), [(3, 10, 32), (5, 3, 7)])
def test_the_summary_counts_as_torchinfo_does(block_size, embedding, batch):
    torchinfo = pytest.importorskip("torchinfo")
    network = CharacterModel(29, block_size, embedding, 64)
    ours = summarize(network, batch)
    theirs = torchinfo.summary(network, (batch, block_size), dtypes=[torch.int64], verbose=0)
    assert ours.parameters == theirs.total_params
    assert ours.multiply_adds == theirs.total_mult_adds
    assert ours.size == theirs.total_param_bytes
    assert ours.input_size == 8 * batch * block_size  # to which torchinfo adds the bytes of a Python list
    assert ours.pass_size == theirs.total_output_bytes > 0
    assert (
        f"size in all: {(ours.input_size + theirs.total_output_bytes + theirs.total_param_bytes) / 1e6:.2f} MB"
        in str(ours)
    )


def test_the_network_knows_the_order_of_its_context_and_its_block_size():
    network = new_network(7, 3, Network(embedding=2, width=5), seed=0)
    one, other = network(torch.tensor([[2, 3, 4], [3, 2, 4]]))
    assert (one - other).abs().max() > 1e-3
    with pytest.raises(ValueError, match="contexts have 2 characters but this network reads 3"):
        network(torch.tensor([[2, 3]]))
    # Written out with plain matrices.
    x = network.embedding.weight[[2, 3, 4]].flatten()
    hidden = (network.hidden.weight @ x + network.hidden.bias).clamp(min=0)
    torch.testing.assert_close(network.readout.weight @ hidden + network.readout.bias, one)
    assert torch.equal(
        new_network(7, 3, Network(embedding=2, width=5), seed=0).embedding.weight, network.embedding.weight
    )


@HYPOTHESIS
@given(seeds, st.integers(1, 5), st.integers(1, 6), st.integers(1, 40))
def test_gradients_in_closed_form_are_those_of_autograd(seed, block_size, embedding, batch):
    network = new_network(9, block_size, Network(embedding=embedding, width=7), seed).double()
    contexts = contexts_of(batch, block_size, 9, seed)
    targets = contexts_of(batch, 1, 9, seed + 1)[:, 0]
    expected_loss = F.cross_entropy(network(contexts), targets)
    expected = torch.autograd.grad(expected_loss, list(network.parameters()))
    backward = closed_form(network)
    for _ in range(2):  # gradients are replaced, not added to
        torch.testing.assert_close(backward(contexts, targets), expected_loss.detach())
    for parameter, gradient_there in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient_there, rtol=1e-9, atol=1e-12)
    assert max(float(g.abs().max()) for g in expected) > 1e-4


@HYPOTHESIS
@given(seeds)
def test_the_gradient_of_an_embedding_is_the_one_hot_product(seed):
    shown = gradient.demonstrate(seed, vocabulary=6)  # twelve places, six characters: some repeat
    assert shown.max_difference <= 1e-5 * float(shown.automatic.abs().max())
    assert float(shown.automatic.abs().max()) > 0.1
    absent = [i for i in range(6) if i not in shown.ids]
    assert not shown.automatic[absent].any()
    assert not shown.by_hand[absent].any()
    assert torch.equal(shown.concatenated.reshape(shown.upstream.shape), shown.upstream)
    assert torch.equal(shown.one_hot.sum(1), torch.ones(12))


def test_the_demonstration_of_the_report_is_exact():
    shown = gradient.demonstrate(0)
    assert shown.one_hot.shape == (12, 28)
    assert shown.max_difference <= 1e-6 * float(shown.automatic.abs().max())


# --- training ----------------------------------------------------------------------------------------------


def plain_loop(network, train, config, seed):
    """The same training as anyone would write it: autograd, AdamW on every parameter, one-cycle."""
    steps = math.ceil(len(train.targets) / config.batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=config.max_learning_rate, total_steps=config.epochs * steps
    )
    losses, rates = [], []
    for epoch in range(config.epochs):
        for rows in training.shuffled(len(train.targets), seed, epoch).split(config.batch):
            optimizer.zero_grad()
            loss = F.cross_entropy(network(train.contexts[rows]), train.targets[rows])
            loss.backward()
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses, rates


def test_training_is_the_plain_loop(made_up):
    _, vocabulary, train, validation = made_up
    ours, theirs = (new_network(len(vocabulary), 3, SETTINGS.network, 5) for _ in range(2))
    record = training.train(ours, train, validation, SHORT, 5)
    losses, rates = plain_loop(theirs, train, SHORT, 5)
    assert len(record.losses) == len(losses) == record.epochs[-1]["steps"] == 2 * math.ceil(len(train.targets) / 32)
    np.testing.assert_allclose(record.losses, losses, rtol=0, atol=2e-4)
    assert record.epochs[-1]["validation"] == pytest.approx(
        F.cross_entropy(theirs(validation.contexts), validation.targets).item(), abs=1e-3
    )
    assert max(rates) == pytest.approx(0.01, rel=1e-2)
    assert rates[0] < 0.001 > rates[-1]


def test_the_trainer_takes_any_model_and_tells_its_callbacks(made_up):
    _, vocabulary, train, validation = made_up
    bag = torch.nn.Sequential(torch.nn.EmbeddingBag(len(vocabulary), 8), torch.nn.Linear(8, len(vocabulary)))
    seen = []
    trainer = training.Trainer(
        bag, torch.optim.SGD(bag.parameters(), 0.5), callbacks=[lambda step, loss: seen.append((step, loss))]
    )
    before = trainer.evaluate(validation)
    losses = trainer.epoch(train, 64, torch.arange(len(train.targets)))
    assert seen == list(enumerate(losses, start=1))
    assert trainer.evaluate(validation) < before - 0.2
    assert not trainer.predict(train.contexts[:2]).requires_grad
    assert trainer(train.contexts[:2]).requires_grad


def test_evaluation_does_not_depend_on_the_batch_and_leaves_the_mode(made_up):
    _, vocabulary, _, validation = made_up
    network = new_network(len(vocabulary), 3, SETTINGS.network, 0)
    trainer = training.Trainer(network, torch.optim.SGD(network.parameters(), 0.1))
    losses = [trainer.evaluate(validation, batch) for batch in (1, 7, 10_000)]
    assert max(losses) - min(losses) < 1e-6
    for mode in (True, False):
        network.train(mode)
        trainer.evaluate(validation)
        assert network.training is mode
        with pytest.raises(ValueError, match="contexts have 1"):
            trainer.predict(torch.zeros(1, 1, dtype=torch.int64))
        assert network.training is mode


def test_decay_of_weights_only_spares_biases_and_embeddings(made_up):
    network = CharacterModel(30, 3, 3, 64)
    decayed, spared = training.parameter_groups(network, "weights-only", 0.01)
    assert [p.shape for p in decayed["params"]] == [(64, 9), (30, 64)]
    assert sum(p.numel() for p in spared["params"]) == 90 + 64 + 30
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.01, 0.0)
    [everything] = training.parameter_groups(network, "all", 0.01)
    assert len(everything["params"]) == 5
    _, vocabulary, train, validation = made_up
    strong = replace(SHORT, weight_decay=1.0, epochs=1)
    norms = {}
    for decay in ("all", "weights-only"):
        one = new_network(len(vocabulary), 3, SETTINGS.network, 0)
        training.train(one, train, validation, replace(strong, decay=decay), 0)
        norms[decay] = one.embedding.weight.norm().item()
    assert norms["weights-only"] > norms["all"] + 0.1


def test_the_running_mean_is_over_58_of_1167_steps():
    losses = np.random.default_rng(0).random(200)
    found = training.running_mean(losses.tolist(), 1167, 0.05)
    np.testing.assert_allclose(found[100], losses[43:101].mean())
    np.testing.assert_allclose(found[9], losses[:10].mean())
    np.testing.assert_allclose(training.running_mean(losses.tolist(), 3, 0.05), losses)
    assert epoch_line({"epoch": 3, "train": 2.41708, "validation": 2.41541}, 15) == (
        "epoch 03/15  train 2.4171  validation 2.4154"
    )


def test_a_saved_network_gives_the_same_logits(tmp_path, made_up):
    _, vocabulary, train, _ = made_up
    network = new_network(len(vocabulary), 3, SETTINGS.network, 3)
    artifacts.save(tmp_path / "model.pickle", saved_network(network, {"seed": 3}))
    assert torch.equal(load_network(tmp_path, vocabulary)(train.contexts), network(train.contexts))
    with pytest.raises(InputError, match=rf"has {len(vocabulary)} characters but the vocabulary 4"):
        load_network(tmp_path, Vocabulary.of(["ab"]))


# --- new names ---------------------------------------------------------------------------------------------


@HYPOTHESIS
@given(seeds, st.integers(1, 4), st.integers(0, 5))
def test_new_names_keep_their_bounds_and_never_hold_reserved_characters(seed, low, more):
    vocabulary = Vocabulary.of(["abcdef"])
    network = new_network(len(vocabulary), 2, Network(embedding=2, width=4), seed)
    network.readout.weight.data.mul_(20)
    network.readout.bias.data[UNKNOWN_ID] = 3.0  # the unknown character would come often
    bounds = Sampling(names=4, min_length=low, max_length=low + more)
    drawn = sampling.new_names(sampling.probabilities(network), vocabulary, 2, bounds)
    assert drawn == sampling.new_names(sampling.probabilities(network), vocabulary, 2, bounds)
    assert all(low <= len(name) <= low + more and set(name) <= set("abcdef") for name in drawn)


def test_names_are_drawn_with_the_probabilities_of_the_model():
    listed = ["ab"] * 3 + ["ba"]
    vocabulary = Vocabulary.of(listed)
    model = fit_counts(pairs(listed, vocabulary, 1), 2, len(vocabulary), 1e-9)
    drawn = Counter(sampling.new_names(model, vocabulary, 1, Sampling(names=600, min_length=1, max_length=1)))
    assert drawn["a"] / 600 == pytest.approx(0.75, abs=0.06)
    text = names_text({"2-gram": ["a", "bb"], "network": ["c", "d"]})
    assert text == "seed  2-gram  network\n0     a       c\n1     bb      d\n"


# --- vectors and maps --------------------------------------------------------------------------------------


def test_vectors_are_shown_as_they_are_or_by_their_principal_components(made_up):
    rng = np.random.default_rng(0)
    three = rng.normal(size=(9, 3))
    assert vectors.three_dimensions(three)[0] is three
    sklearn = pytest.importorskip("sklearn.decomposition")
    wide = rng.normal(size=(9, 6)) * [5, 4, 3, 1, 1, 1]
    points, axes = vectors.three_dimensions(wide)
    np.testing.assert_allclose(np.abs(points), np.abs(sklearn.PCA(3).fit_transform(wide)), atol=1e-9)
    assert "principal components of 6" in axes
    assert vectors.three_dimensions(rng.normal(size=(9, 1)))[0].shape == (9, 3)
    with pytest.raises(InputError, match="tsne.perplexity is 9 but there are 9 characters"):
        vectors.tsne(three, 9, 0)
    for method in vectors.METHODS:
        assert vectors.tsne(three, 3, 0, method).tobytes() == vectors.tsne(three, 3, 0, method).tobytes()
    sklearn = pytest.importorskip("sklearn.manifold")  # with the publication's settings: all others are its defaults
    published = sklearn.TSNE(perplexity=3, random_state=42).fit_transform(three.astype(np.float64))
    np.testing.assert_allclose(vectors.tsne(three, 3, 42, "barnes_hut"), published, rtol=1e-3, atol=1e-2)


def test_distances_between_vowels_and_consonants_are_means():
    vocabulary = Vocabulary(("▮", ".", "a", "e", "b", "_"))
    points = np.array([[9.0, 9], [8, 8], [0, 0], [3, 4], [6, 8], [1, 1]])
    assert vectors.separation(points, vocabulary) == {
        "vowel_vowel": 5.0, "consonant_consonant": None, "vowel_consonant": 7.5,
    }  # fmt: skip
    near = {row["character"]: row for row in vectors.neighbours(points, vocabulary, 1)}
    assert (near["a"]["nearest"], near["b"]["kind"], near["_"]["kind"]) == ("_", "consonant", "other")


def test_affine_maps_are_exact_where_the_network_is_and_no_further(made_up):
    _, vocabulary, train, validation = made_up
    network = new_network(len(vocabulary), 3, SETTINGS.network, 0)
    training.train(network, train, validation, SHORT, 0)
    maps = linearity.fit_maps(network, train)
    scores = {(s["source"], s["target"]): s for s in linearity.score_maps(network, maps, validation)}
    exact = scores["affine", "preactivation"]
    assert exact["r2"] == pytest.approx(1, abs=1e-6)
    assert exact["precision_at_1"] == 1
    assert exact["kl"] < 1e-9
    assert exact["loss"] == pytest.approx(F.cross_entropy(network(validation.contexts), validation.targets).item())
    # An independent fit, with NumPy's own least squares.
    seen = linearity.states(network, train.contexts)
    expected = np.linalg.lstsq(seen["affine"].double().numpy(), seen["logits"].double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(maps["affine_logits"].numpy(), expected.T, atol=1e-4)
    assert scores["affine", "logits"]["r2"] < 0.9999
    # Least squares and the read-out, both affine, can be done in either order.
    assert scores["affine", "hidden"]["loss"] == pytest.approx(scores["affine", "logits"]["loss"], abs=1e-5)
    assert scores["linear", "hidden"]["r2"] < scores["affine", "hidden"]["r2"]


# --- the real surnames -------------------------------------------------------------------------------------


def test_the_surnames_are_prepared_as_published(surnames):
    assert len(surnames) == 22_136
    assert sum(map(len, surnames)) == 164_611
    assert surnames[:5] == ["durana", "dela_azuela", "atlassi", "irulegi", "stockwell"]
    assert (min(map(len, surnames)), max(map(len, surnames)), sorted(map(len, surnames))[11_068]) == (2, 25, 7)
    vocabulary = Vocabulary.of(surnames)
    assert len(vocabulary) == 30
    assert dict(zip("durana.", vocabulary.encode("durana."), strict=True)) == {
        "d": 13, "u": 10, "r": 4, "a": 2, "n": 8, ".": 1,
    }  # fmt: skip
    train, validation = split(surnames, 0.8)
    assert len(train) == 17_708
    assert len(pairs(train, vocabulary, 3).targets) == 149_258
    assert len(pairs(validation, vocabulary, 3).targets) == 37_489


def test_the_count_models_of_the_surnames_are_at_their_published_losses(surnames):
    vocabulary = Vocabulary.of(surnames)
    train, validation = (pairs(part, vocabulary, 3) for part in split(surnames, 0.8))
    published = {2: (2.5041, 2.5103), 3: (2.2680, 2.3533), 4: (1.9255, 2.4070)}
    for order, losses in published.items():
        model = fit_counts(train, order, 30, 0.01)
        assert (model.loss(train), model.loss(validation)) == pytest.approx(losses, abs=1e-4)


def test_the_network_of_the_surnames_reaches_its_published_loss(surnames):
    vocabulary = Vocabulary.of(surnames)
    train, validation = (pairs(part, vocabulary, 3) for part in split(surnames, 0.8))
    network = new_network(30, 3, SETTINGS.network, SETTINGS.seed)
    record = training.train(network, train, validation, SETTINGS.training, SETTINGS.seed)
    assert len(record.losses) == 15 * 1167
    assert record.epochs[-1]["validation"] == pytest.approx(2.325, abs=0.003)


# --- settings ----------------------------------------------------------------------------------------------


def changed(folder, **changes):
    raw = yaml.safe_load((STUDY / "params.yaml").read_text())
    for key, value in changes.items():
        target = raw
        *path, last = key.split("__")
        for part in path:
            target = target[part]
        target[last] = value
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"names": "surname"}, "did you mean 'surnames'"),
        ({"block_size": 0}, "block_size is 0; it must be at least 1"),
        ({"train_share": 1.0}, "train_share is 1.0; it must be at most 0.9999"),
        ({"orders": [1, 2]}, "orders is [1, 2]"),
        ({"training__decay": "weights"}, "did you mean 'weights-only'"),
        ({"sampling__min_length": 31}, "min_length is 31 but max_length is 30"),
        ({"sweep__block_sizes": [0]}, "block_sizes is [0]"),
        ({"sweep__seeds": [1, 1]}, "seeds is [1, 1]; list different numbers of at least 0"),
        ({"sources__surnames__paths": []}, "it must be a list of at least one"),
        ({"seed": "x"}, "seed is 'x'; it must be a whole number"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(tmp_path, changes, problem):
    with pytest.raises(InputError) as refused:
        study.read(changed(tmp_path, **changes))
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_device_is_the_cpu_unless_another_is_named():
    assert training.device_of("auto") == torch.device("cpu")
    with pytest.raises(InputError, match="cudda"):
        training.device_of("cudda")


# --- the pipeline ------------------------------------------------------------------------------------------

DRIVER = """
import os, runpy, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("a stage opened a connection")
socket.socket.connect = refuse
if os.environ.get("STOP_AFTER"):
    from character_embeddings import training
    whole = training.Trainer.epoch
    def cut_short(self, *args):
        if self.steps >= int(os.environ["STOP_AFTER"]):
            raise KeyboardInterrupt
        return whole(self, *args)
    training.Trainer.epoch = cut_short
for script in sys.argv[1:]:
    sys.path.insert(0, os.path.dirname(script))
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")
"""


def small_study(folder):
    target = folder / study.PARAMS
    target.parent.mkdir(parents=True)
    changed(
        target.parent, sources__generated__number=200, training__epochs=2, orders=[2, 3, 4],
        sweep={"block_sizes": [1, 2], "embeddings": [2, 4], "seeds": [42, 7]},
    )  # fmt: skip


def start(folder, hash_seed, scripts=SCRIPTS, **environment):
    environment = {
        **os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{STUDY}:{REPOSITORY}",
        **environment,
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, scripts)], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process, code=0):
    out, errors = process.communicate(timeout=240)
    assert process.returncode == code, errors[-2000:]
    return out + errors


def results(folder):
    root = folder / "studies"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "params.yaml"
    }


def test_two_runs_give_the_same_bytes_one_of_them_killed_and_resumed(tmp_path, monkeypatch, capsys):
    """One test for all that needs the stages to have run, since they take seconds to start."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("sklearn")
    first, second = tmp_path / "first", tmp_path / "second"
    small_study(first)
    small_study(second)
    whole = start(first, "1")
    killed = finished(start(second, "2", SCRIPTS[:3], STOP_AFTER="10"), code=130)
    assert "what was finished is kept" in killed
    resumed = finished(start(second, "3", SCRIPTS[1:]))
    assert "(1 checkpoints resumed)" in resumed
    assert "epoch 1/2" not in resumed
    assert "(0 checkpoints resumed)" in finished(whole)
    one, other = results(first), results(second)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    check_report(first / study.STUDY, {name.partition("character_embeddings/")[2] for name in one})
    monkeypatch.chdir(first)
    [code] = re.findall(r"```python\n(.*?)```", (STUDY / "README.md").read_text(), re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert "tensor([[" in capsys.readouterr().out


def check_report(folder, found):
    figures = ("losses", "embeddings", "gradient", "architecture", "sweep", "maps")
    kinds = {"svg": "figures", "pdf": "pdf", "png": "png"}
    wanted = {f"plots/generated/{kinds[kind]}/{name}.{kind}" for name in figures for kind in kinds}
    tables = ("baselines", "epochs", "sweep", "maps", "neighbours", "distances", "gradient", "tsne")
    wanted |= {f"tables/generated/{name}.{kind}" for name in tables for kind in ("csv", "json")}
    assert wanted <= found
    metrics = json.loads((folder / "metrics/generated/metrics.json").read_text())
    assert {"names", "pairs_train", "pairs_validation", "bigram", "trigram", "four_gram", "mlp", "parameters"} <= set(
        metrics
    )
    assert metrics["names"] == 200
    sweep = json.loads((folder / "tables/generated/sweep.json").read_text())
    assert [(row["block_size"], row["seed"]) for row in sweep[:2]] == [(1, 42), (1, 7)]
    assert len({row["validation"] for row in sweep}) == len(sweep) == 2 * 2 * 2
    own = [row["validation"] for row in sweep if (row["block_size"], row["embedding"]) == (2, 4)]
    assert metrics["sweep"]["block_2_embedding_4"]["validation"] == pytest.approx(sum(own) / 2)
    places = json.loads((folder / "tables/generated/tsne.json").read_text())
    assert [row["method"] for row in places] == ["exact"] * metrics["vocabulary"] + ["barnes_hut"] * metrics[
        "vocabulary"
    ]
    with open(folder / "tables/generated/baselines.csv", newline="") as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert float(rows["network"]["validation"]) == metrics["mlp"]
    assert float(rows["uniform"]["validation"]) == pytest.approx(math.log(metrics["vocabulary"]))
    model = folder / "data/generated/model"
    logs = [json.loads(line) for line in (model / "train_log.jsonl").read_text().splitlines()]
    assert logs[-1]["step"] == len(logs) == 2 * math.ceil(metrics["pairs_train"] / 128)
    assert "trainable" in (model / "summary.txt").read_text()
    assert (folder / "data/generated/new_names.txt").read_text().count("\n") == 11


def test_the_gradient_figure_has_one_cell_a_column():
    pytest.importorskip("matplotlib")
    from character_embeddings.figures import shaded_one_hot

    shown = gradient.demonstrate(0)
    shaded = shaded_one_hot(shown)
    background = np.repeat([0, 1, 2, 3], 3)
    assert ((shaded != background).sum(0) == 1).all()
    assert np.array_equal(shaded - background, shown.one_hot.T.numpy())


# --- the scripts and dvc.yaml ------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_is_a_short_recipe_whose_help_teaches(script):
    assert len(script.read_text().splitlines()) <= 60
    command = [sys.executable, "-X", "importtime", str(script), "--help"]
    done = subprocess.run(command, cwd=STUDY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    for heading in ("Reads ", "Writes ", f"Example: python studies/character_embeddings/{script.name}"):
        assert re.search(rf"^{heading}", done.stdout, re.MULTILINE), heading
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "argparse" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "matplotlib", "sklearn", "tqdm", "yaml"})

"""LambdaBERT short-cut, and its lambdas read: against the model itself, against closed forms, and as stages."""

import itertools
import json
import math
import os
import runpy
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
import yaml
from hypothesis import given, settings, strategies as st
from lambda_models import architectures  # noqa: F401 (a fixture that every test of the module uses)

from lambda_bert import distillation, inside, lambdas, probing, reading, shortcut
from lambda_bert.models import new_model, save_model
from lambda_bert.settings import PARAMS, STUDY, Distil, DistilSteps, read
from linear_shortcuts.commands import invariants
from linear_shortcuts.files import artifacts
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import load_tokenizer
from linear_shortcuts.scores import measures
from linear_shortcuts.scores.exits import part_guesses
from linear_shortcuts.settings.params import read_params
from linear_shortcuts.states.extraction import extract
from linear_shortcuts.text import corpora

SENTENCES = [
    "Return the number of elements in the list.",
    "Raise an error if the given file does not exist.",
    "The connection is closed when the server stops.",
    "Each element of the list is a number.",
    "If the file exists, return the number of lines.",
    "The given server closes the connection.",
]


@pytest.fixture(scope="module")
def model():
    return tiny.architecture("lambdabert")


@pytest.fixture(scope="module")
def tokens(model):
    return tiny.tokens(model, 60)


class Words:
    """A tokenizer of whole words for models of 97 tokens."""

    def __call__(self, sentences, truncation=False, max_length=None, verbose=True):
        ids = [[1, *(5 + sum(map(ord, word)) % 90 for word in sentence.split()), 2] for sentence in sentences]
        return {"input_ids": [row[:max_length] for row in ids]}

    def convert_ids_to_tokens(self, ids):
        return [f"t{number}" for number in ids]


# --- distillation ----------------------------------------------------------------------------------------------


def steps(number):
    return DistilSteps(bert=number, lambdabert=number)


DISTIL = Distil(teacher="tiny-bert", steps=steps(60), batch=8, masked=0.2, learning_rate=0.01, judged=10)


class Special:
    """What a collator asks of a tokenizer, for models of 97 tokens."""

    all_special_ids, pad_token_id, mask_token_id = [0, 1, 2, tiny.MASK], 0, tiny.MASK


def student_of(kind, teacher):
    own = {**tiny.ARCHITECTURES[kind][1], "attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
    made = tiny.random_network(kind, **own, seed=5)
    distillation.adopt(made, teacher)
    return made


@pytest.mark.parametrize("kind", ["bert", "lambdabert"])
def test_a_student_learns_what_attention_gave_and_nothing_else_changes(kind):
    teacher = tiny.architecture("bert")
    made = student_of(kind, teacher)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    theirs = {name.partition(".")[2]: value for name, value in teacher.network.state_dict().items()}
    ids = [row.tolist() for row in tiny.tokens(teacher, 40).sentences]
    first, last = [
        distillation.distil(
            made, teacher, distillation.masked_batches(ids, Special(), settings_of, 0), settings_of, lambda steps: steps
        )
        for settings_of in (replace(DISTIL, steps=steps(1), learning_rate=0.0), DISTIL)
    ]
    assert len(first) == len(last) == 3
    assert sum(last) < 0.5 * sum(first)
    for name, value in made.state_dict().items():
        own = name.partition(".")[2]
        mixing = any(part in own for part in distillation.MIXING)
        if not mixing:
            assert torch.equal(value, before[name])
            assert torch.equal(value, theirs[own])
    assert not made.training


def test_a_student_with_the_teachers_own_attention_makes_no_error():
    teacher = tiny.architecture("bert")
    made = student_of("bert", teacher)
    made.load_state_dict(teacher.network.state_dict())
    ids = [row.tolist() for row in tiny.tokens(teacher, 40).sentences]
    batches = list(itertools.islice(distillation.masked_batches(ids, Special(), DISTIL, 0), 5))
    errors = distillation.distil(
        made, teacher, batches, replace(DISTIL, steps=steps(5), learning_rate=0.0), lambda s: s
    )
    assert max(errors) < 1e-9
    for rows, mask in batches:
        assert len(rows) == DISTIL.batch
        assert (rows[mask == 0] == 0).all()
    hidden = torch.cat([(rows == tiny.MASK)[mask.bool()] for rows, mask in batches]).float().mean()
    assert 0.1 < hidden < 0.4  # the sentences have a masked token of their own
    loss = distillation.masked_loss(teacher.network, ids, Special(), DISTIL, 0)
    assert loss == pytest.approx(distillation.masked_loss(made, ids, Special(), DISTIL, 0))
    assert loss > 1


def test_a_teacher_of_another_shape_is_refused():
    teacher = tiny.architecture("bert")
    with pytest.raises(InputError, match=r"bert has .* of shape \(.*give shape the sizes of distil.teacher"):
        distillation.adopt(tiny.random_network("bert", intermediate_size=12), teacher)
    with pytest.raises(InputError, match="which a bert has not; it must be a BERT"):
        distillation.adopt(tiny.random_network("bert", num_hidden_layers=2), teacher)


# --- short-cuts ------------------------------------------------------------------------------------------------


def test_nothing_in_a_parts_place_is_the_model_without_that_part(model, tokens):
    found = part_guesses(model, tokens, shortcut._Nothing(), 400)
    zero = torch.zeros(model.width, model.width)
    for without, mapping in shortcut.WITHOUT.items():
        step = model.family.steps[0 if without == "no_attn" else 3]
        for row in (0, 7):
            ids, position = tokens.sentences[row][None], tokens.positions[row]
            with torch.no_grad(), invariants.replaced(model.blocks[-1], step, zero):
                logits = model.network(ids).logits[0, position]
            guess = model.decode(found[mapping][model.layers - 1, row])
            torch.testing.assert_close(guess, logits, atol=1e-4, rtol=1e-4)
            assert (model.network(ids).logits[0, position] - logits).abs().max() > 1e-2


def test_stand_ins_explain_all_of_a_linear_model_and_less_of_another(model, tokens, tmp_path):
    linear = tiny.linear_model("lambdabert")
    for subject, everything in ((linear, True), (model, False)):
        data = tiny.tokens(subject, 400)
        shard = extract(subject, data, 0, len(data), 2000)
        folder = tmp_path / str(everything)
        layer_maps, parts = shortcut.fit(subject, shard, folder)
        assert len(layer_maps) == 6
        assert len(parts) == 18
        records = shortcut.part_scores(subject, shard, parts)
        assert len(records) == 3 * 4
        assert all((record["r2"] > 0.999) == everything for record in records if record["part"] != "norm")
        for record in records:
            assert (record["share"] is None) == (record["part"] == "norm")
    sites = model.sites(1, shard.hidden_states[1], lambda _: shard.attention_outputs[1])
    [record] = [record for record in records if (record["block"], record["part"]) == (1, "attention")]
    assert record["share"] == pytest.approx(float(sites[1].var(0).sum() / sites[2].var(0).sum()))
    assert record["r2"] == pytest.approx(measures.r2(sites[1], sites[0] @ parts[1, 0, 1].T))


# --- lambdas as matrices ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("masked", [True, False])
def test_exported_lambdas_are_those_of_each_sentence_alone(masked):
    kind, own = tiny.ARCHITECTURES["lambdabert"]
    network = tiny.random_network(kind, **{**own, "mask_padding": masked})
    made = lambdas.export(network, Words(), SENTENCES)
    assert made.lambdas.shape == (6, 3, 4, 8)
    assert made.pooled.shape == (6, 4, 24)
    for row, sentence in enumerate(SENTENCES):
        ids = torch.tensor(Words()([sentence])["input_ids"])
        with torch.no_grad():
            found = network(ids, output_lambda_params=True, output_hidden_states=True)
        np.testing.assert_allclose(made.lambdas[row], torch.cat(found.lambda_params), atol=1e-5)
        np.testing.assert_allclose(made.pooled[row, 2], found.hidden_states[2][0].mean(0), atol=1e-5)
        assert torch.equal(made.ids[row], ids[0])
    assert lambdas.export(network, Words(), ["word " * 100]).lengths.tolist() == [tiny.CONTEXT]


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, 5), v=st.integers(1, 6), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_effective_rank_of_known_matrices(k, v, scale, seed):
    rng = np.random.default_rng(seed)
    orthogonal = np.linalg.qr(rng.normal(size=(max(k, v), max(k, v))))[0][:k, :v]
    rank_one = np.outer(rng.normal(size=k) + 2, rng.normal(size=v) + 2)
    general = rng.normal(size=(k, v))
    ranks = lambdas.effective_rank(np.stack([orthogonal, rank_one, general, scale * general])[:, None])[:, 0]
    assert ranks[1] == pytest.approx(1)
    assert 1 - 1e-9 <= ranks[2] <= min(k, v) + 1e-9
    assert ranks[2] == pytest.approx(ranks[3])
    square = np.linalg.qr(rng.normal(size=(k, k)))[0]
    assert lambdas.effective_rank(square[None, None])[0, 0] == pytest.approx(k)


def test_cosines_and_what_is_shared():
    rng = np.random.default_rng(0)
    made = rng.normal(size=(20, 2, 3, 4)) + 0.5
    whole = lambdas.cosines(made)
    pairs = [whole[:, i, j] for i, j in itertools.permutations(range(20), 2)]
    np.testing.assert_allclose(lambdas.mean_cosine(made), np.mean(pairs, axis=0), atol=1e-12)
    flat = made[:, 1].reshape(20, -1)
    assert whole[1, 2, 5] == pytest.approx(flat[2] @ flat[5] / np.linalg.norm(flat[2]) / np.linalg.norm(flat[5]))
    constant = np.broadcast_to(made[:1], made.shape)
    np.testing.assert_allclose(lambdas.shared(constant), 1)
    np.testing.assert_allclose(lambdas.shared(np.concatenate([made, -made])), 0, atol=1e-12)
    assert (lambdas.shared(made) > 0.05).all()
    assert (lambdas.shared(made) < 0.95).all()


def test_cka_is_one_for_a_rotated_layer_and_small_for_an_unrelated_one():
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(400, 3, 4)), rng.normal(size=(400, 3, 4))
    turned = 3 * (first.reshape(400, 12) @ np.linalg.qr(rng.normal(size=(12, 12)))[0]).reshape(400, 3, 4) + 7
    found = lambdas.cka(np.stack([first, turned, other], axis=1))
    np.testing.assert_allclose(found, found.T)
    assert found[0, 0] == pytest.approx(1)
    assert found[0, 1] == pytest.approx(1)
    assert found[0, 2] < 0.1


# --- probes ----------------------------------------------------------------------------------------------------


def test_shifted_sentences_keep_their_words_and_half_of_them_their_order():
    many = [f"{a} {b} and {c}, {a} 7 {b}" for a, b, c in itertools.product("abcdefgh", "ijklmn", "opqrst")]
    texts, labels = probing.shift_bigrams([*many, "a 1 b 2", "a A"], seed=3)
    assert labels[-2:].tolist() == [-1, -1]
    assert abs(labels[:-2].mean() - 0.5) < 3 * 0.5 / len(many) ** 0.5
    for before, after, label in zip(many, texts, labels, strict=False):
        assert sorted(before.split()) == sorted(after.split())
        assert (before != after) == bool(label)
        differ = [i for i, (x, y) in enumerate(zip(before.split(), after.split(), strict=True)) if x != y]
        assert len(differ) in (0, 2)
        assert not differ or differ[1] == differ[0] + 1
    assert probing.shift_bigrams(many, seed=3)[0] == texts[: len(many)]


def test_a_probe_finds_a_planted_answer_and_none_in_random_labels():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1200, 30))
    labels = (features[:, 3] + features[:, 5] > 0).astype(int)
    task = probing.Task("planted", "is it?", np.arange(1200), labels)
    assert probing.probe(features, task, 900) > 0.95
    dealt = probing.random_labels(task, 0)
    assert sorted(dealt.labels) == sorted(labels)
    assert abs(probing.probe(features, dealt, 900) - 0.5) < 0.1
    assert probing.majority(replace(task, labels=(np.arange(1200) % 4 == 0).astype(int)), 900) == 0.75
    with pytest.raises(InputError, match=r"too few sentences can be asked 'is it\?'"):
        probing.probe(features, task, 1200)


def test_questions_are_chosen_on_the_train_sentences():
    letters = "abcdefghijkl"
    train = [
        f"This sentence holds {4 * letter}{' and more' * (place % 4)}." for place, letter in enumerate(letters)
    ] * 5
    validation = ["This one holds cccc.", "This one holds zzzz.", "And aaaa and bbbb."]
    lengths = np.array([len(sentence.split()) for sentence in [*train, *validation]])
    shifts = np.array([0, 1, -1] * 21)
    length, word, order = probing.tasks(train, validation, lengths, shifts, words=3)
    assert set(length.labels) <= set(range(probing.BINS))
    assert (np.diff(length.labels[np.argsort(lengths)]) >= 0).all()
    assert order.shifted
    assert order.labels.tolist() == [0, 1] * 21
    # Of equally frequent words the first of the alphabet; "this" and "holds" are in all, the last has two of them.
    assert word.rows.tolist() == [12 * i + j for i in range(5) for j in range(3)] + [60]
    assert word.labels.tolist() == [0, 1, 2] * 5 + [2]


# --- lambdas as tokens -----------------------------------------------------------------------------------------


def test_row_images_are_what_a_block_writes(model):
    layer = model.blocks[1].attention
    states = torch.randn(1, 7, model.width)
    with torch.no_grad():
        layer.self.positions.weight.zero_()
        output, content = layer.self(states)
        queries, _, _ = layer.self.project(states)
        written = layer.output.dense(output) - layer.output.dense.bias
    images = reading.row_images(model, 1, content[0])
    assert images.shape == (3, 4, model.width)
    torch.testing.assert_close(torch.einsum("nhk,hkd->nd", queries[0], images), written[0], atol=1e-5, rtol=1e-4)


def test_reading_by_shortcut_is_exact_where_every_part_is_a_matrix(tmp_path):
    linear = tiny.linear_model("lambdabert")
    data = tiny.tokens(linear, 400)
    shard = extract(linear, data, 0, len(data), 2000)
    maps = shortcut.fit(linear, shard, tmp_path)
    ids = data.sentences[0][None]
    vector = torch.randn(linear.width) * shard.attention_outputs[1].std()
    watcher = invariants.SequenceRecorder()
    with linear.watch(watcher):
        linear.encode(ids, None)
    mean = watcher.states[-1][0, 2]
    handle = (
        linear.blocks[1]
        .get_submodule("attention.output.dense")
        .register_forward_hook(lambda module, args, output: output + vector)
    )
    with torch.no_grad():
        risen = linear.network(ids).logits[0, 2]
        handle.remove()
        before = linear.network(ids).logits[0, 2]
    found = reading.read_by_shortcut(linear, *maps, 1, vector[None], mean)[0]
    torch.testing.assert_close(found, risen - before, atol=1e-2, rtol=1e-3)
    assert (risen - before).abs().max() > 0.1


def test_read_directly_finds_a_word_in_its_own_vector(model):
    words = model.network.get_input_embeddings().weight
    found = reading.nearest(reading.read_directly(model, (words - words.mean(0))[[40, 7]]), 3)
    assert found.ids[:, 0].tolist() == [40, 7]
    assert (found.scores.diff(dim=-1) <= 0).all()
    unknown = torch.tensor([[1.0, -torch.inf, 3.0, 2.0]])
    assert reading.nearest(unknown, 2).ids.tolist() == [[2, 3]]


def test_own_tokens_stand_first_where_they_were_planted():
    scores_of = torch.rand(5, 100) * 0.1
    scores_of[:, [3, 8]] = torch.tensor([-9.0, 9.0])
    own, others = reading.own_tokens(scores_of, torch.tensor([3, 8, 50]), torch.tensor([50, 20, 21]))
    assert own > 0.98
    assert others < 0.9


def test_token_means_average_the_states_and_weights_of_each_token(model):
    ids = [torch.tensor([1, 5, 6, 5, 2]), torch.tensor([1, 5, 9, 2]), torch.tensor([1, 9, 6, 5, 2])]
    means = reading.token_means(model, ids)
    assert means.counts[[1, 5, 6, 9, 7]].tolist() == [3, 4, 2, 2, 0]
    with torch.no_grad():
        found = [model.network(row[None], output_hidden_states=True).hidden_states for row in ids]
    expected = (found[0][1][0, 2] + found[2][1][0, 2]) / 2
    torch.testing.assert_close(means.states[1, 6], expected, atol=1e-5, rtol=1e-4)
    every = torch.cat([states[-1][0] for states in found])
    torch.testing.assert_close(means.last, every.mean(0), atol=1e-5, rtol=1e-4)
    even = torch.einsum("lvku,v->lku", means.lifts, means.counts) / means.counts.sum()
    torch.testing.assert_close(even, torch.ones_like(even))


def test_column_scores_are_what_a_token_would_read(model):
    ids = [torch.tensor([1, *range(5, 15), 2]) for _ in range(reading.SEEN)]
    means = reading.token_means(model, ids)
    lambda_ = torch.randn(4, 8)
    found = reading.column_scores(model, means, 1, lambda_)
    assert found.shape == (3, 8, tiny.VOCABULARY)
    assert found[..., 20:].isinf().all()
    queries, _, _ = model.blocks[1].attention.self.project(means.states[1][None])
    read = torch.einsum("vhk,kc->hcv", queries[0], lambda_)
    difference = read[..., 7] - read[..., 9]
    torch.testing.assert_close(found[..., 7] - found[..., 9], difference, atol=1e-4, rtol=1e-3)


# --- the stages ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(repository, tmp_path_factory):
    """A folder with small settings, untrained models and a few sentences, as stages 01 to 03 would leave it."""
    folder = tmp_path_factory.mktemp("study")
    (folder / STUDY).mkdir(parents=True)
    (folder / "models").symlink_to(repository / "models")
    project = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    project["sentences"] = {"train": 160, "validation": 40}
    project["bootstrap"]["resamples"] = 20
    own = yaml.safe_load((repository / PARAMS).read_text(encoding="utf-8"))
    own["shape"] |= {"layers": 2, "width": 32, "intermediate": 32, "heads": 2, "key_depth": 4, "intra_depth": 2}
    own["lambdas"] |= {"train": 120, "validation": 40, "words": 6}
    own["shortcuts"] = {"own": ["bert", "lambdabert"], "equal": [["bert", "lambdabert"]], "beside": []}
    own["lambdas"]["model"] = "lambdabert"
    (folder / "params.yaml").write_text(yaml.safe_dump(project), encoding="utf-8")
    (folder / PARAMS).write_text(yaml.safe_dump(own), encoding="utf-8")
    here = os.getcwd()
    os.chdir(folder)
    try:
        study, drawn = read(), {}
        tokenizer = load_tokenizer(study.tokenizer)
        for name in study.models:
            made = new_model(name, study.shape, tokenizer, study.pairs.block_size, study.task, study.seed)
            save_model(study.folders.model(name), made, tokenizer)
        rng = np.random.default_rng(0)
        roots = [
            "file",
            "server",
            "list",
            "number",
            "error",
            "value",
            "object",
            "string",
            "line",
            "name",
            "path",
            "type",
        ]
        words = [root + ending for root in roots for ending in ("", "s", "ed", "ing", "able")]
        tails = ["", " and here", " and once more to the end", " to the user of the whole program"]
        texts = ["The {} of each {} is the {} given{}.".format(*rng.choice(words, 3), tails[i % 4]) for i in range(200)]
        for split, first in (("train", 0), ("validation", 160)):
            drawn[split] = texts[first : first + project["sentences"][split]]
        artifacts.save(f"data/sentences/{project['corpus']}.pickle", {**drawn, "card": corpora.card_of(read_params())})
    finally:
        os.chdir(here)
    return folder


def run_stage(repository, monkeypatch, name, *arguments):
    path = repository / STUDY / name
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    runpy.run_path(str(path), run_name="__main__")


def test_the_stages_short_cut_read_and_report(workplace, repository, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    folders = read().folders
    with pytest.raises(SystemExit) as stopped:
        run_stage(repository, monkeypatch, "07_report.py")
    assert stopped.value.code == 2
    assert "05_shortcut.py" in capsys.readouterr().err
    for model in ("bert", "lambdabert"):
        run_stage(repository, monkeypatch, "05_shortcut.py", "--model", model, "--device", "cpu")
        found = artifacts.load(folders.shortcuts(model) / "scores.pickle")
        assert set(found["metrics"]) == {"corpus", "precision", "mat", "id"}
        assert {record["mapping"] for record in found["exits"]} == {
            "id", "mat", "mat-id", "mat_attn", "mat_ffn", "mat_ln1_ln2", "no_attn", "no_ffn",
        }  # fmt: skip
        assert len(list((folders.shortcuts(model) / "submodules").iterdir())) == 12
    run_stage(repository, monkeypatch, "06_read_lambdas.py", "--device", "cpu")
    made = artifacts.load(folders.lambdas / "lambdas.pickle")
    assert made["lambdas"].shape == (160, 2, 4, 16)
    assert len(made["sentences"]) == 160
    run_stage(repository, monkeypatch, "07_report.py")
    tables = {path.stem: json.loads(path.read_text("utf-8")) for path in folders.report_tables.glob("*.json")}
    assert set(tables) == {"shortcuts", "spectra", "probes", "soundness", "rows", "columns", "keys"}
    assert [record["model"] for record in tables["shortcuts"]] == ["bert", "lambdabert"]
    examples = read().lambdas.examples
    assert {record["of"] for record in tables["rows"]} == {"all sentences", *examples}
    assert all(len(record["tokens"]) == read().lambdas.k for record in tables["columns"])
    for kind in ("svg", "pdf", "png"):
        assert {path.stem for path in (folders.report_plots / kind).iterdir()} == {
            "r2", "exits", "parts", "lambdas", "probes",
        }  # fmt: skip
    metrics = json.loads(folders.metrics.read_text("utf-8"))
    assert set(metrics["shortcuts"]) == {"bert", "lambdabert"}
    # Untrained models lose what a guess among all tokens does.
    assert metrics["shortcuts"]["bert"]["loss"] == pytest.approx(math.log(4096), abs=0.2)


@pytest.mark.parametrize(
    ("model", "message"),
    [("lambda", "did you mean 'lambdabert'"), ("gpt2", "--model names 'gpt2', which is not in models or")],
)
def test_an_unknown_model_ends_in_one_line(workplace, repository, monkeypatch, capsys, model, message):
    monkeypatch.chdir(workplace)
    with pytest.raises(SystemExit) as stopped:
        run_stage(repository, monkeypatch, "05_shortcut.py", "--model", model)
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_maps_of_other_weights_are_refused(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    settings_of, params = read(), read_params()
    model, _ = shortcut.load_subject(settings_of, params, "lambdabert", "cpu")
    folder = settings_of.folders.shortcuts("lambdabert")
    if not folder.is_dir():
        pytest.skip("the stages were not run")
    shortcut.load_maps(settings_of, model)
    other = replace(model, identity={**model.identity, "weights_sha256": "0"})
    with pytest.raises(InputError, match=r"is of other weights .* run studies/lambda_bert/05_shortcut.py again"):
        shortcut.load_maps(settings_of, other)


def test_two_soundness_ways_and_every_layer_are_judged(model, tmp_path):
    data = tiny.tokens(model, 100)
    shard = extract(model, data, 0, len(data), 2000)
    maps = shortcut.fit(model, shard, tmp_path)
    made = lambdas.export(model.network, Words(), SENTENCES)
    records = inside.soundness(model, *maps, made, shard.hidden_states[-1].mean(0))
    assert [(r["layer"], r["way"]) for r in records] == [
        (layer, way) for layer in (1, 2, 3) for way in ("directly", "by short-cut")
    ]
    assert all(0 <= record[key] <= 1 for record in records for key in ("own", "others"))

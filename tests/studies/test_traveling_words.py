"""Traveling Words: its formulas against independent ones, and its pipeline against itself."""

import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings, strategies as st
from tiny import architecture
from toy import make_checkpoint

from linear_shortcuts import InputError, load_model, load_tokenizer
from linear_shortcuts.files.tables import to_csv
from linear_shortcuts.models.language_model import Watcher
from traveling_words import report, settings as study
from traveling_words.attention import LAYOUTS, check_reading, read_attention
from traveling_words.factorization import align_signs, coverage, reach, thin_svd
from traveling_words.formats import latex, latex_tables, to_markdown, visible
from traveling_words.geometry import Norm, distance_table, extremes, read_norm, token_scores
from traveling_words.heads import probe_biases, probe_singular_vectors
from traveling_words.nearest import Rows, nearest, rank
from traveling_words.nouns import probe_nouns, read_nouns, shared
from traveling_words.projection import fit_projection
from traveling_words.subject import Vocabulary, subject_of
from traveling_words.tables import bias_log, bias_records, singular_log, singular_records
from traveling_words.trajectory import approach, read_phrase

STUDY = Path(__file__).resolve().parents[2] / "studies" / "traveling_words"
SCRIPTS = sorted(STUDY.glob("0*.py"))
BY_HAND = [STUDY / f"{name}.py" for name in ("compare_distances", "follow_phrases", "write_results")]
READABLE = ["gpt2", "gpt_neo", "opt", "llama", "mistral", "qwen2", "starcoder2"]
HYPOTHESIS = settings(deadline=None, max_examples=40)
seeds = st.integers(0, 2**32 - 1)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer_norm(d, *, centres=True):
    return Norm(centres, 1e-5, 1 + 0.3 * normal(d, seed=1), 0.2 * normal(d, seed=2) * centres)


class Attended(Watcher):
    """What one block's attention reads, before its norm, and gives."""

    def __init__(self, block):
        self.block = block

    def state(self, layer, states):
        if layer == self.block:
            self.before = states[0].double()

    def attention_output(self, block, states):
        if block == self.block:
            self.after = states[0].double()


def attended(model, block, ids):
    seen = Attended(block)
    with torch.inference_mode(), model.watch(seen):
        model.encode(ids[None], None)
    return seen.before, seen.after


@pytest.fixture(scope="module")
def shipped():
    folder = STUDY.parents[1] / "models" / "tiny-gpt2"
    return subject_of(load_model(folder, name="tiny-gpt2", device="cpu"), load_tokenizer(folder))


# --- attention ---------------------------------------------------------------------------------------------


def test_attention_head_by_head_in_the_papers_formula_is_the_models_own(shipped):
    ids = shipped.vocabulary.sentence("Return the number of elements in the list, or zero if there are none.")
    for block in range(shipped.model.layers):
        before, theirs = attended(shipped.model, block, ids)
        conv, out = shipped.model.blocks[block].attn.c_attn, shipped.model.blocks[block].attn.c_proj
        d, r = 128, 32
        weight, bias = conv.weight.double(), conv.bias.double()
        x = torch.nn.functional.layer_norm(before, (d,)) * shipped.model.blocks[block].ln_1.weight.double()
        x = x + shipped.model.blocks[block].ln_1.bias.double()
        total = out.bias.double().expand(len(x), d).clone()
        mask = torch.full((len(x), len(x)), -torch.inf).triu(1)
        for head in range(d // r):
            (wq, bq), (wk, bk), (wv, bv) = (
                (weight[:, part], bias[part])
                for part in (slice(p * d + head * r, p * d + head * r + r) for p in range(3))
            )
            wo = out.weight.double()[head * r : head * r + r]
            w_qk, w_vo = wq @ wk.T / math.sqrt(r), wv @ wo
            extra = ((x @ wq @ bk)[:, None] + (x @ wk @ bq)[None, :] + bq @ bk) / math.sqrt(r)
            total += (x @ w_qk @ x.T + extra + mask).softmax(-1) @ (x @ w_vo + bv @ wo)
            reading = read_attention(shipped.model, block)
            for ours, theirs_too in ((reading.qk_factors(), w_qk), (reading.vo_factors, w_vo)):
                torch.testing.assert_close(ours[0][head] @ ours[1][head].T, theirs_too, rtol=0, atol=1e-12)
        torch.testing.assert_close(total, theirs, rtol=0, atol=1e-4)
        torch.testing.assert_close(reading(x), total, rtol=0, atol=1e-9)
        assert theirs.abs().max() > 0.1


@pytest.mark.parametrize("name", READABLE)
def test_attention_read_from_the_weights_is_the_models_own(name):
    model = architecture(name)
    ids = torch.tensor([5, 9, 20, 3, 77, 41])
    readings = {block: read_attention(model, block) for block in range(model.layers)}
    for block, reading in readings.items():
        before, theirs = attended(model, block, ids)
        torch.testing.assert_close(reading(reading.norm(before)), theirs, rtol=0, atol=1e-4)
        assert theirs.abs().max() > 1e-2
    assert check_reading(model, ids, readings) < 1e-5
    wrong = replace(readings[0], scale=2 * readings[0].scale)
    with pytest.raises(InputError, match="differs from the model's own"):
        check_reading(model, ids, {0: wrong})


def test_with_rotary_positions_w_qk_at_a_distance_gives_the_score_at_that_distance():
    reading = read_attention(architecture("qwen2"), 0)  # with biases, so leave them out
    reading = replace(reading, query_bias=0 * reading.query_bias, key_bias=0 * reading.key_bias)
    x = normal(6, 24)
    scores = reading.scores(x)
    for distance in (0, 1, 4):
        a, b = reading.qk_factors(distance)
        assert torch.allclose(scores[:, 5, 5 - distance], (x[5] @ a @ b.mT @ x[5 - distance]))
    assert (reading.qk_factors(1)[1] - reading.qk_factors(0)[1]).abs().max() > 1e-2
    still = read_attention(architecture("gpt2"), 0)
    assert torch.equal(still.qk_factors(3)[1], still.qk_factors(0)[1])


def test_every_readable_type_is_tested():
    assert set(READABLE) == set(LAYOUTS)


@pytest.mark.parametrize("name", ["qwen3", "gemma2", "bloom", "gptj"])
def test_attention_that_is_no_matrix_on_word_vectors_is_refused_in_one_line(name):
    with pytest.raises(InputError, match="choose a model with a norm before attention of type gpt2") as refused:
        read_attention(architecture(name), 0)
    assert "\n" not in str(refused.value)


def test_a_masked_model_is_refused():
    with pytest.raises(InputError, match="no causal attention"):
        subject_of(architecture("bert"), None)


def test_the_bias_of_keys_cancels_and_that_of_queries_does_not():
    reading = read_attention(architecture("gpt2"), 1)
    x = reading.norm(normal(7, 24))
    noise = normal(*reading.key_bias.shape, seed=3)
    torch.testing.assert_close(replace(reading, key_bias=noise)(x), reading(x), rtol=0, atol=1e-4)
    assert (replace(reading, query_bias=noise)(x) - reading(x)).abs().max() > 1e-2


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_matrices_of_a_head_have_at_most_its_width_as_rank(name):
    reading = read_attention(architecture(name), 0)
    for a, b in (reading.qk_factors(), reading.vo_factors):
        assert a.shape[-1] < a.shape[-2]
        assert (torch.linalg.matrix_rank(a @ b.mT) == a.shape[-1]).all()  # generic weights reach it


# --- singular vectors --------------------------------------------------------------------------------------


@HYPOTHESIS
@given(
    seed=seeds,
    heads=st.integers(1, 3),
    d=st.integers(2, 24),
    r=st.integers(1, 24),
    scale=st.sampled_from([1e-6, 1, 1e6]),
)
def test_singular_vectors_from_the_factors_are_those_of_the_product(seed, heads, d, r, scale):
    r = min(r, d)
    a, b = scale * normal(heads, d, r, seed=seed), normal(heads, d, r, seed=seed ^ 1)
    product = a @ b.mT
    ours = thin_svd(a, b)
    largest = float(ours.values.max())
    torch.testing.assert_close(ours.left * ours.values[:, None] @ ours.right.mT, product, rtol=0, atol=1e-10 * largest)
    full = torch.linalg.svdvals(product)
    torch.testing.assert_close(ours.values, full[:, :r], rtol=1e-5, atol=1e-10 * largest)
    for vectors in (ours.left, ours.right):
        torch.testing.assert_close(vectors.mT @ vectors, torch.eye(r).double().expand(heads, r, r), rtol=0, atol=1e-10)


@HYPOTHESIS
@given(seed=seeds, symmetric=st.booleans())
def test_aligned_vectors_and_their_words_do_not_depend_on_the_signs_that_came(seed, symmetric):
    left, right, words = normal(6, 5, seed=seed), normal(6, 5, seed=seed ^ 1), normal(9, 5, seed=seed ^ 2)
    words = torch.cat([words, -words]) if symmetric else words  # then both signs are equally good
    signs = torch.where(normal(6, 1, seed=seed ^ 3) > 0, 1.0, -1.0)
    one, other = (align_signs(left * s, right * s, Rows(words), 3) for s in (torch.ones(6, 1), signs))
    for ours, theirs in zip(one[:2], other[:2], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(one[2].ids, other[2].ids)
    assert (one[1] @ words.T).amax(1).ge((-one[1] @ words.T).amax(1) - 1e-9).all()
    torch.testing.assert_close(one[0].T @ one[1], left.T @ right)  # the matrix they make up is the same


def test_a_head_of_zeros_is_covered_by_nothing_as_by_everything():
    assert coverage(torch.zeros(2, 3)).tolist() == [[1.0] * 3] * 2
    assert reach(torch.zeros(3)).item() == 1


def test_coverage_reaches_one_and_99_percent_is_first_exceeded_where_it_says():
    values = torch.tensor([[60.0, 30.0, 9.0, 1.0], [97.0, 2.5, 0.4, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(coverage(values)[0], torch.tensor([0.6, 0.9, 0.99, 1.0]).double())
    assert reach(values, 0.985).tolist() == [3, 2]
    assert reach(values).tolist() == [4, 2]  # 0.99 itself is not above 99 %


# --- norms and distances -----------------------------------------------------------------------------------


@HYPOTHESIS
@given(seed=seeds, scale=st.floats(1e-4, 1e4))
def test_normalised_vectors_have_the_length_and_mean_that_theory_says(seed, scale):
    x, d = scale * (normal(5, 16, seed=seed) + 1), 16
    for centres in (True, False):
        normed = layer_norm(d, centres=centres).normalize(x)
        spread = x.var(-1, correction=0) if centres else x.square().mean(-1)
        torch.testing.assert_close(normed.norm(dim=-1), (d * spread / (spread + 1e-5)).sqrt())
        if centres:
            assert normed.mean(-1).abs().max() < 1e-12
    theirs = torch.nn.functional.layer_norm(x, (d,), layer_norm(d).weight, layer_norm(d).bias)
    torch.testing.assert_close(layer_norm(d)(x), theirs)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_models_norm_is_read_as_it_is(name):
    model = architecture(name)
    module = model.network.get_submodule(model.family.final_norm)
    x = normal(4, 24)
    torch.testing.assert_close(read_norm(module)(x).float(), module(x.float()), rtol=1e-4, atol=1e-5)
    assert read_norm(module).centres == (name == "gpt2")


def test_a_norm_that_adds_one_to_its_weight_is_refused():
    model = architecture("gemma")
    with pytest.raises(InputError, match="not plain layer norm"):
        read_norm(model.network.get_submodule(model.family.final_norm))


@HYPOTHESIS
@given(seed=seeds, factor=st.floats(1e-2, 1e2))
def test_cosine_distance_knows_no_scale_so_the_rows_that_must_agree_do(seed, factor):
    e = factor * normal(30, 12, seed=seed)
    rows = {row["transform"]: row for row in distance_table(e, layer_norm(12))["rows"]}
    for key in ("cosine_mean", "cosine_std"):
        assert rows["original"][key] == pytest.approx(rows["scaled"][key], abs=1e-6)
        assert rows["centered"][key] == pytest.approx(rows["centered and scaled"][key], abs=1e-6)
    # The angle between e and its normalised self is that between e and the plane orthogonal to (1, …, 1).
    share = e.mean(-1).square() * 12 / e.square().sum(-1)
    assert rows["original"]["cosine_mean"] == pytest.approx(float((1 - (1 - share).sqrt()).mean()), abs=1e-9)
    assert rows["original"]["cosine_std"] == pytest.approx(float((1 - (1 - share).sqrt()).std()), abs=1e-9)


def test_where_vectors_have_no_mean_component_the_distance_is_the_difference_of_the_lengths():
    e = normal(40, 12)
    e = e - e.mean(-1, keepdim=True)
    norm = layer_norm(12)
    table = distance_table(e, norm)
    lengths = norm.normalize(e).norm(dim=-1) - e.norm(dim=-1)
    assert table["rows"][0]["l2_mean"] == pytest.approx(float(lengths.abs().mean()))
    assert table["scale"] * table["mean_norm"] == pytest.approx(math.sqrt(12))
    assert table["rows"][0]["cosine_mean"] == pytest.approx(0, abs=1e-12)
    assert table["rows"][1]["cosine_mean"] > 1e-3  # not zero merely because everything is


def test_the_four_lists_are_sorted_and_coincide_without_weight_and_bias():
    e = normal(50, 12)
    plain = Norm(True, 1e-5, torch.ones(12).double(), torch.zeros(12).double())
    for norm, same in ((plain, True), (layer_norm(12), False)):
        scores = token_scores(e, norm)
        listed = {name: extremes(values, 5) for name, values in scores.items()}
        assert sum(map(len, listed.values())) == 40
        for name, rows in listed.items():
            values = [float(scores[name][token]) for _, token in rows]
            assert values == sorted(values, reverse=True)
            assert rows[0][1] == int(scores[name].argmax())
            assert rows[-1] == ("bottom 1", int(scores[name].argmin()))
        assert (len({str(rows) for rows in listed.values()}) == 1) == same


# --- nearest tokens ----------------------------------------------------------------------------------------


@HYPOTHESIS
@given(
    seed=seeds, n=st.integers(1, 6), v=st.integers(1, 60), k=st.integers(1, 12), chunk=st.integers(1, 70),
    whole=st.booleans(),
)  # fmt: skip
def test_nearest_tokens_chunk_by_chunk_are_those_of_brute_force_ties_by_lower_id(seed, n, v, k, chunk, whole):
    queries, rows = normal(n, 3, seed=seed), normal(v, 3, seed=seed ^ 1)
    if whole:  # small whole numbers: many scores are exactly equal
        queries, rows = queries.round(), rows.round()
    found = nearest(queries, Rows(rows), k, chunk)
    scores = queries @ rows.T
    for query in range(n):
        order = sorted(range(v), key=lambda token: (-float(scores[query, token]), token))
        if whole:
            assert found.ids[query].tolist() == order[:k]
            assert [rank(queries[query], Rows(rows), token) for token in order[:3]] == [1, 2, 3][:v]
        torch.testing.assert_close(found.scores[query], scores[query, order[:k]])


def test_no_more_than_a_chunk_of_a_large_vocabulary_is_ever_transformed():
    widths = []

    def transform(rows):
        widths.append(len(rows))
        return rows.double()

    nearest(normal(2, 4), Rows(torch.randn(250_000, 4), transform), 5)
    assert sum(widths) == 250_000
    assert max(widths) <= 4096


# --- the noun probe ----------------------------------------------------------------------------------------


def test_noun_norms_and_layer_sums_are_those_of_the_formula(shipped):
    reading = read_attention(shipped.model, 2)
    nouns = read_nouns(STUDY / "nouns.txt", shipped.vocabulary.encode)
    assert len(nouns.ids) + nouns.dropped == 100
    assert all(shipped.vocabulary.text(token) == word for word, token in zip(nouns.words, nouns.ids, strict=True))
    found = probe_nouns(reading, shipped.embeddings, shipped.readout, shipped.final_norm, nouns.ids, [0, 1, 2, 3], 5)
    e = shipped.embeddings[nouns.ids].double()
    block = shipped.model.blocks[2]
    x = block.ln_1(e.float()).double()
    value = (x @ block.attn.c_attn.weight.double() + block.attn.c_attn.bias.double())[:, 256:]
    out = block.attn.c_proj.weight.double()
    updates = torch.stack([value[:, h * 32 : h * 32 + 32] @ out[h * 32 : h * 32 + 32] for h in range(4)], dim=1)
    torch.testing.assert_close(found["norms"], updates.norm(dim=-1), rtol=0, atol=5e-5)
    torch.testing.assert_close(found["sum_norms"], updates.sum(1).norm(dim=-1), rtol=0, atol=5e-5)
    assert (found["norms"] % 1 > 0).all()  # real numbers, not cut to whole ones
    bias = block.attn.c_proj.bias.double()
    assert torch.equal(found["sum_ids"][:, 0], shipped.model.decode((e + updates.sum(1) + bias).float()).argmax(-1))
    for head in range(4):
        told = shipped.model.decode((e + updates[:, head] + bias).float()).argmax(-1)
        assert torch.equal(found["value_ids"][:, head, 0], told)
    assert bias.abs().max() > 0.1


def test_with_identity_for_norm_and_w_qk_the_nearest_key_is_that_of_brute_force():
    reading = read_attention(architecture("gpt2"), 0)
    one = torch.eye(24).double()[None]
    reading = replace(reading, norm=lambda x: x.double(), query=one, key=one, scale=1.0)
    e = normal(40, 24)
    found = probe_nouns(reading, e, e, layer_norm(24), [3, 17], [0], 4)
    brute = (e[[3, 17]] @ e.T).topk(4).indices
    assert torch.equal(found["key_ids"][:, 0], brute)


def test_a_list_without_a_single_token_is_refused(shipped, tmp_path):
    (tmp_path / "nouns.txt").write_text("supercalifragilistic\nantidisestablishmentarianism\n")
    with pytest.raises(InputError, match="of 2 in .* none is a single token"):
        read_nouns(tmp_path / "nouns.txt", shipped.vocabulary.encode)
    with pytest.raises(InputError, match="cannot be read"):
        read_nouns(tmp_path / "missing.txt", shipped.vocabulary.encode)


def test_the_list_of_nouns_is_100_different_words():
    words = (STUDY / "nouns.txt").read_text().splitlines()
    assert len(set(words)) == len(words) == 100
    assert all(word.isalpha() and word.islower() for word in words)


# --- the singular probe ------------------------------------------------------------------------------------


def test_the_probe_of_heads_works_from_elsewhere_with_its_own_decode(shipped):
    reading = read_attention(shipped.model, 3)
    found = probe_singular_vectors(reading, shipped.embeddings, shipped.readout, [1, 3], 20, 5)
    records = singular_records({3: {**found, "heads": [1, 3]}}, lambda token: f"<{token}>")
    for matrix in ("qk", "vo"):
        log = singular_log(records, matrix, "A model.")
        assert len(re.findall(r"^ +\d+\. '<\d+>'(, '<\d+>'){4} \(\d+\.\d\d\)$", log, re.MULTILINE)) == 2 * 2 * 20
        assert re.findall(r"^Block 3, head (\d)$", log, re.MULTILINE) == ["1", "3"]
    w_vo = reading.vo_factors[0][1] @ reading.vo_factors[1][1].T
    u, values, vh = torch.linalg.svd(w_vo)
    torch.testing.assert_close(found["vo"]["values"][0], values[:32], rtol=1e-5, atol=1e-12)
    e = shipped.readout.double()
    sign = 1 if (e @ vh[0]).max() >= (-e @ vh[0]).max() else -1
    assert found["vo"]["right_ids"][0, 0].tolist() == (e @ vh[0] * sign).topk(5).indices.tolist()
    normed = shipped.model.blocks[3].ln_1(shipped.embeddings).double()
    assert found["vo"]["left_ids"][0, 0].tolist() == (normed @ u[:, 0] * sign).topk(5).indices.tolist()


def test_bias_probes_are_those_of_the_formula_and_a_model_without_biases_says_so(shipped):
    reading = read_attention(shipped.model, 0)
    found = probe_biases(reading, shipped.embeddings, [2], 5)
    block = shipped.model.blocks[0]
    weight, bias = block.attn.c_attn.weight.double(), block.attn.c_attn.bias.double()
    favoured = weight[:, 192:224] @ bias[64:96]  # Wk bq of head 2
    normed = block.ln_1(shipped.embeddings).double()
    assert found["ids"][0, 2].tolist() == (normed @ favoured).topk(5).indices.tolist()
    assert found["ids"][0, 3].tolist() == (-normed @ favoured).topk(5).indices.tolist()
    model = architecture("llama")
    nothing = probe_biases(read_attention(model, 0), model.network.get_input_embeddings().weight, [0], 5)
    records = bias_records({0: {"biases": nothing, "heads": [0]}}, str)
    assert "no biases" in bias_log(records, "A model.")


# --- the phrase --------------------------------------------------------------------------------------------


def test_the_last_state_through_the_final_norm_gives_the_models_own_logits(shipped):
    ids = shipped.vocabulary.sentence("The name of the file to read")
    phrase = read_phrase(shipped.model, ids, -2)
    with torch.inference_mode():
        logits = shipped.model.network(ids[None]).logits[0].double()
    torch.testing.assert_close(
        shipped.final_norm(phrase.states[-1]) @ shipped.readout.double().T, logits, rtol=0, atol=1e-4
    )
    measured = approach(phrase, shipped.readout, shipped.final_norm, 5)
    rows = measured["rows"]
    own = logits[len(ids) - 2]
    assert rows[-1]["dot"] == pytest.approx(float(own[ids[-1]]), abs=1e-4)
    assert rows[-1]["rank"] == 1 + int((own > own[ids[-1]]).sum())
    assert rows[-1]["nearest_ids"][0] == int(own.argmax())
    assert len(rows) == shipped.model.layers + 1
    words = shipped.readout.double()
    gaps = [(words - words[token]).norm(dim=-1).sort().values[1] for token in set(ids.tolist())]
    assert measured["word_spacing"] == pytest.approx(float(torch.stack(gaps).mean()))
    state = shipped.final_norm(phrase.states[3, -2])
    assert rows[3]["smallest_distance"] == pytest.approx(float((words - state).norm(dim=-1).min()))


@pytest.mark.parametrize(
    ("text", "follow", "problem"),
    [
        ("a", -1, "phrase has 1 tokens; a path"),
        (
            "the file",
            2,
            "follow is 2; the phrase has 2 tokens and one must come after the one",
        ),
        ("the file " * 100, -2, "has 200 tokens but tiny-gpt2 reads at most 128"),
    ],
)
def test_a_phrase_that_cannot_be_followed_is_refused(shipped, text, follow, problem):
    with pytest.raises(InputError, match=problem):
        read_phrase(shipped.model, shipped.phrase(text.strip()), follow)


def test_a_phrase_of_characters_that_the_tokenizer_does_not_know_is_one_line(shipped):
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.WordLevel({letter: number for number, letter in enumerate("abc")}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    letters = Vocabulary(PreTrainedTokenizerFast(tokenizer_object=inner, name_or_path="letters"))
    assert replace(shipped, vocabulary=letters).phrase("abba").tolist() == [0, 1, 1, 0]
    with pytest.raises(InputError, match="^trajectory.phrase is 'a b', but the tokenizer of letters cannot read all"):
        replace(shipped, vocabulary=letters).phrase("a b")


def test_principal_components_need_no_package_and_say_their_name(monkeypatch):
    monkeypatch.setattr("traveling_words.projection.find_spec", lambda name: None)
    rows = normal(60, 8).numpy() * [9, 7, 5, 1, 1, 1, 1, 1]
    options = {"neighbors": 5, "min_distance": 0.1, "seed": 0}
    projection = fit_projection("auto", rows, **options)
    assert projection.name == "PCA"
    variances = projection(rows).var(0)
    explained = np.linalg.svd(rows - rows.mean(0), compute_uv=False)[:3] ** 2 / 60
    np.testing.assert_allclose(variances, explained)
    with pytest.raises(InputError, match="umap-learn is not installed"):
        fit_projection("umap", rows, **options)


def test_umap_is_reproducible_and_leaves_word_vectors_in_their_place():
    pytest.importorskip("umap")
    rows = normal(80, 6).numpy()
    options = {"neighbors": 10, "min_distance": 0.1, "seed": 3}
    one, other = (fit_projection("auto", rows, **options) for _ in range(2))
    assert one.name == "UMAP"
    points = rows[:4] + 0.01
    np.testing.assert_array_equal(one(points), other(points))
    np.testing.assert_array_equal(one(points)[1], one(points[1:2])[0])  # wherever else points are placed
    np.testing.assert_allclose(one(rows[:4]), one.places[:4], rtol=1e-6)
    with pytest.raises(InputError, match="takes fewer"):
        fit_projection("umap", rows[:9], **options)


# --- tokens and formats ------------------------------------------------------------------------------------


@HYPOTHESIS
@given(text=st.text(max_size=30))
def test_the_bytes_of_tokens_add_up_to_the_text(shipped, text):
    ids = shipped.vocabulary.encode(text)
    assert b"".join(map(shipped.vocabulary.bytes, ids)) == text.encode("utf-8", "ignore")


def test_tokens_of_sentencepiece_and_beyond_the_tokenizers_end_have_bytes_too():
    class Tokenizer:
        def get_vocab(self):
            return {"\u2581the": 0, "<0x0A>": 1}

    vocabulary = Vocabulary(Tokenizer())
    assert [vocabulary.bytes(token) for token in range(3)] == [b" the", b"\n", b"[unused 2]"]
    assert vocabulary.text(1) == "\n"


NASTY = [
    "50%",
    "a_b",
    "\\",
    "\n",
    " ",
    "{x}",
    "$#&",
    "~^",
    "é",
    "日本",
    "\u0301",
    "--",
    "<|end|>",
    "`'\"",
    "�",
    "\x00",
    "||",
]


@HYPOTHESIS
@given(token=st.one_of(st.sampled_from(NASTY), st.text(max_size=8)))
def test_a_token_in_latex_is_ascii_balanced_and_without_bare_specials(token):
    set_ = latex(token)
    assert set_.isascii()
    assert set_.isprintable()
    bare = re.sub(r"\\text[a-z]+\{\}|\\[#$%&_{}]|\{-\}", "", set_)
    assert not re.search(r"[\\{}$&#%_~^<>|\"'`-]", bare)


def test_latex_tables_compile(tmp_path):
    rows = [{"pair": n, "value": 0.5, "left": NASTY[n : n + 3], "right": NASTY[-3:]} for n in range(len(NASTY))]
    fragment = latex_tables(["WQK, block 0", "50% & more_"], [rows, rows])
    assert fragment.isascii()
    assert fragment.count(r"\begin{tabular}") == fragment.count(r"\end{tabular}") == 2
    for line in fragment.splitlines():
        if line.endswith(r"\\"):
            assert len(re.findall(r"(?<!\\)&", line)) == 3
    if shutil.which("pdflatex") is None:
        pytest.skip("no LaTeX here: only the syntax was checked")
    (tmp_path / "t.tex").write_text(fragment)
    document = (
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{textcomp}\begin{document}\input{t}\end{document}"
    )
    (tmp_path / "d.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "d.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout[-800:]


def test_tables_keep_every_token_whole():
    records = [{"head": n, "token": token, "tokens": [token, "b"]} for n, token in enumerate(NASTY)]
    back = list(csv.DictReader(to_csv(records).splitlines(keepends=True)))
    assert [row["token"] for row in back] == NASTY
    assert [row["tokens_1"] for row in back] == NASTY
    lines = to_markdown(records).splitlines()
    assert len(lines) == 2 + len(NASTY)
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 4 for line in lines)
    assert visible(" a\n\u0301") == "␣a\\nU+0301"


# --- settings ----------------------------------------------------------------------------------------------


def changed(tmp_path, **changes):
    raw = yaml.safe_load((STUDY / "params.yaml").read_text()) | changes
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path / "params.yaml"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"modle": "gpt2"}, "unknown key modle (did you mean 'model'?)"),
        ({"k": 0}, "k is 0; it must be at least 1"),
        ({"k": 2}, "singular.table_words is 3 but only k = 2"),
        ({"trajectory": {"phrase": "a b"}}, "trajectory.follow is missing"),
        ({"blocks": ["0"]}, "blocks[0] is '0'; it must be a whole number"),
        ({"blocks": []}, "blocks is []; list at least one, or null for the default"),
        ({"heads": []}, "heads is []; list at least one, or null for the default"),
        ({"blocks": [0, 2, 0]}, "blocks is [0, 2, 0]; list different numbers from 0"),
        ({"heads": [1, 1]}, "heads is [1, 1]; list different numbers from 0"),
        ({"heads": [-1]}, "heads is [-1]; list different numbers from 0"),
        ({"nouns": ""}, "nouns is ''; it must be text"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(tmp_path, changes, problem):
    with pytest.raises(InputError) as refused:
        study.read(changed(tmp_path, **changes))
    assert problem in str(refused.value)
    assert "\n" not in str(refused.value)


def test_blocks_and_heads_are_chosen_and_checked(tmp_path, monkeypatch):
    plain = study.read(STUDY / "params.yaml")
    assert plain.chosen_blocks(12) == [0, 5, 11]
    assert plain.chosen_blocks(1) == [0]
    assert plain.chosen_heads(3) == [0, 1, 2]
    chosen = study.read(changed(tmp_path, blocks=[4, 1]))
    assert chosen.chosen_blocks(6) == [1, 4]
    with pytest.raises(InputError, match="blocks names 4, but this model has blocks 0 to 3"):
        chosen.chosen_blocks(4)
    monkeypatch.chdir(STUDY.parents[1])
    with pytest.raises(InputError, match="did you mean 'tiny-gpt2'"):
        study.read(changed(tmp_path, model="tiny-gp2")).registered()


# --- the pipeline ------------------------------------------------------------------------------------------

DRIVER = """
import os, runpy, socket, sys
def refuse(*args, **kwargs):
    raise AssertionError("a stage opened a connection")
socket.socket.connect = refuse
for script in sys.argv[1:]:
    sys.path.insert(0, os.path.dirname(script))
    sys.argv = [script]
    runpy.run_path(script, run_name="__main__")
"""


def make_toy(folder):
    make_checkpoint(folder / "toy", "gpt2", ["time day man hand part place work week case point number group"] * 4)
    root = yaml.safe_load((STUDY.parents[1] / "params.yaml").read_text())
    root["registry"]["toy"] = {"path": "toy", "revision": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(root))
    own = yaml.safe_load((STUDY / "params.yaml").read_text())
    own |= {"model": "toy", "nouns": "nouns.txt"}
    own["trajectory"] |= {"projection": "pca", "phrase": "time day man hand"}
    (folder / "studies" / "traveling_words").mkdir(parents=True)
    (folder / study.PARAMS).write_text(yaml.safe_dump(own))
    (folder / "nouns.txt").write_text("\n".join("abcdefgh"))


def start(folder, hash_seed, scripts=SCRIPTS):
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *map(str, scripts)], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process):
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors[-2000:]
    return out


def results(folder):
    root = folder / "studies"
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "params.yaml"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def test_two_runs_give_the_same_bytes_and_the_whole_report(tmp_path, monkeypatch):
    """One test for all that needs the stages to have run, since they take seconds to start."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("plotly")
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    make_toy(first)
    shutil.copytree(first, second)
    # The second runs its probes twice: they find their blocks done, and nothing is appended.
    processes = [start(first, "1"), start(second, "4242", [*SCRIPTS[:3], *SCRIPTS[1:]])]
    outs = [finished(process) for process in processes]
    assert [out.count("(2 resumed)") for out in outs] == [0, 2]
    assert "attention from the weights" in outs[0]
    one, other = results(first), results(second)
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []
    check_report(first, {name.partition("toy/")[2] for name in one})
    check_page((first / "studies/traveling_words/plots/toy/html/trajectory.html").read_text())
    monkeypatch.chdir(second)
    check_mixture()


def check_report(folder, found):
    tables = ("token_scores", "noun_keys", "noun_values", "singular_pairs", "singular_coverage", "approach")
    wanted = {f"{name}.{kind}" for name in tables for kind in ("json", "csv", "md")}
    wanted |= {"common_noun_logs_qk.txt", "common_noun_logs_vo.txt", "svd_qk_logs.txt", "svd_vo_logs.txt"}
    wanted |= {"key_query_bias_logs.txt", "svd_qk_block_0.tex", "svd_vo_block_1.tex"}
    wanted |= {f"{kind}/{name}.{kind}" for kind in ("png", "pdf") for name in ("trajectory_panels", "trajectory_path")}
    assert wanted <= found
    log = (folder / "studies/traveling_words/tables/toy/common_noun_logs_vo.txt").read_text()
    assert "each noun attends only to itself" in log
    assert len(re.findall(r"^  Layer Sum \(norm \d+\.\d{4}\): ", log, re.MULTILINE)) == 2 * 8
    metrics = json.loads((folder / "studies/traveling_words/metrics/toy/metrics.json").read_text())
    assert metrics["attention_error"] < 1e-4
    assert metrics["trajectory"]["projection"] == "PCA"


def check_page(page):
    """It needs nothing from elsewhere."""
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert "Plotly.newPlot" in page
    assert len(page) > 1_000_000  # plotly's own code is inside


def check_mixture():
    """Results of different weights are not reported together."""
    folders = study.Folders("toy")
    assert set(report.load(folders).heads) == {0, 1}
    card = folders.heads / "card.json"
    card.write_text(card.read_text().replace('"weights_sha256": "', '"weights_sha256": "0'))
    with pytest.raises(InputError, match="different weights"):
        report.load(folders)


# --- the scripts and dvc.yaml ------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [*SCRIPTS, *BY_HAND], ids=lambda path: path.stem)
def test_a_script_is_a_short_recipe_whose_help_teaches(script):
    assert len(script.read_text().splitlines()) <= 60
    command = [sys.executable, "-X", "importtime", str(script), "--help"]
    run = subprocess.run(command, cwd=STUDY, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr[-500:]
    for heading in ("Reads ", "Writes ", f"Example: python studies/traveling_words/{script.name}"):
        assert re.search(rf"^{heading}", run.stdout, re.MULTILINE), heading
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines()}
    assert "argparse" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "transformers", "matplotlib", "plotly", "umap", "tqdm"})


METHODS = {"chosen_blocks": "blocks", "chosen_heads": "heads", "registered": "model"}


def test_every_stage_of_dvc_yaml_lists_the_settings_its_script_reads_and_no_other():
    raw = yaml.safe_load((STUDY / "params.yaml").read_text())
    for stage in yaml.safe_load((STUDY / "dvc.yaml").read_text())["stages"].values():
        source = (STUDY.parents[1] / stage["cmd"].split()[-1]).read_text()
        read = {METHODS.get(name, name) for name in re.findall(r"(?<!import )\bsettings\.(\w+(?:\.\w+)?)", source)}
        listed = {key for key in stage["params"] if isinstance(key, str)}  # of the study's own params.yaml
        assert {key.partition(".")[0] for key in listed} <= set(raw)
        assert read - {"model"} <= listed, stage["cmd"]
        assert listed - read <= {"model"}, stage["cmd"]
        assert {"../../params.yaml": ["registry.${model}"]} in stage["params"]


def test_the_readmes_example_runs(repository, monkeypatch, capsys):
    example = re.search(r"```python\n(.*?)```", (STUDY / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    monkeypatch.chdir(repository)
    exec(compile(example, "README", "exec"), {})
    assert re.search(r"^vo 1 \[.* -> \[' into'", capsys.readouterr().out, re.MULTILINE)


@given(seeds)
@HYPOTHESIS
def test_the_share_of_ids_that_two_lists_have_in_common_is_that_of_sets(seed):
    rng = np.random.default_rng(seed)
    a, b = (np.stack([rng.permutation(7)[:4] for _ in range(6)]).reshape(2, 3, 4) for _ in range(2))
    expected = np.mean(
        [len({*one} & {*other}) / 4 for one, other in zip(a.reshape(6, 4), b.reshape(6, 4), strict=True)]
    )
    assert shared(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected)
    assert shared(torch.from_numpy(a), torch.from_numpy(a[..., ::-1].copy())) == 1

"""Every lens on the same states: what is compared, with which intervals, and what a reader is told."""

import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import torch

from lenses import comparison, figures, fitted, page, report, settings as study, text
from linear_shortcuts import InputError
from linear_shortcuts.files import artifacts
from linear_shortcuts.lenses.closed_form import lenses as closed_forms, regressions
from linear_shortcuts.lenses.lens_set import LensSet
from linear_shortcuts.scores.latent import Item
from linear_shortcuts.states.extraction import extract
from linear_shortcuts.text.tokens import Tokens

STUDY = Path(__file__).resolve().parents[2] / "studies" / "lenses"


@pytest.fixture(scope="module")
def model():
    return tiny.model("gpt2")


@pytest.fixture(scope="module")
def states(model):
    return extract(model, tiny.tokens(model, 200), 0, 200, 1000).hidden_states


@pytest.fixture(scope="module")
def lenses(model, states):
    """id, mat (here a stand-in), affine, low rank and the controls."""
    found = {"id": LensSet.identity(model)}
    for variant in fitted.VARIANTS:
        parts = fitted.Parts([states], [0, 1, 2], variant, seed=0)
        made = {}
        for source, regression in enumerate(regressions(parts)):
            own = closed_forms(source, 3, regression, [2], [0.1])
            if variant == "all":
                own |= {"mat": own["ridge"], fitted.RANDOM: fitted.random_lens(own["affine"], regression, 0)}
            else:
                own = {f"affine_{variant}": own["affine"]}
            for name, lens in own.items():
                made.setdefault(name, {}).update(lens.tensors)
        for name, tensors in made.items():
            card = fitted.card(model, name, 1.5, vectors=200)
            found[name] = LensSet.of_tensors(tensors, card, [0, 1, 2], 3)
    return found


@pytest.fixture
def found(model, states, lenses, tmp_path, monkeypatch):
    """What the report reads, of one model."""
    monkeypatch.setattr(study, "STUDY", tmp_path)
    folders = study.Folders("toy", "docstrings")
    truth = torch.arange(200) % 9 - 1
    read = text.Validation(states, truth, 1 + truth.clamp(min=0), "0")
    values = {layer: comparison.at_layer(model, lenses, layer, read) for layer in (0, 2)}
    artifacts.save(folders.agreement, {"values": values, "bytes": read.bytes, "costs": comparison.costs(lenses)})
    items = [Item(str(n), torch.tensor([5, 6, 7 + n]), 2, [[n], [n + 1, n + 2]]) for n in range(20)]
    ranks = comparison.word_ranks(model, lenses, items, [0, 2])
    artifacts.save(folders.latent, {"ranks": {"typo": ranks}, "words": {"typo": [2] * 20}, "layers": [0, 2]})
    return report.Found(study.read(STUDY / "params.yaml"), "toy")


def test_a_lens_differs_from_itself_by_exactly_0_and_what_is_decided_is_seen(found):
    for lens in found.lenses:
        assert set(found.difference(lens, lens, "kl").values()) == {0.0}
    assert found.difference("affine", "id", "kl")["high"] < 0
    assert found.beats_controls("affine")
    assert not found.beats_controls(fitted.SHUFFLED)


def test_tables_hold_every_lens_layer_and_measure_and_agreement_stands_apart_from_latent(found, lenses):
    table = report.agreement_table(found)
    assert {r["lens"] for r in table} == set(lenses)
    assert {r["layer"] for r in table} == {0, 2, "mean"}
    assert {"kl", "kl_bits", "cross_entropy_bits", "p1", "p10", "r2"} <= {r["measure"] for r in table}
    for record in table:
        if record["measure"] != "r2":
            assert record["low"] <= record["value"] <= record["high"]
            if record["lens"] == "mat":
                assert (record["minus_mat_low"], record["minus_mat_high"]) == (0, 0)
    latent = report.latent_table(found)
    assert {r["set"] for r in latent} == {"typo"}
    best = {(r["layer"], r["k"]): r["value"] for r in latent if r["lens"] == "affine"}
    assert all(best["any", k] >= max(best[0, k], best[2, k]) for k in (1, 5, 10))


def test_the_page_answers_with_numbers_and_says_what_was_not_measured(found):
    makers = (report.agreement_table, report.latent_table, report.costs_table)
    made = dict(zip(("agreement", "latent", "costs"), (make(found) for make in makers), strict=True))
    parts = page.parts([found], made)
    assert "Does `tuned` beat `affine`? Its KL minus `affine`'s: not measured yet." in parts["answers"]
    assert "KL of `ridge` minus `affine`'s: " in parts["answers"]
    assert parts["summary"].count("\n| ") == len(found.lenses) + 2
    assert "| typo |" in parts["latent"]
    assert "200 vectors" in parts["costs"]
    drawn = [figures.agreement_figure(made["agreement"], ["toy"]), figures.latent_figure(made["latent"], "toy")]
    drawn.append(figures.pairs_figure(report.pairs_table(found), "toy"))
    drawn.append(figures.costs_figure(made["costs"], ["toy"]))
    for figure in drawn:
        figure.draw_without_rendering()
        figure.clear()
    assert set(report.metrics(made, ["toy"])["toy"]["affine"]) == {"kl", "p1"}
    assert [r["cosine"] for r in report.floor_table(found)] == [found.cosines[0], found.cosines[2]]


def test_variants_see_either_half_or_targets_of_other_rows(states):
    parts = {variant: next(iter(fitted.Parts([states], [1], variant, 0))) for variant in fitted.VARIANTS}
    assert torch.equal(torch.cat([parts["first"][1], parts["second"][1]]), states[-1])
    shuffled = parts["shuffled"][1]
    assert torch.equal(parts["shuffled"][0], parts["all"][0])
    assert not torch.equal(shuffled, states[-1])
    assert torch.equal(shuffled.sort(0).values, states[-1].sort(0).values)


def test_a_random_lens_has_affines_norm_and_is_right_on_average(lenses, states):
    random, affine = (lenses[name][1] for name in (fitted.RANDOM, "affine"))
    torch.testing.assert_close(random.factors[0].norm(), affine.factors[0].norm())
    torch.testing.assert_close(random.transport(states[1]).mean(0), states[-1].mean(0), atol=1e-3, rtol=1e-3)
    assert torch.nn.functional.cosine_similarity(*(m.factors[0].flatten() for m in (random, affine)), dim=0).abs() < 0.2


def test_the_true_next_token_is_the_one_after_and_unknown_where_none_can_be(model):
    tokens = Tokens([torch.tensor([5, 6, 7]), torch.tensor([8, 9])], torch.tensor([1, 1]))
    assert text.true_next(tokens, causal=True).tolist() == [7, -1]
    assert text.true_next(tokens, causal=False).tolist() == [-1, -1]


def test_states_of_rows_are_those_of_the_pipeline(model):
    tokens = tiny.tokens(model, 1)
    ids = tokens.sentences[0]
    expected = extract(model, tokens, 0, 1, 100, "all").hidden_states
    torch.testing.assert_close(text.states_of(model, ids[None])[:, 0], expected, atol=1e-5, rtol=1e-4)


def test_lenses_that_were_not_fitted_are_asked_for_by_the_stage_that_fits_them(model, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "STUDY", tmp_path)
    with pytest.raises(InputError, match=r"run studies/lenses/04_fit_tuned\.py first"):
        fitted.load(study.Folders("toy", "docstrings"), ["tuned"], model)


@pytest.mark.parametrize(
    ("line", "words"),
    [("ranks: [0]", "ranks"), ("rows: {length: 5, skipped: 4}", "lower it"), ("groups: [other]", "groups")],
)
def test_wrong_settings_end_in_one_line(tmp_path, line, words):
    import yaml

    value = yaml.safe_load((STUDY / "params.yaml").read_text()) | yaml.safe_load(line)
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(value))
    with pytest.raises(InputError, match=words):
        study.read(tmp_path / "params.yaml")


def test_help_says_what_is_read_and_written_before_anything_heavy_is_loaded():
    script = STUDY / "05_score_agreement.py"
    command = [sys.executable, "-X", "importtime", str(script), "--help"]
    run = subprocess.run(command, cwd=STUDY.parents[1], capture_output=True, text=True, timeout=60, check=True)
    for heading in ("Reads ", "Writes ", "Example: python studies/lenses/05_score_agreement.py"):
        assert heading in run.stdout
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in run.stderr.splitlines()}
    assert "argparse" in loaded
    assert loaded.isdisjoint({"torch", "numpy", "transformers"})


def test_the_scripts_are_recipes():
    for script in STUDY.glob("[0-9]*.py"):
        assert len(script.read_text(encoding="utf-8").splitlines()) <= 65, script.name

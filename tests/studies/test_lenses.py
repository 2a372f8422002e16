"""Every lens on the same states: what is compared, with which intervals, and what a reader is told."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from time import process_time

import pytest
import tiny
import torch

from lenses import (
    answers,
    comparison,
    figures,
    fitted,
    kept,
    page,
    randomness,
    report,
    settings as study,
    text,
    verdicts,
)
from linear_shortcuts import InputError, load_model, load_tokenizer
from linear_shortcuts.files import artifacts, documents
from linear_shortcuts.lenses import closed_form, jacobian
from linear_shortcuts.lenses.closed_form import regressions
from linear_shortcuts.lenses.lens_set import LensSet
from linear_shortcuts.scores.latent import Item
from linear_shortcuts.settings import Model
from linear_shortcuts.states.extraction import extract
from linear_shortcuts.text.tokens import Tokens

STUDY = Path(__file__).resolve().parents[2] / "studies" / "lenses"
SPENT = {"seconds": 1.5, "peak_gib": 0.5}
REGRESSED = [variant for variant in fitted.VARIANTS if variant != fitted.MAT]


@pytest.fixture(scope="module")
def model():
    return tiny.model("gpt2")


@pytest.fixture(scope="module")
def states(model):
    return extract(model, tiny.tokens(model, 200), 0, 200, 1000).hidden_states


@pytest.fixture(scope="module")
def lenses(model, states):
    """id, mat (here a stand-in), affine, low rank and the controls."""
    found, settings = {"id": LensSet.identity(model)}, replace(study.read(STUDY / "params.yaml"), ranks=(2,))
    for variant in REGRESSED:
        parts = fitted.Parts([states], [0, 1, 2], variant, seed=0)
        made = {}
        for source, regression in enumerate(regressions(parts)):
            own = fitted.lenses_of(variant, source, 3, regression, settings)
            for name, lens in own.items() if variant != "all" else {**own, "mat": own["ridge"]}.items():
                made.setdefault(name, {}).update(lens.tensors)
        for name, tensors in made.items():
            card = fitted.card(model, name, [SPENT], vectors=200)
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
    monkeypatch.setattr(study.Settings, "registered", lambda self, model: Model(path="toy", revision=None))
    scored = {"values": values, "bytes": read.bytes, "costs": comparison.costs(lenses), "card": {"type": "gpt2"}}
    artifacts.save(folders.agreement, scored)
    items = [Item(str(n), torch.tensor([5, 6, 7 + n]), 2, [[n], [n + 1, n + 2]]) for n in range(20)]
    ranks = comparison.word_ranks(model, lenses, items, [0, 2])
    artifacts.save(
        folders.latent,
        {"ranks": {"typo": ranks}, "words": {"typo": [2] * 20}, "left_out": {"typo": 3}, "layers": [0, 2]},
    )
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


@pytest.fixture
def made(found):
    """All tables of the report, as 07_report.py makes them."""
    return {name: make(found) for name, make in {**report.MAKERS, "answers": answers.answers_table}.items()}


def test_the_page_is_made_from_what_is_kept_and_marks_what_does_not_beat_its_control(found, made, tmp_path):
    run = kept.chosen(made, "toy")
    kept.save(tmp_path / "toy" / "docstrings.json", run)
    [(model, read)] = kept.runs(tmp_path)
    assert (model, read) == ("toy", run)
    assert "toy-summary" in page.parts([("toy", run)])
    elsewhere = {**run, "runs": [{**run["runs"][0], "corpus": "other"}]}  # for the sake of transfer alone
    assert "toy-summary" not in page.parts([("toy", elsewhere)])
    summary = page.summary(run)
    assert summary.count("\n| ") == len(found.lenses) + 1
    [line] = [line for line in summary.splitlines() if line.startswith("| id")]
    assert "does not beat" not in line
    assert "| lens | all | typo |" in page.latent(run)
    assert "200 vectors" in page.costs(run)
    r2 = {r["lens"]: r["value"] for r in made["agreement"] if (r["measure"], r["layer"]) == ("r2", "mean")}
    [line] = [line for line in page.more(run).splitlines() if line.startswith("| affine ")]
    assert float(line.split("|")[-2]) == pytest.approx(r2["affine"], abs=1e-3)
    weak = {**run["costs"][0], "lens": "mat", "beats_controls": False}
    assert "mat (does not beat its control)" in page.summary({**run, "costs": [weak]})
    assert report.metrics(made, ["toy"])["toy"]["affine"].keys() == {"kl", "p1"}
    assert [r["cosine"] for r in made["floor"]] == [found.cosines[layer]["affine"] for layer in (0, 2)]
    assert "| 20 (40 of 43 words) |" in page.read([("toy", run)])


def test_a_model_of_random_weights_stands_beside_the_trained_one_and_answers_nothing(made):
    run = kept.chosen(made, "toy")
    [told] = run["runs"]
    control = {**run, "runs": [{**told, "of": "toy"}]}
    parts = page.parts([("toy", run), ("toy-random", control)])
    assert parts["answer-4"] == page.answer([("toy", run)], 4)
    assert "toy-random" in parts["runs"]
    [line] = [line for line in parts["toy-random-beside"].splitlines() if line.startswith("| affine ")]
    cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
    assert cells[::2] == cells[1::2]  # the same run on either side


def test_every_figure_is_drawn_from_the_tables(made):
    drawn = figures.of(made, "toy")
    assert set(drawn) == {"agreement", "costs", "pairs", "latent"}
    for figure in drawn.values():
        figure.draw_without_rendering()
        figure.clear()
    assert "latent" not in figures.of({**made, "latent": []}, "toy")


def test_sets_in_which_no_lens_finds_a_word_are_named_and_the_others_share_a_scale():
    table = [
        {"set": kind, "lens": lens, "layer": layer, "k": 5, "value": value, "low": 0.0, "high": value}
        for kind, value in {"typo": 0.2, "poetry": 0.0, "multihop": 0.6}.items()
        for lens in ("id", "mat")
        for layer in (0, 1)
    ]
    figure = figures.latent_figure(table)
    panels = {axis.get_title(): axis for axis in figure.axes if axis.axison}
    assert set(panels) == {"typo", "multihop"}
    assert panels["typo"].get_ylim() == panels["multihop"].get_ylim()
    assert figure.get_suptitle().endswith("of: poetry")


def test_answers_are_differences_shares_and_where_they_are_decided(found, made):
    kept_share, p1_share, floor, _ = made["answers"]
    assert (kept_share["lens"], kept_share["minus"], floor["minus"]) == ("low_rank_2", answers.KEPT, "affine_second")
    kl = {lens: found.agreement[lens, "kl"].mean() for lens in ("id", "mat", "low_rank_2")}
    share = (kl["low_rank_2"] - kl["id"]) / (kl["mat"] - kl["id"])
    assert kept_share["value"] == pytest.approx(float(share))
    assert kept_share["low"] <= kept_share["value"] <= kept_share["high"]
    assert p1_share["measure"] == "p1"
    assert floor["better"] + floor["worse"] <= floor["layers"] == 2
    whole = found.agreement["mat", "kl"].mean(0)
    assert found.ratio(whole, whole) == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert "share of `mat`'s gain in KL that `low_rank_2` keeps" in page.answer([("toy", kept.chosen(made, "toy"))], 4)


@pytest.mark.parametrize(
    ("low", "high", "sign", "verdict"), [(1, 2, 1, 1), (1, 2, -1, -1), (-2, -1, -1, 1), (-1, 1, 1, 0)]
)
def test_what_is_decided_depends_on_whether_more_is_better(low, high, sign, verdict):
    assert answers.decided({"low": low, "high": high}, sign) == verdict


def test_the_page_shows_the_runs_that_are_kept():
    text = (STUDY / "README.md").read_text(encoding="utf-8")
    parts = page.parts(list(kept.runs(STUDY / "results")))
    assert documents.filled(text, parts, "README.md") == text
    assert {"smollm2-135m-instruct-q4-latent", "tiny-bert-summary", "tiny-gpt2-summary"} <= set(parts)
    gained = re.search(r"by ([\d.]+) \[", parts["verdict-1"])[1]  # on the real model, which comes first
    assert f"gains {gained} nats over the closed form" in (STUDY.parents[1] / "README.md").read_text(encoding="utf-8")


def _run(lens, minus, **measures):
    """A kept run that has three numbers of each measure of one difference, at two layers."""
    known = {"lens": lens, "minus": minus, "question": 1, "n": 9, "better": 1, "worse": 0, "layers": 2}
    records = [
        {**known, "measure": measure, "value": value, "low": low, "high": high}
        for measure, (low, value, high) in measures.items()
    ]
    cost = [{"lens": name, "seconds": 2.5} for name in ("affine", "tuned", "future", "jacobian")]
    layers = [{"lens": name, "layer": 0, "measure": "kl", "value": 1.5} for name in ("affine", "tuned")]
    return {"answers": records, "costs": cost, "by_layer": layers, "runs": [{"layers": [0], "corpus": "docstrings"}]}


def test_a_verdict_says_less_more_or_undecided_as_the_interval_does():
    less = _run("tuned", "affine", kl=(-0.3, -0.2, -0.1), p1=(-0.1, 0, 0.1))
    more = _run("tuned", "affine", kl=(0.1, 0.2, 0.3), p1=(0.1, 0.2, 0.3))
    said = verdicts.tuned([("a", less)])
    assert said.startswith(
        "**Yes.** `tuned` has less KL than `affine`, by 0.200 [0.100, 0.300] nats on a (n = 9, at 1 of 2 layers). In "
        "Precision@1 nothing is decided between `tuned` and `affine`: 0.000 [-0.100, 0.100] on a (n = 9)."
    )
    assert "2.5 on a (2.5)" in said
    both = verdicts.tuned([("a", less), ("b", more)])
    assert both.startswith(
        "**Not everywhere.** `tuned` has more KL than `affine`, by 0.200 [0.100, 0.300] nats on b (n = "
    )
    assert "; `tuned` has less KL than `affine`, by 0.200 [0.100, 0.300] nats on a" in both
    assert verdicts.tuned([("b", more)]).startswith("**No.**")
    assert verdicts.agreeing([("a", less), ("b", more)]).startswith(
        "Of 2 comparisons of all 2 models 0 come out the same"
    )
    assert verdicts.agreeing([("a", less), ("b", less)]).endswith(
        "1 come out the same way; the exception is Precision@1 of `tuned` − `affine`."
    )
    assert verdicts.jacobian([("a", less)]) == verdicts.transfer([("a", less)]) == ""


def test_transfer_is_told_beside_the_floor_of_a_second_fit():
    run = _run("mat@other", "mat", kl=(0.1, 0.2, 0.3))
    floor = _run("affine_first", "affine_second", kl=(-0.1, 0, 0.1))["answers"]
    order = _run("tuned@other", "affine@other", kl=(-0.3, -0.2, -0.1))["answers"]
    run["answers"] = [{**record, "question": 5} for record in run["answers"] + floor + order]
    assert verdicts.transfer([("a", run)]) == (
        "Without loss: **no.** On a (n = 9) lenses fitted on other differ in KL from those fitted there, `mat` by "
        "0.200 [0.100, 0.300] nats; the floor, two fits on the same text, differ, `affine` by 0.000 [-0.100, 0.100]. "
        "There `tuned@other` differs from `affine@other` by -0.200 [-0.300, -0.100] nats."
    )


def test_variants_see_either_half_or_targets_of_other_rows(states):
    parts = {variant: next(iter(fitted.Parts([states], [1], variant, 0))) for variant in REGRESSED}
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


def test_random_weights_keep_the_shape_and_forget_what_was_learnt(model, tmp_path, repository):
    tokenizer = load_tokenizer(repository / "models" / "tiny-gpt2")
    network = randomness.redrawn(model.network, seed=0)
    own, drawn = model.network.state_dict(), network.state_dict()
    assert {name: value.shape for name, value in own.items()} == {name: value.shape for name, value in drawn.items()}
    matrices = [name for name, value in own.items() if value.ndim == 2]
    assert not any(torch.equal(own[name], drawn[name]) for name in matrices)
    randomness.save(randomness.redrawn(model.network, seed=0), tokenizer, tmp_path / "random")
    read = load_model(tmp_path / "random").network.state_dict()
    assert all(torch.equal(read[name], drawn[name]) for name in matrices)  # one seed, one model
    assert not torch.equal(randomness.redrawn(model.network, seed=1).state_dict()[matrices[0]], drawn[matrices[0]])


def test_lenses_of_another_corpus_are_named_after_it_without_controls(model, lenses, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "STUDY", tmp_path)
    for corpus in ("docstrings", "other"):
        own = {name: lens_set for name, lens_set in lenses.items() if name != "id"}
        fitted.save(study.Folders("toy", corpus).fitted("closed_forms"), own)
    settings = replace(
        study.read(STUDY / "params.yaml"),
        groups=("closed_forms",),
        transfer=study.Transfer(corpus="other", groups=("closed_forms",)),
    )
    found = fitted.load_all(settings, study.Folders("toy", "docstrings"), model)
    assert set(lenses) < set(found)
    elsewhere = {name for name in found if name.endswith("@other")}
    assert elsewhere == {f"{name}@other" for name in lenses if name not in ("id", *fitted.CONTROLS)}
    alone = replace(settings, transfer=study.Transfer(corpus=None, groups=("closed_forms",)))
    assert set(fitted.load_all(alone, study.Folders("toy", "docstrings"), model)) == set(lenses)


def test_the_penultimate_target_reads_itself_as_it_is(model, tmp_path, monkeypatch):
    monkeypatch.setattr(study, "STUDY", tmp_path)
    folders = study.Folders("toy", "docstrings")
    card = fitted.card(model, "jacobian", [SPENT])
    rows = list(torch.randn(2, 2, model.width, model.width))
    made = {kind: jacobian.lens_set(rows, "jacobian", 2, card) for kind in ("final", fitted.PENULTIMATE)}
    fitted.save(folders.fitted("jacobian"), made)
    found = fitted.load(folders, ["jacobian"], model)
    assert set(found) == {"id", "jacobian", "jacobian_penultimate"}
    assert (list(found["jacobian"]), list(found["jacobian_penultimate"])) == ([0, 1], [0, 1, 2])
    h = torch.randn(3, model.width)
    assert torch.equal(found["jacobian_penultimate"][2].transport(h), h)


def test_the_jacobian_lens_of_all_rows_is_the_mean_of_those_of_its_halves(model):
    """To the last layer alone; where there is one row only there are no halves."""
    rows, card = list(torch.randn(4, 2, model.width, model.width)), fitted.card(model, "jacobian", [SPENT])
    made = fitted.jacobians(rows, fitted.FINAL, 3, card)
    assert set(made) == {"final", "jacobian_first", "jacobian_second"}
    whole, first, second = (own[1].matrix for own in made.values())
    torch.testing.assert_close(whole, (first + second) / 2)
    assert set(fitted.jacobians(rows, fitted.PENULTIMATE, 2, card)) == {"penultimate"}
    assert set(fitted.jacobians(rows[:1], fitted.FINAL, 3, card)) == {"final"}


def test_parts_made_anew_are_those_in_memory(model):
    """What 02_fit_future.py reads batch by batch: only the positions that count, in every pass again."""
    ids = torch.stack([tiny.tokens(model, 8, seed=n).sentences[0].repeat(9)[:9] for n in range(8)])
    states, positions = text.states_of(model, ids), slice(2, 8)
    whole = [closed_form.future_part(states, 3, positions, causal=True)]
    stored = {f"{first}": states[:, first : first + 3, positions] for first in range(0, 8, 3)}
    parts = fitted.Anew(lambda name: text.ahead(model, stored[name]), stored)
    for one, other in zip(regressions(parts), regressions(whole), strict=True):
        torch.testing.assert_close(one.matrix(), other.matrix(), atol=1e-6, rtol=1e-6)
    firsts = [first for first, _ in text.batches(torch.zeros(2 * text.ROWS + 1, 4))]
    assert firsts == [0, text.ROWS, 2 * text.ROWS]


def test_a_fit_costs_the_seconds_of_all_its_parts_and_the_memory_of_the_largest(model):
    began = process_time()
    sum(range(10**6))
    part = fitted.spent(began)
    assert 0 < part["seconds"] <= process_time() - began
    assert 0.01 < part["peak_gib"] < 100
    card = fitted.card(model, "tuned", [SPENT, {"seconds": 2.0, "peak_gib": 0.7}, SPENT], vectors=3)
    assert card["fit"] == {"vectors": 3, "seconds": 5.0, "peak_gib": 0.7}


def test_the_report_of_other_settings_lies_in_a_folder_of_their_name():
    assert study.Report(study.PARAMS).tables == study.STUDY / "tables"
    assert study.Report(STUDY / "smollm2.yaml").metrics == study.STUDY / "runs" / "smollm2" / "metrics" / "metrics.json"


def test_the_settings_of_the_real_model_can_be_read_and_no_text_is_another_than_itself():
    settings = study.read(STUDY / "smollm2.yaml")
    assert settings.models == ("smollm2-135m-instruct-q4",)
    with pytest.raises(InputError, match="name another one"):
        replace(settings, transfer=study.Transfer(corpus=settings.corpus, groups=("closed_forms",)))

"""What shorter models lose: numbers against plain forward passes, words against a reader, the page against its data."""

import json
import re

import pytest
import tiny
import torch

from linear_shortcuts.files import InputError, Partial, artifacts, documents
from linear_shortcuts.shorten.surgery import Cut, without
from linear_shortcuts.text.article_rows import Row
from shorter_models import calibration, cloze, figures, judgements, page, report, settings as study


class Letters:
    """A tokenizer whose tokens are words with the space before them, and marks."""

    def __init__(self, text):
        self.pieces = re.findall(r"\s?\w+|[^\w\s]|\s", text)

    def decode(self, ids, **options):
        return self.pieces[ids[0]]


def row(model, seed, article):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(tiny.MASK + 1, tiny.VOCABULARY, (tiny.CONTEXT,), generator=generator)
    labels = torch.full_like(ids, -100)
    labels[:-1] = ids[1:]
    return Row(ids, labels, article)


@pytest.fixture
def settings(repository):
    own = study.read(repository / "studies" / "shorter_models" / "params.yaml")
    return study.Settings(
        **{
            **vars(own),
            "models": ("toy",),
            "texts": ("docstrings", "b"),
            "files": {"b": "b.txt"},
            "blocks": (1, 2),
            "candidates": 2,
        }
    )


@pytest.fixture
def found(settings, tmp_path, monkeypatch):
    """The model, its calibrations, its rows to report on; all files of a run are there."""
    monkeypatch.setattr(study, "STUDY", tmp_path)
    model = tiny.architecture("llama", layers=4)
    calibrations = {}
    for number, text in enumerate(settings.texts):
        rows = {
            split: [row(model, seed + 100 * number, seed) for seed in range(at, at + 6)]
            for split, at in (("fit", 0), ("choose", 10))
        }
        with Partial("test", text, {}, root=tmp_path / "work", code=__file__) as partial:
            calibrations[text] = calibration.calibrate(model, rows, settings, partial, lambda own, what: own)
        artifacts.save(study.calibrated("toy", text), calibrations[text])
    rows = [row(model, 50 + number, number // 2) for number in range(6)]
    for text in settings.texts:
        beside = judgements.beside(model, calibrations, text)
        judged = [{"article": own.article, "sums": judgements.of_row(beside, own, [(3, 5), (9, 10)])} for own in rows]
        artifacts.save(study.judged("toy", text), judged)
    artifacts.save_json(
        study.costs("toy"), {str(k): {"parameters": 9 - k, "tokens_per_second": 2.0 + k} for k in (0, 1, 2)}
    )
    return model, calibrations, rows


def test_numbers_are_those_of_plain_forward_passes(found, settings):
    model, calibrations, rows = found
    table = report.worth(settings, "toy")
    shorter = without(model, Cut(*calibrations["b"]["cuts"][2])).network
    with torch.inference_mode():
        p, q = (
            [own(input_ids=r.ids[None]).logits[0, :-1].log_softmax(-1) for r in rows]
            for own in (model.network, shorter)
        )
    loss = torch.stack([-log_q[range(len(log_q)), r.ids[1:]].mean() for log_q, r in zip(q, rows, strict=True)]).mean()
    kl = torch.stack([(a.exp() * (a - b)).sum(-1).mean() for a, b in zip(p, q, strict=True)]).mean()
    same = torch.stack([(a.argmax(-1) == b.argmax(-1)).float().mean() for a, b in zip(p, q, strict=True)]).mean()
    own = {
        r["measure"]: r
        for r in table
        if (r["text"], r["calibrated"], r["blocks"], r["method"]) == ("b", "b", 2, "drop")
    }
    assert own["perplexity"]["value"] == pytest.approx(float(loss.exp()), rel=1e-4)
    assert own["kl"]["value"] == pytest.approx(float(kl), rel=1e-3)
    assert own["agreement"]["value"] == pytest.approx(float(same))
    assert (own["kl"]["minus_drop_low"], own["kl"]["minus_drop_high"]) == (0, 0)
    assert own["kl"]["low"] <= own["kl"]["value"] <= own["kl"]["high"]
    whole = {r["measure"]: r["value"] for r in table if r["method"] == "whole" and r["text"] == "b"}
    assert (whole["kl"], whole["agreement"]) == (0, 1)
    assert {r["articles"] for r in table} == {3}


def test_a_last_word_counts_if_all_of_its_tokens_are_the_most_probable(found):
    model, calibrations, rows = found
    beside = judgements.beside(model, calibrations, "b")
    with torch.inference_mode():
        best = model.network(input_ids=rows[0].ids[None]).logits[0].argmax(-1)
    ids = rows[0].ids.clone()
    ids[5] = best[4]  # what comes before it is as it was
    labels = torch.full_like(ids, -100)
    labels[:-1] = ids[1:]
    sums = judgements.of_row(beside, Row(ids, labels, 0), [(5, 6), (4, 6)])["whole"]
    right_before = int(best[3] == ids[4])
    assert sums[-2:] == [1 + right_before, 2]


def test_the_cut_is_the_candidate_whose_fold_costs_least(found, settings):
    _, calibrations, _ = found
    for found_on in calibrations.values():
        for number, ends in found_on["cuts"].items():
            own = [c for c in found_on["candidates"] if c["blocks"] == number]
            assert len(own) == settings.candidates
            best = min(own, key=lambda candidate: candidate["kl"])
            assert (best["start"], best["end"]) == ends


def test_last_words_end_a_sentence_follow_a_passage_and_occur_in_it():
    text = "A river runs to the sea. Nobody knew the name of the river. They saw a boat. The boat left."
    tokenizer = Letters(text)
    spans = cloze.last_words(torch.arange(len(tokenizer.pieces)), tokenizer, 6)
    assert ["".join(tokenizer.pieces[first:end]) for first, end in spans] == [" river"]
    assert cloze.last_words(torch.arange(len(tokenizer.pieces)), tokenizer, 50) == []


def test_tables_and_the_figure_are_of_all_texts_and_methods(found, settings):
    made = report.results(settings, "toy")
    parts = page.parts({"toy": made})
    for name in report.MEASURES:
        assert parts[name].count("\n| 1 | ") == parts[name].count("\n| 2 | ") == 2
    assert "fold, calibrated on b" in parts["transfer"]
    assert "| 2 | 7 | 0 | 2.00 |" in parts["costs"]
    kl = {(r["text"], r["calibrated"], r["method"], r["blocks"]): r for r in made["worth"] if r["measure"] == "kl"}
    own = [kl["b", "docstrings", "fold", blocks] for blocks in (1, 2)]
    saved = [1 - r["value"] / kl["b", "b", "drop", r["blocks"]]["value"] for r in own]
    ahead, span = sum(r["minus_drop_high"] < 0 for r in own), f"{100 * min(saved):.0f} to {100 * max(saved):.0f} %"
    assert f"| b | docstrings | fold | {ahead} of 2 |" in parts["decided"]
    assert f" | {span} |" in parts["decided"]
    assert set(report.metrics({"toy": made})["toy"]["b"]["fold"]) == {"1", "2"}
    figure = figures.worth_figure(made["worth"], "toy")
    figure.draw_without_rendering()
    figure.clear()


def test_a_resample_without_a_word_says_nothing():
    none = float("nan")
    assert report.interval(torch.tensor([0.5, none, 0.5, 0.5], dtype=torch.float64)) == {
        "value": 0.5,
        "low": 0.5,
        "high": 0.5,
    }
    assert page.shown(report.interval(torch.tensor([none, none], dtype=torch.float64))) == "–"


def test_the_readme_says_what_was_kept(repository):
    folder = repository / "studies" / "shorter_models"
    kept = {path.stem: json.loads(path.read_text()) for path in sorted((folder / "results").glob("*.json"))}
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert documents.filled(text, page.parts(kept), "README.md") == text
    real = kept["smollm2-135m-instruct-q4"]
    own = {
        (r["text"], r["blocks"], r["method"], r["measure"]): r["value"]
        for r in real["worth"]
        if r["text"] == r["calibrated"]
    }
    cuts = {(cut["text"], cut["blocks"]): cut for cut in real["cuts"] if cut["chosen"]}
    assert len(cuts) == 2 * 15
    for (on, blocks), cut in cuts.items():
        kl = {method: own[on, blocks, method, "kl"] for method in ("drop", "patch", "fold", "matrix")}
        assert kl["fold"] < kl["patch"] < kl["drop"]
        if blocks <= 8:
            assert kl["matrix"] < kl["fold"]
            assert 12 <= cut["start"] < cut["end"] <= 20
        if blocks >= 12:
            assert cut["start"] in (2, 3)
    fold, drop = (own["docstrings", 4, method, "agreement"] for method in ("fold", "drop"))
    said = f"agreement at {fold:.2f} where nothing in their place leaves {drop:.2f}"
    assert said in (repository / "README.md").read_text(encoding="utf-8")


def test_what_cannot_be_is_refused_in_one_line(settings):
    with pytest.raises(InputError, match="which is not in files"):
        study.Settings(**{**vars(settings), "texts": ("docstrings", "c")})
    with pytest.raises(InputError, match="give the file another"):
        study.Settings(**{**vars(settings), "files": {"docstrings": "x.txt"}})
    with pytest.raises(InputError, match="is a masked model"):
        calibration.rows_of(settings, "docstrings", tiny.architecture("bert"), None)

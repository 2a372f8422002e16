"""The cut is the one that costs least, a run that was killed goes on, and what cannot be is refused in one line."""

import pytest
import tiny

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.shorten import choice
from linear_shortcuts.shorten.choice import shorten


@pytest.mark.parametrize("method", ["fold", "drop", "patch", "matrix"])
def test_a_block_that_does_nothing_is_the_one_that_is_left_out(method, rows_of, silence, tmp_path):
    model = silence(tiny.architecture("llama", layers=5), [3])
    made = shorten(model, rows_of(model), 1, method=method, candidates=3, work=tmp_path)
    assert made.made["start"] == 3
    assert made.candidates[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert made.candidates[0]["cosine"] == pytest.approx(1)
    assert len(made.candidates) == 3
    assert [own["kl"] for own in made.candidates] == sorted(own["kl"] for own in made.candidates)
    assert made.report["shorter"]["perplexity"] == pytest.approx(made.report["whole"]["perplexity"], rel=1e-4)
    assert made.report["shorter"]["parameters"] < made.report["whole"]["parameters"]
    assert made.model.layers == 4


def test_a_given_start_is_taken_without_looking_elsewhere(rows_of, tmp_path):
    model = tiny.architecture("gpt2")
    made = shorten(model, rows_of(model), 1, start=2, work=tmp_path)
    assert [(own["start"], own["end"]) for own in made.candidates] == [(2, 3)]
    assert made.made["left_out"] == "block 2"


def test_a_killed_run_goes_on_with_what_is_left_and_ends_the_same(rows_of, tmp_path, monkeypatch):
    model = tiny.architecture("llama")
    rows = rows_of(model)
    whole = shorten(model, rows, 1, work=tmp_path / "whole")

    def killed(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(choice, "report", killed)
    with pytest.raises(KeyboardInterrupt):
        shorten(model, rows, 1, work=tmp_path / "killed")
    monkeypatch.undo()
    monkeypatch.setattr(choice, "fit", killed)  # what was finished is not computed again
    resumed = shorten(model, rows, 1, work=tmp_path / "killed")
    assert resumed.candidates == whole.candidates
    assert resumed.report["shorter"]["kl"] == whole.report["shorter"]["kl"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("llama", {"blocks": 3}, "3 blocks cannot be left out of 3"),
        ("llama", {"blocks": 0}, "give 1 to 2"),
        ("llama", {"blocks": 1, "start": 0}, "start at 1 to 2"),
        ("llama", {"blocks": 2, "start": 2}, "start at 1 to 1"),
        ("llama", {"blocks": 1, "method": "melt"}, "method 'melt' is not known; use fold, drop, patch, matrix"),
        ("bert", {"blocks": 1}, "a norm stands between the down-projection and the stream, .* drop"),
    ],
)
def test_what_cannot_be_is_refused(name, options, message, rows_of, tmp_path):
    model = tiny.architecture(name)
    with pytest.raises(InputError, match=message):
        shorten(model, rows_of(model), **options, work=tmp_path)


@pytest.mark.parametrize("name", ["bert", "gemma2", "olmo2"])
def test_where_nothing_folds_blocks_can_be_left_out(name, rows_of, tmp_path):
    model = tiny.architecture(name)
    assert shorten(model, rows_of(model), 1, method="drop", candidates=2, work=tmp_path).model.layers == 2

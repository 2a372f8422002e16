"""Text to matrices in one go: the bytes of the stages, one by one, and nothing left between."""

from dataclasses import replace

import pytest
import toy
import yaml

from linear_shortcuts import InputError, LayerMaps, load_model, load_tokenizer
from linear_shortcuts.commands.recipe import Recipe, fit_text
from linear_shortcuts.models.families import FAMILIES
from linear_shortcuts.settings import Drawing, FileCorpus, Sentences
from linear_shortcuts.states import extraction
from linear_shortcuts.text.tokens import describe_tokenizer


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def study(request, tmp_path_factory):
    """A toy study after the stages that fit, under the settings that params.yaml ships, and its model's kind."""
    folder = toy.make_study(tmp_path_factory.mktemp("study"))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["extract"] |= {"tokens_per_batch": 1024, "sentences_per_shard": 1500}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    toy.run_here(folder, f"toy-{request.param}", [toy.stage(number) for number in (1, 3, 4, 5, 6)])
    return folder, request.param


def study_in(folder):
    folder.mkdir()
    return toy.make_study(folder)


def fitted(kind, *, out, train=200, **how):
    """The maps that one go fits in the current folder."""
    corpus = FileCorpus(source="file", path="text.txt", unit="sentences")
    drawing = Drawing(corpus="my-text", chosen_corpus=corpus, sentences=Sentences(train=train, validation=60))
    model, tokenizer = load_model(kind, device="cpu", name=f"toy-{kind}"), load_tokenizer(kind)
    described = describe_tokenizer(tokenizer, kind, None)
    return fit_text(model, tokenizer, described, Recipe(drawing=drawing, **how), out)


def test_one_go_gives_the_bytes_of_the_stages_and_keeps_no_states(study, tmp_path, monkeypatch):
    folder, kind = study
    monkeypatch.chdir(folder)
    fitted(kind, out=tmp_path / "out", parts=True)
    ours, theirs = (
        {path.relative_to(home).as_posix(): path.read_bytes() for path in home.rglob("*") if path.is_file()}
        for home in (tmp_path / "out", folder / "linreg" / f"toy-{kind}" / "my-text")
    )
    assert ours == theirs  # the cards, too
    assert len(ours) == (3 + 1) + (2 * 6 + 1)


def test_maps_to_the_last_layer_alone_are_the_same_as_among_all(study, tmp_path, monkeypatch):
    folder, kind = study
    monkeypatch.chdir(folder)
    last = fitted(kind, out=tmp_path / "out", targets="last")
    every = LayerMaps.load(folder / "linreg" / f"toy-{kind}" / "my-text" / "layers")
    assert list(last) == [(0, 2), (1, 2)]
    for pair in last:
        assert last[pair].equal(every[pair])


def test_a_killed_run_is_taken_up_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(study_in(tmp_path / "study"))
    whole = {path.name: path.read_bytes() for path in fitted("gpt2", out=tmp_path / "whole").folder.iterdir()}

    monkeypatch.setattr("linear_shortcuts.commands.recipe.SHARD", 50)
    extract, done = extraction.extract, []

    def counted(model, tokens, first, *rest):
        if len(done) == 2:
            done.clear()
            raise KeyboardInterrupt
        done.append(first)
        return extract(model, tokens, first, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "extract", counted)
        with pytest.raises(KeyboardInterrupt):
            fitted("gpt2", out=tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(
            extraction,
            "extract",
            lambda model, tokens, first, *rest: done.append(first) or extract(model, tokens, first, *rest),
        )
        resumed = fitted("gpt2", out=tmp_path / "out")
    assert done == [100, 150]
    assert resumed.card["files"].keys() == {name for name in whole if name != "card.json"}


def test_parts_come_on_demand_and_only_where_they_are_known(study, tmp_path, monkeypatch):
    folder, kind = study
    monkeypatch.chdir(folder)
    fitted(kind, out=tmp_path / "out", targets="last")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["layers"]
    monkeypatch.setitem(FAMILIES, kind, replace(FAMILIES[kind], steps=()))
    with pytest.raises(InputError, match=f"toy-{kind} was read by structure, so the parts of its blocks are not known"):
        fitted(kind, out=tmp_path / "other", parts=True)
    assert not (tmp_path / "other").exists()


def test_what_lies_beside_the_maps_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(study_in(tmp_path / "study"))
    own = tmp_path / "out" / ".work" / "notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    fitted("gpt2", out=tmp_path / "out", targets="last")
    assert own.read_text() == "mine"
    (tmp_path / "out" / "layers" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"layers holds notes\.txt, which would be lost"):
        fitted("gpt2", out=tmp_path / "out", targets="last")


def test_too_little_text_is_refused_in_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(study_in(tmp_path / "study"))
    with pytest.raises(InputError, match="15 train sentences cannot determine maps of a model of width 16"):
        fitted("gpt2", out=tmp_path / "out", train=15)


def test_too_few_tokens_for_exits_are_refused_before_any_map_is_fitted(tmp_path, monkeypatch):
    monkeypatch.chdir(study_in(tmp_path / "study"))
    with pytest.raises(InputError, match="come first in no sentence cannot determine exits of a model of width 16"):
        fitted("gpt2", out=tmp_path / "out", train=16, exits=[1])
    assert not (tmp_path / "out" / "layers").exists()

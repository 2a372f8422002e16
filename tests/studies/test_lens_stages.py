"""The stages of the study of lenses, one after the other on a toy: what they leave, and what they do not do twice."""

import json
import runpy
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier, Lock, local

import pytest
import torch
import yaml
from toy import make_study, run_here, stage

from lenses import fitted, settings as study
from linear_shortcuts.files import artifacts
from linear_shortcuts.files.ranks import ALONE, Ranks
from linear_shortcuts.maps import LayerMaps
from linear_shortcuts.scores.latent import SETS
from linear_shortcuts.states.shards import HiddenStates

STUDY = Path(__file__).resolve().parents[2] / "studies" / "lenses"
MODEL, CORPUS = "toy-gpt2", "my-text"
SETTINGS = {
    "models": [MODEL],
    "corpus": CORPUS,
    "ranks": [2],
    "sentences": 40,
    "rows": {"length": 8, "skipped": 2},
    "future": {"rows": 40},
    "jacobian": {"rows": 2, "targets": ["final", "penultimate"], "precision": "float32"},
    "tuned": {"tokens": 64, "batch": 16, "learning_rate": 0.001, "held_out": 0.1},
    "evaluations": "prompts",
}


def run(script, ranks=1, **others):
    """Run a script of the study in this process, as so many ranks, where the settings lie in the current folder."""
    value = yaml.safe_load((STUDY / "params.yaml").read_text()) | SETTINGS | others
    study.PARAMS.parent.mkdir(parents=True, exist_ok=True)
    study.PARAMS.write_text(yaml.safe_dump(value))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script] + ([] if script.startswith("07") else ["--model", MODEL]))
        main = runpy.run_path(str(STUDY / script))["main"]
        everyone = Barrier(ranks)

        def work(rank):
            OWN.ranks = Together(rank, ranks, everyone) if ranks > 1 else ALONE
            with BATON:
                main()

        patch.setattr("linear_shortcuts.files.ranks.join", lambda device: OWN.ranks)
        with ThreadPoolExecutor(ranks) as pool:
            list(pool.map(work, range(ranks)))


OWN = local()  # to every thread its own
BATON = Lock()  # of the threads one at a time runs, until it waits for the others


@dataclass(frozen=True)
class Together(Ranks):
    """One of several ranks that are threads of one process."""

    everyone: Barrier | None = None

    def wait(self):
        BATON.release()
        try:
            self.everyone.wait(timeout=20)
        finally:
            BATON.acquire()


SCRIPTS = [path.name for path in sorted(STUDY.glob("[0-9]*.py"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The toy's states and maps, prompts of its words, and all that the study makes of them."""
    folder = make_study(tmp_path_factory.mktemp("lenses"))
    run_here(folder, MODEL, [stage(number) for number in (1, 3, 4, 5)])
    text = (folder / "text.txt").read_text().split()
    items = [{"name": str(n), "prompt": "\n".join(text[n : n + 4]), "intermediates": [text[n + 5]]} for n in range(9)]
    (folder / "prompts").mkdir()
    for kind in SETS:
        (folder / "prompts" / f"lens-eval-{kind}.json").write_text(json.dumps({"items": items}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for script in SCRIPTS:
            run(script)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return study.Folders(MODEL, CORPUS)


def test_every_lens_is_fitted_scored_and_told_of(here):
    scored = artifacts.load(here.agreement)
    made = {path.name for group in ("closed_forms", "future", "tuned") for path in here.fitted(group).iterdir()}
    assert {"mat", "affine", "ridge", "low_rank_2", "shift", "future", "tuned", "affine_shuffled"} <= made
    jacobians = {"jacobian", "jacobian_first", "jacobian_second", "jacobian_penultimate"}
    assert set(scored["costs"]) == made | {"id"} | jacobians
    for at_layer in scored["values"].values():
        assert set(at_layer["values"]) == set(scored["costs"])
    for cost in scored["costs"].values():
        assert cost["seconds"] is None or cost["seconds"] >= 0
    tables = {path.stem for path in study.Report().tables.iterdir()}
    assert {"agreement", "answers", "costs", "floor", "latent", "pairs", "runs"} <= tables
    drawn = {path.stem for path in (study.Report().plots / "figures").iterdir()}
    assert drawn == {f"{name}_{MODEL}" for name in ("agreement", "costs", "latent", "pairs")}
    [told] = json.loads((study.Report().tables / "runs.json").read_text())
    assert (told["type"], told["sentences"]) == ("gpt2", 40)


@pytest.mark.parametrize("script", [name for name in SCRIPTS if not name.startswith("07")])
def test_a_stage_run_again_computes_nothing_and_leaves_the_same_bytes(here, script, capsys):
    data = study.STUDY / "data"
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    run(script)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before
    said = capsys.readouterr().out
    assert "resumed" in said
    assert "(0 " not in said


def test_what_a_fit_of_mat_costs_is_measured_on_the_pipelines_own_maps(here):
    """Fitted once more for its cost alone: the outcome is the one that was there."""
    states, maps = HiddenStates.open(here.pipeline.hidden("train")), LayerMaps.load(here.pipeline.layer_maps)
    again = fitted.fit(fitted.MAT, states, [0, 1], study.read())
    for source in (0, 1):
        torch.testing.assert_close(again["mat"][f"{source}.factor.0"], maps[source, 2], atol=1e-5, rtol=1e-5)
    assert artifacts.load(here.agreement)["costs"]["mat"]["seconds"] >= 0


def test_two_ranks_make_the_lenses_and_scores_of_one(folder, tmp_path, monkeypatch):
    """To the byte, but for what a fit took: seconds and memory, which a card records."""
    one = study.Folders(MODEL, CORPUS)
    shutil.copytree(folder, tmp_path / "two", ignore=shutil.ignore_patterns(".work", "lenses"))
    monkeypatch.chdir(tmp_path / "two")
    for script in SCRIPTS:
        if not script.startswith("07"):
            run(script, ranks=2)
    made = {path.relative_to(tmp_path / "two") for path in (study.STUDY / "data").resolve().rglob("*.safetensors")}
    assert len(made) >= 12
    assert all((tmp_path / "two" / path).read_bytes() == (folder / path).read_bytes() for path in made)
    for path in (path.with_name("card.json") for path in made):
        cards = [json.loads((root / path).read_text()) for root in (tmp_path / "two", folder)]
        for card in cards:
            del card["card_sha256"], card["fit"]["seconds"], card["fit"]["peak_gib"]
            for layer in card["fit"].get("layers", {}).values():
                del layer["seconds"], layer["peak_gib"]
        assert cards[0] == cards[1]
    assert one.latent.read_bytes() == (folder / one.latent).read_bytes()
    values = [artifacts.load(root / one.agreement)["values"] for root in (tmp_path / "two", folder)]
    assert artifacts.save(tmp_path / "two.pickle", values[0]) == artifacts.save(tmp_path / "one.pickle", values[1])


def test_more_rows_of_the_jacobian_lens_are_added_to_those_there(here, capsys):
    run("03_fit_jacobian.py", jacobian=SETTINGS["jacobian"] | {"rows": 3})
    assert "4 lenses from 3 rows (4 resumed)" in capsys.readouterr().out
    run("03_fit_jacobian.py")


def test_lenses_of_the_same_text_transfer_to_it_exactly(here):
    """A corpus of another name, whose lenses are the same ones: nothing may be lost."""
    elsewhere = replace(here, corpus="other").fitted("closed_forms")
    elsewhere.parent.mkdir()
    elsewhere.symlink_to(here.fitted("closed_forms").resolve())
    run("05_score_agreement.py", transfer={"corpus": "other", "groups": ["closed_forms"]})
    values = artifacts.load(here.agreement)["values"]
    for at_layer in values.values():
        own = at_layer["values"]
        assert {name for name in own if "@" in name} >= {"mat@other", "affine@other"}
        assert all((own["affine@other"][measure] == own["affine"][measure]).all() for measure in ("kl", "p1"))
    run("05_score_agreement.py")

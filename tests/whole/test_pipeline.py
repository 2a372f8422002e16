"""The stages as a user runs them: alone, under DVC, killed, and given wrong input."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch
import yaml
from refusal import refusal
from toy import ALL, REPOSITORY, artifacts_of, run_here, run_stages, stage
from transformers import BertForMaskedLM

from linear_shortcuts import LayerMaps, load_model
from linear_shortcuts.decoding import Shortcuts, generate
from linear_shortcuts.files import artifacts
from linear_shortcuts.models import load_tokenizer


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def finished(request, finished_run):
    """The study after all stages, for one model."""
    folder, said = finished_run(request.param)
    return folder, f"toy-{request.param}", said.stdout


def test_two_runs_in_different_folders_and_processes_give_the_same_bytes(finished, toy_study, tmp_path):
    folder, model, _ = finished
    again = tmp_path / "elsewhere"
    shutil.copytree(toy_study, again)
    run_stages(again, model, ALL, PYTHONHASHSEED="4242")
    first, second = artifacts_of(folder), artifacts_of(again)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []
    assert len(first) > 30


def test_every_file_and_figure_of_the_study_is_there(finished):
    folder, model, _ = finished
    layers, blocks = 2, range(2)
    linreg = folder / "linreg" / model / "my-text"
    assert {path.name for path in (linreg / "layers").iterdir()} == {
        "0_1.pickle",
        "0_2.pickle",
        "1_2.pickle",
        "card.json",
    }
    submodules = {f"p{b}_{a}_{a + 1}.pickle" for b in blocks for a in range(6)} | {"card.json"}
    assert {path.name for path in (linreg / "submodules").iterdir()} == submodules
    names = [
        "r2_scores",
        "pre",
        "surp",
        "kl",
        "parts_pre1",
        "parts_pre5",
        "parts_pre10",
        "parts_surp",
        "ee_pre1",
        "cost",
    ]
    plots = folder / "plots" / model / "my-text"
    assert {path.name for path in (plots / "figures").iterdir()} == {f"{name}_{layers}.svg" for name in names}
    assert {path.name for path in (plots / "pdf").iterdir()} == {f"{name}_{layers}.pdf" for name in names}


def test_results_hold_what_the_study_records(finished):
    folder, model, _ = finished
    data = folder / "data" / model / "my-text"
    with (data / "tokens_validation.pickle").open("rb") as file:
        tokens = pickle.load(file)
    assert len(tokens["tokenized_sentences"]) == 60
    assert tokens["token_positions"].shape == (60,)
    with (data / "r2.pickle").open("rb") as file:
        r2 = pickle.load(file)
    assert set(r2["score_mat"]) == set(r2["score_id"]) == {(0, 1), (0, 2), (1, 2)}
    assert all(r2["train"]["score_mat"][pair] >= r2["train"]["score_id"][pair] for pair in r2["score_mat"])
    with (data / "fixed_exits.pickle").open("rb") as file:
        fixed = pickle.load(file)
    assert len(fixed["records"]) == 5 * 3
    assert fixed["records"][0]["top_ids"].shape == (60, 10)
    assert fixed["records"][0]["top_ids"].dtype == torch.int64
    with (data / "early_exits.pickle").open("rb") as file:
        early = pickle.load(file)
    swept = [record["swept"] for record in early["records"]]
    assert swept.count("grid") == 13 + 22
    assert 0 < swept.count("quantile") <= 2 * 50
    metrics = json.loads((folder / "metrics" / model / "metrics.json").read_text())
    assert metrics["corpus"] == "my-text"


def test_schedules_are_scored_and_drawn_with_a_table(finished, tmp_path):
    folder, model, _ = finished
    again = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns(".work"))
    params = yaml.safe_load((again / "params.yaml").read_text())
    params["schedules"]["ordinary_sentences"] = None  # one map for all positions, as at an exit
    (again / "params.yaml").write_text(yaml.safe_dump(params))
    run_here(again, model, [stage(11)])
    plots = again / "plots" / model / "my-text"
    assert {path.name for path in (plots / "schedules_figures").iterdir()} == {"schedules_2.svg", "attention_2.svg"}
    assert len(list((plots / "schedules_pdf").iterdir())) == 2
    table = json.loads((plots / "schedules" / "schedules.json").read_text())
    assert all(record.keys() == table[0].keys() for record in table)
    kl = {(r["series"], r["blocks"]): r["value"] for r in table if r["panel"].startswith("KL")}
    exits = json.loads((plots / "surprisal" / "surprisal.json").read_text())
    by_exit = {r["layer"]: r["value"] for r in exits if r["mapping"] == "mat" and r["panel"].startswith("KL")}
    assert kl["final mapped", 1] == pytest.approx(
        by_exit[1], rel=1e-3, abs=1e-6
    )  # the same sentences, read by another stage
    assert kl["full", 2] < 1e-6
    assert ("greedy mapped", 1) in kl


def test_exits_choose_among_few_tokens_where_the_settings_say_so(finished, tmp_path):
    folder, model, _ = finished
    again = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns(".work"))
    params = yaml.safe_load((again / "params.yaml").read_text())
    params["exits"]["short_list"] = 20
    (again / "params.yaml").write_text(yaml.safe_dump(params))
    run_here(again, model, [stage(8), stage(9)])
    data = again / "data" / model / "my-text"
    with (data / "tokens_train.pickle").open("rb") as file:
        counts = Counter(torch.cat(pickle.load(file)["tokenized_sentences"]).tolist())
    listed = set(sorted(counts, key=lambda token: (-counts[token], token))[:20])
    with (data / "fixed_exits.pickle").open("rb") as file:
        fixed = pickle.load(file)
    for record in fixed["records"]:
        few = record["mapping"] in ("id", "mat") and record["layer"] < 2
        assert (set(record["top_ids"].flatten().tolist()) <= listed) == few
    assert fixed["cost"]["listed"] < 1


def test_shortcuts_are_fitted_the_same_each_time_and_generation_leaves_early_by_them(finished, tmp_path):
    folder, model, _ = finished
    again = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns(".work"))
    made = again / "linreg" / model / "my-text" / "shortcuts"
    run_here(again, model, [stage(13)])
    first = {path.name: path.read_bytes() for path in made.iterdir()}
    shutil.rmtree(again / "data" / ".work", ignore_errors=True)  # of a masked model there is none
    run_here(again, model, [stage(13)])
    assert {path.name: path.read_bytes() for path in made.iterdir()} == first
    if "bert" in model:
        assert first == {}
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(again)
        network = load_model("gpt2", device="cpu")
    shortcuts = Shortcuts.load(made, network)
    assert sorted(shortcuts.maps) == ["exit.1", "kv_map.1.1"]
    [text] = generate(network, [[5, 6]], new_tokens=5, method="early-exit", shortcuts=shortcuts, confidence=-1.0)
    assert text.layers == [2, 1, 1, 1, 1]


def test_maps_of_the_same_text_by_another_name_lose_nothing(finished, tmp_path):
    folder, model, _ = finished
    again = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns(".work"))
    params = yaml.safe_load((again / "params.yaml").read_text())
    params["corpora"]["twin"] = params["corpora"]["my-text"]
    (again / "params.yaml").write_text(yaml.safe_dump({**params, "corpus": "twin"}))
    run_here(again, model, [stage(number) for number in (1, 3, 4, 5)])
    (again / "params.yaml").write_text(yaml.safe_dump(params))
    run_here(again, model, [stage(12)], "--other", "twin")
    table = json.loads((again / "plots" / model / "my-text" / "transfer_twin" / "transfer.json").read_text())
    less = {(r["panel"], r["corpus"], r["maps"]): r["value"] for r in table if r["layer"] is None}
    assert (
        max(abs(value) for (_, _, maps), value in less.items() if maps == "other-own") < 1e-6
    )  # two runs of the model
    assert {corpus for _, corpus, _ in less} == {"my-text", "twin"}
    assert (again / "plots" / model / "my-text" / "transfer_twin_figures" / "transfer.svg").exists()


def test_an_encoder_without_head_passes_through_every_stage_with_the_figures_there_are(toy_study, tmp_path, capsys):
    folder, model = shutil.copytree(toy_study, tmp_path / "run"), "toy-encoder"
    BertForMaskedLM.from_pretrained(folder / "bert").bert.save_pretrained(folder / "encoder")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / "bert" / name, folder / "encoder")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["registry"][model] = {"path": "encoder", "revision": None}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run_here(folder, model, [*ALL, stage(11)])
    said = capsys.readouterr().out
    assert "has no prediction head, so no exits" in said
    assert "has no prediction head, so no early exits" in said
    tokens = artifacts.load(folder / "data" / model / "my-text" / "tokens_train.pickle")
    mask = load_tokenizer(folder / "encoder").mask_token_id
    assert not any(mask in ids for ids in tokens["tokenized_sentences"])  # nothing is to be guessed
    plots = folder / "plots" / model / "my-text"
    assert {path.stem for path in (plots / "figures").iterdir()} == {"r2_scores_2", "embeddings_2"}
    table = json.loads((plots / "embeddings" / "embeddings.json").read_text())
    assert [record["value"] for record in table if record["layer"] == 2] == pytest.approx([1.0] * 4)
    for name in ("precision", "schedules", "schedules_figures"):  # which must be there for DVC
        assert list((plots / name).iterdir()) == []
    assert json.loads((folder / "metrics" / model / "metrics.json").read_text())["mat"]["recall_50"] > 0


def test_early_exits_are_the_originals_for_a_masked_model_if_asked_and_for_a_causal_one_anyway(finished, tmp_path):
    folder, model, _ = finished
    again = tmp_path / "original"
    shutil.copytree(folder, again)
    params = yaml.safe_load((again / "params.yaml").read_text())
    (again / "params.yaml").write_text(yaml.safe_dump({**params, "compatibility": "original"}))
    run_here(again, model, [stage(9)])
    path = Path("data", model, "my-text", "early_exits.pickle")
    same = (again / path).read_bytes() == (folder / path).read_bytes()
    assert same == ("gpt2" in model)


def test_the_maps_work_with_the_model_they_were_fitted_on(finished):
    folder, model, _ = finished
    loaded = load_model(folder / model.removeprefix("toy-"), device="cpu")
    maps = LayerMaps.load(folder / "linreg" / model / "my-text" / "layers", loaded)
    h = torch.randn(4, 16)
    torch.testing.assert_close(maps.jump(h, 0, 2), h @ maps[0, 2].T)
    assert maps.card["sentences"] == 200
    assert maps.card["model"]["weights_sha256"] == loaded.identity["weights_sha256"]


def test_every_stage_ends_with_a_line_that_says_what_was_made_and_where(finished):
    _, model, output = finished
    for where in ("sentences/my-text.pickle", "tokens_train.pickle", "hidden_validation", "layers", "submodules",
                  "r2.pickle", "fixed_exits.pickle", "early_exits.pickle", "metrics.json"):  # fmt: skip
        assert any(line.endswith(where) for line in output.splitlines()), where


@pytest.mark.parametrize("finished", ["gpt2"], indirect=True)
def test_a_killed_extraction_continues_where_it_was_to_the_same_bytes(finished, tmp_path):
    folder, model, _ = finished
    copy = tmp_path / "killed"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("hidden_*", ".work"))
    command = [sys.executable, str(stage(4)), "--model", model, "--split", "train", "--device", "cpu"]
    # Slowed down so that the kill falls between two shards.
    slow = "import sys, time, runpy; import linear_shortcuts.states.extraction as h; e = h.extract\n"
    slow += "h.extract = lambda *a: (time.sleep(0.4), e(*a))[1]\n"
    slow += f"sys.argv = {command[1:]!r}; runpy.run_path({command[1]!r}, run_name='__main__')"
    process = subprocess.Popen([sys.executable, "-c", slow], cwd=copy, start_new_session=True)
    work = copy / "data" / ".work" / "04_extract_hidden_states" / f"{model}.my-text.train"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(work.glob("*/0*.pickle"))) < 2:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in work.glob("*/0*.pickle")}
    assert 2 <= len(kept) < 7
    result = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    resumed = int(re.search(r"\((\d+) shards resumed\)", result.stdout)[1])
    assert resumed >= len(kept) - 1  # the shard being journalled at the kill may count as unfinished
    train = f"data/{model}/my-text/hidden_train/"
    expected = {name: data for name, data in artifacts_of(folder).items() if name.startswith(train)}
    assert {name: data for name, data in artifacts_of(copy).items() if name.startswith(train)} == expected
    for name in sorted(kept)[:resumed]:
        assert (copy / train / name).stat().st_mtime_ns == kept[name]  # not written again
    assert not list(copy.rglob("*.tmp"))


WRONG = {
    "unknown key": (lambda p: p.update(modles=["x"]), "did you mean 'models'"),
    "unknown model": (lambda p: p.update(models=["toy-gpt3"]), "did you mean 'toy-gpt2'"),
    "wrong type": (lambda p: p["sentences"].update(train="many"), "sentences.train"),
    "too many sentences": (lambda p: p["sentences"].update(train=5000), "400 distinct"),
    "missing file": (lambda p: p["corpora"]["my-text"].update(path="nowhere.txt"), "nowhere.txt"),
    "empty file": (lambda p: p["corpora"]["my-text"].update(path="empty.txt"), "0 distinct"),
    "not UTF-8": (lambda p: p["corpora"]["my-text"].update(path="latin.txt"), "not UTF-8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings_end_in_one_line_and_leave_earlier_artifacts_alone(case, toy_study, tmp_path):
    change, message = WRONG[case]
    folder = tmp_path / "run"
    shutil.copytree(toy_study, folder, ignore=shutil.ignore_patterns("gpt2", "bert"))
    (folder / "empty.txt").write_text("")
    (folder / "latin.txt").write_bytes("déjà vu\n".encode("latin-1"))
    earlier = folder / "data" / "sentences" / "my-text.pickle"
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"earlier")
    params = yaml.safe_load((folder / "params.yaml").read_text())
    change(params)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    said = refusal(stage(1), folder=folder)
    assert message in said
    assert "\n" not in said
    assert earlier.read_bytes() == b"earlier"


def test_wrong_models_and_missing_steps_end_in_one_line(finished, tmp_path):
    folder, model, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["registry"]["gone"] = {"path": "no/such/model", "revision": None}
    params["registry"]["strange"] = {"path": "strange", "revision": None}
    (copy / "strange").mkdir()
    (copy / "strange" / "config.json").write_text('{"model_type": "t5"}')
    (copy / "params.yaml").write_text(yaml.safe_dump(params))
    cases = {"gone": "no/such/model", "strange": "'t5'", "toy-gtp2": "did you mean 'toy-gpt2'"}
    for name, message in cases.items():
        said = refusal(stage(3), "--model", name, folder=copy)
        assert message in said
        assert "\n" not in said
    shutil.rmtree(copy / "linreg")
    result = subprocess.run([sys.executable, stage(7), "--model", model], cwd=copy, capture_output=True, text=True)
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1
    assert "stages/05_fit_layer_maps.py" in result.stderr


# What of the repository a toy clone needs for `dvc`, the studies with it: they must be in nobody's way.
CLONED = {
    "dvc.yaml",
    "params.yaml",
    ".dvc",
    ".dvcignore",
    ".gitignore",
    "stages",
    "linear_shortcuts",
    "models",
    "studies",
}


def test_dvc_runs_the_pipeline_once_then_nothing_and_its_daily_commands_and_the_readmes_example_work(
    tmp_path, monkeypatch, capfd
):
    """In a clone that has run the pipeline and no study: each command, by what it prints."""
    dvc_main = pytest.importorskip("dvc.cli").main
    folder = tmp_path / "clone"
    shutil.copytree(
        REPOSITORY, folder, symlinks=True,
        ignore=lambda place, names: {
            name for name in names
            if name in {"cache", "tmp", "config.local", "__pycache__", "dvc.lock"}
            or (Path(place) == REPOSITORY and name not in CLONED)
        },
    )  # fmt: skip
    params = (folder / "params.yaml").read_text()
    smaller = {"  - tiny-bert\n": "", "train: 9000": "train: 200", "validation: 3000": "validation: 40"}
    # Reading all of Python's own prose takes longer than most stages; its topics have sentences enough.
    smaller["source: docstrings"] = "source: file\n    path: text.txt\n    unit: articles"
    (folder / "text.txt").write_text("\n".join(" ".join(topic.split()) for topic in topics.values()))
    for old, new in smaller.items():
        assert old in params
        params = params.replace(old, new)
    (folder / "params.yaml").write_text(params)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "toy")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "toy@localhost")

    def git(*words):
        subprocess.run(["git", *words], check=True, capture_output=True)

    def commit():
        git("add", "--all")
        git("commit", "--quiet", "--message", "as run")

    def dvc(*words):
        capfd.readouterr()
        code = dvc_main(list(words))
        out, err = capfd.readouterr()
        assert code == 0, out + err
        assert "failed" not in out + err
        return out

    def page(*words):
        return Path(dvc(*words).split("file://")[1].strip()).read_text()

    git("init", "--quiet")
    commit()
    assert "score_early_exits@tiny-gpt2" in dvc("repro")
    commit()
    again = dvc("repro")
    assert "Running stage" not in again
    assert "up to date" in again
    assert dvc("status").strip() == "Data and pipelines are up to date."
    assert "plot@tiny-gpt2" in dvc("dag")
    shown = page("plots", "show")
    assert (shown.count("<img"), shown.count("vegaEmbed('#")) == (12, 7)  # figures, and the tables behind them
    shown = dvc("metrics", "show")
    assert "mat.p1_50" in shown
    assert max(map(len, shown.splitlines())) < 200

    assert "Ran experiment(s): nine" in dvc("exp", "run", "-S", "early_exit.precision=0.9", "--name", "nine")
    assert "nine" in dvc("exp", "show", "--csv")
    [changed] = [line.split() for line in dvc("params", "diff").splitlines() if "precision" in line]
    assert changed == ["params.yaml", "early_exit.precision", "0.95", "0.9"]
    [changed] = [line.split()[1:] for line in dvc("metrics", "diff").splitlines() if " precision " in line]
    assert changed == ["precision", "0.95", "0.9", "-0.05"]
    assert page("plots", "diff").count("<img") == 24  # of both

    commit()
    dvc("remote", "add", "--default", "shelf", str(tmp_path / "shelf"))
    commit()
    dvc("push")
    git("clone", "--quiet", ".", str(tmp_path / "other"))
    monkeypatch.chdir(tmp_path / "other")
    dvc("pull")
    assert dvc("status").strip() == "Data and pipelines are up to date."

    example = re.search(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.DOTALL)[1]
    shown = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [str(layer) for layer in range(7)]
    assert (
        lines[-1].split("|")[0].split()[1:] == lines[-1].split("|")[1].split()
    )  # at the last layer both are the model


@pytest.mark.parametrize("finished", ["bert"], indirect=True)
def test_tokens_of_ones_own_take_the_place_of_text(finished, tmp_path, capsys):
    folder, model, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("data", "linreg", "plots"))
    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["corpus"] = "my-tokens"
    (copy / "params.yaml").write_text(yaml.safe_dump(params))
    run_here(copy, model, [stage(1)])
    missing = refusal(stage(3), "--model", model, folder=copy)
    assert f"my-tokens/{model}/tokens_train.pickle does not exist; put your tokenized_sentences" in missing
    given = shutil.copytree(folder / "data" / model / "my-text", copy / "my-tokens" / model)
    run_here(copy, model, [stage(number) for number in (1, 3, 4)])
    assert "60 validation sentences of your own tokens" in capsys.readouterr().out
    for split in ("train", "validation"):
        before, after = (
            artifacts.load(place / f"tokens_{split}.pickle") for place in (given, copy / "data" / model / "my-tokens")
        )
        assert after["card"] == {}  # how they were made is not known
        assert torch.equal(after["token_positions"], before["token_positions"])
        assert all(map(torch.equal, after["tokenized_sentences"], before["tokenized_sentences"]))


def test_results_of_different_runs_are_not_drawn_together(finished, tmp_path):
    folder, model, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    params = yaml.safe_load((copy / "params.yaml").read_text())
    params["seed"] = 1
    (copy / "params.yaml").write_text(yaml.safe_dump(params))
    refused = refusal(stage(3), "--model", model, folder=copy)
    assert "01_fetch_sentences.py" in refused
    run_here(copy, model, [stage(number) for number in (1, 3, 4)])
    refused = refusal(stage(7), "--model", model, folder=copy)
    assert "linreg" in refused
    assert "was made with corpus" in refused
    run_here(copy, model, [stage(number) for number in (5, 6, 8)])
    refused = refusal(stage(10), "--model", model, folder=copy)
    assert "different runs" in refused


def test_fewer_sentences_than_the_model_is_wide_are_refused_before_any_state_is_recorded(toy_study, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(toy_study, folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["sentences"] = {"train": 15, "validation": 5}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run_here(folder, "toy-gpt2", [stage(1)])
    refused = refusal(stage(3), "--model", "toy-gpt2", folder=folder)
    assert "15 train sentences" in refused


def test_every_template_of_the_page_draws_columns_that_its_table_has(finished):
    folder, model, _ = finished
    plots = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]["plot"]["plots"]
    drawn = [next(iter(entry.items())) for entry in plots if isinstance(entry, dict)]
    assert {how["template"] for _, how in drawn} >= {
        "r2_heatmap",
        "exit_lines",
        "exit_nats",
        "exit_parts",
        "early_exit",
    }
    for path, how in drawn:
        name = path.rpartition("/")[2]
        if name == "embeddings":  # of a model that predicts none, and so no chart
            assert list((folder / "plots" / model).glob(f"*/{name}/*")) == []
            continue
        [table] = (folder / "plots" / model).glob(f"*/{name}/{name}.json")
        rows = json.loads(table.read_text())
        columns = set(rows[0]) | {"rev"}  # which DVC adds
        template = (REPOSITORY / ".dvc" / "plots" / f"{how['template']}.json").read_text()
        used = set(re.findall(r'"field": "(\w+)"', template)) | set(re.findall(r"datum\.(\w+)", template))
        made = set(re.findall(r'"as": "(\w+)"', template))
        assert used - made | {how["x"], how["y"]} <= columns, how["template"]

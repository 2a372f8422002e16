"""No stage calls anybody, tells a secret or runs somebody's code, unless the user has asked for it."""

import json
import shutil

import pytest
import sklearn
import yaml
from toy import OF_A_USER, SECRET, run_stages, stage

# Reading the docstrings of Python and all installed packages takes a minute; those of one package will do.
LITTLE_TEXT = f"""
from pathlib import Path
from linear_shortcuts.text import docstrings
docstrings.python_articles = lambda: iter([])
docstrings.installed_packages = lambda: [Path({sklearn.__path__[0]!r})]
"""
LITTLE_PATIENCE = "import time\ntime.sleep = lambda _: None\nREFUSED = OSError\n"


@pytest.fixture(scope="module")
def study(finished_run):
    return finished_run("gpt2")[0]


def traces(folder, result) -> list[str]:
    """Where the token can be read: files, and what was said."""
    files = [str(path) for path in folder.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    return files + [said for said in (result.stdout, result.stderr) if SECRET in said]


def test_all_stages_run_where_no_connection_can_be_opened_and_leave_no_trace_of_a_token(finished_run, tmp_path):
    folder, result = finished_run("gpt2")
    assert "figures in plots" in result.stdout
    assert traces(folder, result) == []
    (tmp_path / "control").write_text(SECRET)
    assert len(traces(tmp_path, result)) == 1


def test_training_opens_no_connection_and_leaves_no_trace_of_a_token(study, tmp_path):
    params = yaml.safe_load((study / "params.yaml").read_text())
    small = {"layers": 1, "width": 16, "heads": 2, "context": 16, "vocabulary": 300, "steps": 3, "batch": 2}
    params["training"]["tiny-gpt2"] |= small | {"steps_per_checkpoint": 2}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    result = run_stages(tmp_path, "tiny-gpt2", [stage(2)], before=LITTLE_TEXT, **OF_A_USER)
    assert "held-out loss" in result.stdout
    assert traces(tmp_path, result) == []


@pytest.mark.parametrize("what", ["model", "corpus"])
def test_what_is_not_on_this_disk_is_named_in_one_line_without_the_token(study, tmp_path, what):
    params = yaml.safe_load((study / "params.yaml").read_text())
    params["registry"]["away"] = {"path": "somebody/something", "revision": None}
    if what == "corpus":
        params["corpus"] = "wikipedia"
    for name in ("text.txt", "data/sentences/my-text.pickle"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((study / name).read_bytes())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    number = 1 if what == "corpus" else 3
    result = run_stages(tmp_path, "away", [stage(number)], expect=2, before=LITTLE_PATIENCE, **OF_A_USER)
    [line] = [line for line in result.stderr.splitlines() if "error:" in line]
    assert ("somebody/something" if what == "model" else "wikimedia/wikipedia") in line
    assert traces(tmp_path, result) == []


def test_code_that_comes_with_a_checkpoint_runs_only_if_its_entry_says_so(study, tmp_path):
    shutil.copytree(study / "data" / "sentences", tmp_path / "data" / "sentences")
    shutil.copytree(study / "gpt2", tmp_path / "hostile")
    config = json.loads((tmp_path / "hostile/config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "foreign.ForeignConfig"}}
    (tmp_path / "hostile/config.json").write_text(json.dumps(config))
    canary = tmp_path / "canary"
    (tmp_path / "hostile/foreign.py").write_text(
        f"open({str(canary)!r}, 'w').close()\nfrom transformers import GPT2Config\n"
        "class ForeignConfig(GPT2Config):\n    model_type = 'foreign'\n"
    )
    params = yaml.safe_load((study / "params.yaml").read_text())
    for trusted in (False, True):
        params["registry"]["hostile"] = {"path": "hostile", "revision": None, "trust_remote_code": trusted}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        result = run_stages(tmp_path, "hostile", [stage(3)], expect=None, **OF_A_USER)
        assert canary.exists() == trusted, result.stderr
        if not trusted:
            assert result.returncode == 2
            [line] = [line for line in result.stderr.splitlines() if "error:" in line]
            assert "hostile comes with code of its own, which was not run" in line
            assert "trust_remote_code: true in its entry" in line

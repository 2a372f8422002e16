"""Partial work: continued where it is intact and of the same recipe, computed again otherwise, published whole."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from linear_shortcuts.files import artifacts
from linear_shortcuts.files.errors import InputError
from linear_shortcuts.files.partial import Partial

RECIPE = {"seed": 0, "input": "abc"}
UNITS = 4


def compute(unit: int) -> np.ndarray:
    return np.arange(5.0) * unit


def work(root: Path, *, units: int = UNITS, recipe=RECIPE, out: Path | None = None, code=__file__) -> list[int]:
    """A small stage: every unit depends on the one before. Returns the units that had to be computed."""
    computed = []
    with Partial("stage", "item", recipe, root=root, code=code) as partial:
        for unit in range(units):
            if unit not in partial:
                before = partial.load(f"{unit - 1}.pickle")["total"] if unit else np.zeros(5)
                total = before + compute(unit)
                partial.save(unit, {f"{unit}.pickle": {"total": total, "name": "total"}}, note={"rank": unit})
                computed.append(unit)
        if out:
            ranks = [partial.note(unit)["rank"] for unit in range(units)]
            partial.publish(out, {"recipe": recipe, "ranks": ranks})
    return computed


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "work"


def the_folder(root: Path) -> Path:
    """Where the only recipe at work keeps its files."""
    [folder] = [path for path in (root / "stage" / "item").iterdir() if path.is_dir()]
    return folder


def the_journal(root: Path) -> Path:
    [journal] = root.rglob("*.jsonl")
    return journal


# --- resuming ----------------------------------------------------------------------------------------------


def test_finished_units_are_not_computed_again(root):
    assert work(root, units=2) == [0, 1]
    assert work(root) == [2, 3]
    assert work(root) == []


def test_a_run_knows_how_many_units_it_found(root):
    work(root, units=3)
    with Partial("stage", "item", RECIPE, root=root, code=__file__) as partial:
        assert partial.resumed == 3
        partial.save(3, {"3.pickle": 0})
        assert partial.resumed == 3


@pytest.mark.parametrize("other", [{**RECIPE, "seed": 1}, {"seed": 0}, {**RECIPE, "more": None}])
def test_another_recipe_does_not_see_them(root, other):
    work(root)
    assert work(root, recipe=other) == [0, 1, 2, 3]
    assert work(root) == []  # and the first recipe still has its own


def test_another_item_or_stage_does_not_see_them(root):
    work(root)
    for stage, item in [("stage", "other"), ("other", "item")]:
        with Partial(stage, item, RECIPE, root=root, code=__file__) as partial:
            assert 0 not in partial


def test_an_edit_of_the_code_starts_anew_and_an_edit_elsewhere_does_not(root, tmp_path):
    script, beside = tmp_path / "script.py", tmp_path / "beside.py"
    script.write_text("N = 1\n")
    assert work(root, units=2, code=script) == [0, 1]
    beside.write_text("N = 2\n")
    assert work(root, units=2, code=script) == []
    script.write_text("N = 2\n")
    assert work(root, units=2, code=script) == [0, 1]


@pytest.mark.parametrize("damage", ["changed", "cut", "deleted"])
def test_a_damaged_file_costs_its_own_unit_and_no_other(root, damage):
    work(root)
    path = the_folder(root) / "1.pickle"
    whole = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[:-1] if damage == "cut" else whole.replace(b"total", b"totem"))
    assert work(root) == [1]
    assert path.read_bytes() == whole


def test_a_unit_of_several_files_is_intact_only_if_all_are(root):
    files = {"a.pickle": 1, "b.pickle": 2}
    with Partial("stage", "item", RECIPE, root=root, code=__file__) as partial:
        partial.save("pair", files)
        partial.save("single", {"c.pickle": 3})
    (the_folder(root) / "b.pickle").unlink()
    with Partial("stage", "item", RECIPE, root=root, code=__file__) as partial:
        assert "pair" not in partial
        assert "single" in partial
        assert list(partial.checksums()) == ["c.pickle"]


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_torn_last_line_of_the_journal_costs_its_own_unit_and_no_other(root, kept):
    work(root)
    journal = the_folder(root).with_suffix(".jsonl")
    *lines, last = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == UNITS - 1
    journal.write_bytes(b"".join(lines) + last[: int(kept * len(last))])
    assert work(root) == [UNITS - 1]
    assert work(root) == []  # the torn line did not run into the next one


@pytest.mark.parametrize("line", [b"\0" * 50, b"\xff\xfe", b"null", b"{}"])
def test_a_line_of_the_journal_that_is_none_of_ours_is_passed_over(root, line):
    work(root)
    with open(the_folder(root).with_suffix(".jsonl"), "ab") as journal:
        journal.write(line + b"\n")
    assert work(root) == []


def test_a_unit_killed_before_it_was_journalled_is_computed_again(root):
    work(root, units=2)
    artifacts.save(the_folder(root) / "2.pickle", "written, but not recorded")
    assert work(root) == [2, 3]


def test_a_unit_saved_twice_keeps_the_last(root):
    with Partial("stage", "item", RECIPE, root=root, code=__file__) as partial:
        partial.save("checkpoint", {"x.pickle": "old"}, note=1)
        partial.save("checkpoint", {"x.pickle": "new"}, note=2)
    with Partial("stage", "item", RECIPE, root=root, code=__file__) as partial:
        assert "checkpoint" in partial
        assert (partial.load("x.pickle"), partial.note("checkpoint")) == ("new", 2)


@pytest.mark.parametrize("note", [None, 3, [1, 2], {"ranks": {"0": 1}, "é": 0.5}, (1, 2), {0: "zero"}])
def test_a_note_reads_the_same_before_and_after_resuming(root, note):
    with Partial("stage", "item", RECIPE, root=root, code=__file__) as partial:
        partial.save("unit", {"x.pickle": 0}, note)
        before = partial.note("unit")
    with Partial("stage", "item", RECIPE, root=root, code=__file__) as partial:
        assert partial.note("unit") == before
    assert json.dumps(before) == json.dumps(note)


# --- publishing --------------------------------------------------------------------------------------------


def test_a_published_folder_holds_the_files_and_a_card_with_their_checksums(root, tmp_path):
    out = tmp_path / "deep" / "out"
    work(root, out=out)
    card = json.loads((out / "card.json").read_text())
    assert sorted(path.name for path in out.iterdir()) == [*(f"{unit}.pickle" for unit in range(UNITS)), "card.json"]
    assert card["files"] == {f"{unit}.pickle": artifacts.file_sha256(out / f"{unit}.pickle") for unit in range(UNITS)}
    assert card["recipe"] == RECIPE
    np.testing.assert_array_equal(artifacts.load(out / "3.pickle")["total"], np.arange(5.0) * 6)


def test_publishing_replaces_the_old_folder_whole(root, tmp_path):
    out = tmp_path / "out"
    work(root, out=out)
    (out / "left by somebody.txt").write_text("old")
    work(root, units=2, recipe={**RECIPE, "seed": 1}, out=out)
    assert sorted(contents(out)) == ["0.pickle", "1.pickle", "card.json"]
    assert json.loads((out / "card.json").read_text())["recipe"]["seed"] == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_publishing_forgets_the_work_of_other_recipes(root, tmp_path):
    work(root, units=2, recipe={"another": "recipe"})
    work(root, out=tmp_path / "out")
    assert len(list((root / "stage" / "item").glob("*.jsonl"))) == 1
    assert work(root, units=2, recipe={"another": "recipe"}) == [0, 1]


def test_what_was_published_and_then_lost_is_published_again_without_computing(root, tmp_path):
    """`dvc` can be killed after a stage has ended and before it has taken in what the stage made."""
    work(root, out=tmp_path / "out")
    published = contents(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")  # as DVC does before it runs a stage
    assert work(root, out=tmp_path / "out") == []
    assert contents(tmp_path / "out") == published


def test_published_and_partial_files_are_the_same_bytes_on_disk(root, tmp_path):
    work(root, out=tmp_path / "out")
    for name in (path.name for path in the_folder(root).iterdir()):
        assert os.path.samefile(the_folder(root) / name, tmp_path / "out" / name)


def test_a_published_file_damaged_in_place_costs_its_own_unit_and_no_other(root, tmp_path):
    work(root, out=tmp_path / "out")
    (tmp_path / "out" / "2.pickle").write_bytes(b"damaged")
    assert work(root, out=tmp_path / "out") == [2]


def test_without_hard_links_files_are_copied(root, tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    work(tmp_path / "other", out=tmp_path / "linked")
    monkeypatch.setattr(os, "link", refuse)
    work(root, out=tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "linked")
    assert not os.path.samefile(the_folder(root) / "2.pickle", tmp_path / "out" / "2.pickle")


def test_files_of_no_finished_unit_are_not_published(root, tmp_path):
    work(root, units=2)
    (the_folder(root) / ".2.pickle.abc.tmp").write_bytes(b"half a fi")  # what SIGKILL leaves
    artifacts.save(the_folder(root) / "9.pickle", "of a unit that no longer is")
    work(root, out=tmp_path / "out")
    assert sorted(contents(tmp_path / "out")) == [*(f"{unit}.pickle" for unit in range(UNITS)), "card.json"]


def test_an_interrupted_and_an_uninterrupted_run_publish_the_same_bytes(tmp_path):
    work(tmp_path / "whole", out=tmp_path / "at once")
    # In a process of its own, killed right after its second unit, then continued in this one.
    killed = run(
        f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import test_partial
        test_partial.work(Path({str(tmp_path / "parts")!r}), units=2)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        PYTHONHASHSEED="7",
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert work(tmp_path / "parts", out=tmp_path / "resumed") == [2, 3]
    assert contents(tmp_path / "resumed") == contents(tmp_path / "at once")
    assert len(contents(tmp_path / "resumed")) == UNITS + 1


# --- one process at a time ---------------------------------------------------------------------------------


def run(code: str, path: Path | None = None, **environment) -> subprocess.CompletedProcess:
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {}), **environment}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    # With -c, Python looks for modules in the working folder first.
    return subprocess.run(command, cwd=path, env=environment, capture_output=True, text=True, timeout=120)


@contextmanager
def another_process_at_work(root: Path):
    code = f"""
        import time
        from pathlib import Path
        from linear_shortcuts.files.partial import Partial
        with Partial("stage", "item", {RECIPE!r}, root=Path({str(root)!r}), code={__file__!r}) as partial:
            partial.save(0, {{"0.pickle": 1}})
            print("at work", flush=True)
            time.sleep(120)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "at work\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_second_process_is_refused_until_the_first_is_killed(root, monkeypatch):
    monkeypatch.setattr("linear_shortcuts.files.partial.PATIENCE", 0.1)
    with another_process_at_work(root) as process:
        with pytest.raises(InputError, match="another process is at work") as caught:
            work(root)
        assert str(root / "stage" / "item") in str(caught.value)
        with pytest.raises(InputError, match="another process"):  # whatever its recipe, as both would publish
            work(root, recipe={"another": "recipe"})
        with Partial("stage", "other item", RECIPE, root=root, code=__file__):
            pass  # the positive control: another item is free
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with Partial("stage", "item", RECIPE, root=root, code=__file__) as partial:
            assert 0 in partial  # what it had finished is kept


def test_an_error_inside_releases_the_lock(root):
    def fail() -> None:
        with Partial("stage", "item", RECIPE, root=root, code=__file__):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert work(root) == [0, 1, 2, 3]

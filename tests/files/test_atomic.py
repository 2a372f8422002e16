"""Files and folders are whole or absent, whatever happens in the middle."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from linear_shortcuts.files import InputError, artifacts, atomic


def write_half(path: Path, error: type[BaseException]) -> None:
    with atomic.atomic_file(path) as file:
        file.write(b"half of a fi")
        file.flush()
        raise error


def test_an_exception_in_the_middle_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path):
    path = tmp_path / "x.pickle"
    artifacts.save(path, "old")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write_half(path, ZeroDivisionError)
    with pytest.raises(TypeError):
        artifacts.save(path, ["a" * 100_000, np.array([None])])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_in_the_middle_leaves_no_file_where_none_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "new" / "x", KeyboardInterrupt)
    assert list((tmp_path / "new").iterdir()) == []


def test_the_final_name_appears_only_when_the_file_is_complete(tmp_path):
    with atomic.atomic_file(tmp_path / "x") as file:
        file.write(b"first half, ")
        file.flush()
        assert not (tmp_path / "x").exists()
        file.write(b"second half")
    assert (tmp_path / "x").read_bytes() == b"first half, second half"


def test_an_artifact_has_the_permissions_of_an_ordinary_file(tmp_path):
    (tmp_path / "ordinary").write_bytes(b"")
    artifacts.save(tmp_path / "artifact", 1)
    assert (tmp_path / "artifact").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "results"
    with atomic.atomic_folder(folder) as coming:
        (coming / "a").write_text("first")
    with contextlib.suppress(KeyboardInterrupt), atomic.atomic_folder(folder) as coming:
        (coming / "a").write_text("half")
        raise KeyboardInterrupt
    assert (folder / "a").read_text() == "first"
    with atomic.atomic_folder(folder) as coming:
        (coming / "b").write_text("second")
    assert [path.name for path in tmp_path.rglob("*")] == ["results", "b"]


def test_where_no_folder_can_be_is_told_beforehand(tmp_path):
    (tmp_path / "file").write_text("x")
    for place, said in (
        ("file", "is no folder that can be replaced"),
        ("file/below/it", "/file is no folder that may"),
    ):
        with pytest.raises(InputError, match=said):
            atomic.check_folder(tmp_path / place)
    with pytest.raises(InputError, match="no folder that can be replaced"):
        atomic.check_folder("/")
    atomic.check_folder(tmp_path / "not" / "there" / "yet")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

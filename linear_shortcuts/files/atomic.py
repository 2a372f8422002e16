"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from linear_shortcuts.files.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn a failure to write `path` (disk full, no permission) into an `InputError` of one line."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); mend that and run again, finished work is kept"
        ) from error


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file beside `path` and rename it into place on success: a reader never sees half a file."""
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                _hold(file)
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o666 & ~_umask())  # mkstemp is private; an artifact is an ordinary file
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise


@contextlib.contextmanager
def atomic_folder(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder beside `folder` and swap it in on success, replacing what was there.

    Killed at any point, either the old folder or the new one is there, or neither. Raises `InputError` where it cannot
    be, see `check_folder`; a folder whose name a user gives is held against its card first, see `cards`.
    """
    folder = Path(os.path.abspath(folder))  # `.` has no name to write beside
    check_folder(folder)
    coming, going = (folder.with_name(f".{folder.name}.{age}") for age in ("new", "old"))
    with writing(folder):
        for left in (coming, going):
            shutil.rmtree(left, ignore_errors=True)
        coming.mkdir(parents=True)
        try:
            yield coming
        except BaseException:  # a disk that is full needs the room
            shutil.rmtree(coming, ignore_errors=True)
            raise
        if folder.exists():
            folder.rename(going)
        coming.rename(folder)
        shutil.rmtree(going, ignore_errors=True)


def check_folder(folder: str | os.PathLike[str]) -> None:
    """Raise `InputError` where no folder can be: what takes hours asks first."""
    folder = Path(os.path.abspath(folder))
    with writing(folder):
        if folder == folder.parent or (folder.exists() and not folder.is_dir()):
            raise InputError(f"{folder} is no folder that can be replaced; name one that is not there yet")
        above = next(parent for parent in folder.parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{folder} cannot be made, for {above} is no folder that may be written to; name another")


def _hold(file: IO[bytes]) -> None:
    """Mark an open file as being written by a living process; fails if another process has marked it."""
    if fcntl is not None:  # elsewhere an open file cannot be removed, which serves as well
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sweep(path: Path) -> None:
    """Remove what a killed writer of `path` left beside it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            with left.open("rb") as file:
                _hold(file)
            left.unlink()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current

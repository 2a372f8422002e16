"""Which of our own source files a script runs through, and one checksum of them all.

Neither DVC nor a folder of partial work can see imports: this is how both know that the code behind a result changed.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]
# Rooms that no stage names and no partial work depends on, because an edit there changes no number: the bytes that
# `files` writes and the seeds it derives are pinned by tests, the values that `settings` checks stand in recipes.
SILENT = ("files", "settings")


def code_sha256(script: str | Path) -> str:
    """SHA-256 of a source file and of all that it runs through, but for what changes no number.

    script: a script beside its own packages, or a module. Of the library only the rooms outside `SILENT` count, of a
    study's package neither its `__init__` nor its settings, whose values stand in recipes.
    """
    digest = hashlib.sha256()
    script = Path(script).resolve()
    for path in sorted(_place(path) for path in {script, *closure(script)} if not is_silent(path)):
        digest.update(path[0].encode() + b"\0" + path[1].read_bytes() + b"\0")
    return digest.hexdigest()


def closure(path: Path) -> set[Path]:
    """Our own files that run, or could, when `path` does; itself left out. Imports inside functions count."""
    seen: set[Path] = set()
    left = {path}
    while left:
        new = own_imports(left.pop()) - seen
        seen |= new
        left |= new
    return seen - {path}


def own_imports(path: Path) -> set[Path]:
    """Our own files that one file imports: a name that a room's door hands out leads to the module behind it.

    A door itself imports nothing until it is asked.
    """
    if path.name == "__init__.py" and path.is_relative_to(LIBRARY):
        return set()
    found = {_resolve(module, name, _root(path)) for module, name in named(path)}
    return {file for file in found if file is not None and file != path}


def named(path: Path) -> set[tuple[str, str | None]]:
    """(module, name) of every import of a file, wherever it stands; name: None where the module itself is imported."""
    beside = path.parent.name  # code that travels with a checkpoint imports its neighbours by a relative path
    return {
        (module if level == 0 else f"{beside}.{module}", name) for level, module, name in _statements(path.read_bytes())
    }


def is_silent(path: Path) -> bool:
    """Whether an edit of one of our files changes no number; see `SILENT`."""
    if path.is_relative_to(LIBRARY):
        room, *inside = path.relative_to(LIBRARY).parts
        return not inside or room in SILENT
    return path.name == "__init__.py" or path.name.endswith("settings.py")


@functools.cache
def _statements(source: bytes) -> frozenset[tuple[int, str, str | None]]:
    """(level, module, name) of every import in a text."""
    found: set[tuple[int, str, str | None]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(0, alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.level, str(node.module), alias.name) for alias in node.names}
    return frozenset(found)


def _resolve(module: str, name: str | None, root: Path) -> Path | None:
    if name is not None and (file := _file(f"{module}.{name}", root)):
        return file
    file = _file(module, root)
    if file is None or name is None or file.name != "__init__.py":
        return file
    behind = (_resolve(home, name, root) for home, other in named(file) if other == name)
    return next((home for home in behind if home is not None), file)


def _file(module: str, root: Path) -> Path | None:
    """Where one of our own modules lies: of the library, or of a package beside the script at `root`."""
    parts = module.split(".")
    if parts[0] == LIBRARY.name:
        root = LIBRARY.parent
    elif root == LIBRARY.parent:  # the library imports nothing else of ours; in a wheel, strangers lie beside it
        return None
    path = root.joinpath(*parts)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _root(path: Path) -> Path:
    """Where the dotted name of a file begins: the first folder above it that is no package."""
    folder = path.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


def _place(path: Path) -> tuple[str, Path]:
    """The dotted place of a file, the same wherever the repository lies, and the file."""
    return path.relative_to(_root(path)).as_posix(), path

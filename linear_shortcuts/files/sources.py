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

    A door itself imports nothing until it is asked; who imports a room whole may ask for all that it hands out.
    """
    if _is_door(path):
        return set()
    return {file for module, name in named(path) for file in _resolve(module, name, _root(path))} - {path}


def named(path: Path) -> set[tuple[str, str | None]]:
    """(module, name) of every import of a file, wherever it stands; name: None where the module itself is imported."""
    package = path.parent.relative_to(_root(path)).parts
    found: set[tuple[str, str | None]] = set()
    for level, module, name in _statements(path.read_bytes()):
        above = package[: len(package) + 1 - level] if level else ()  # `from . import a`, `from ..b import c`
        found.add((".".join([*above, *([module] if module else [])]), name))
    return found


def is_silent(path: Path) -> bool:
    """Whether an edit of one of our files changes no number; see `SILENT`."""
    if path.is_relative_to(LIBRARY):
        room, *inside = path.relative_to(LIBRARY).parts
        return not inside or room in SILENT
    return path.name == "__init__.py" or path.name.endswith("settings.py")


@functools.cache
def _statements(source: bytes) -> frozenset[tuple[int, str | None, str | None]]:
    """(level, module, name) of every import in a text."""
    found: set[tuple[int, str | None, str | None]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(0, alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.level, node.module, alias.name) for alias in node.names}
    return frozenset(found)


def _resolve(module: str, name: str | None, root: Path) -> set[Path]:
    """The files behind one import."""
    whole = _file(module if name is None else f"{module}.{name}", root)
    file = whole or _file(module, root)
    if file is None or file.name != "__init__.py":
        return {file} if file else set()
    everything = _is_door(file) and (whole is not None or name == "*")
    homes = [(home, other) for home, other in named(file) if everything or (not whole and other == name)]
    behind = {found for home, other in homes for found in _resolve(home, other, root)}
    return behind | {file} if everything else behind or {file}


def _is_door(path: Path) -> bool:
    return path.name == "__init__.py" and path.is_relative_to(LIBRARY)


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

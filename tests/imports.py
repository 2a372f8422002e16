"""What a file of this project imports, followed through the doors of the library's rooms."""

import ast
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = REPOSITORY / "linear_shortcuts"
STUDIES = [path for path in sorted((REPOSITORY / "studies").iterdir()) if (path / path.name).is_dir()]
ROOTS = [REPOSITORY, *STUDIES]  # where a module's dotted name begins


def named(path: Path, *, top_level: bool = False) -> set[tuple[str, str | None]]:
    """(module, name) of every import of a file, inside functions too unless `top_level`; name: None for a module."""
    tree = ast.parse(path.read_bytes())
    found: set[tuple[str, str | None]] = set()
    for node in tree.body if top_level else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # Code that travels with a checkpoint imports its neighbours by a relative path.
            module = node.module if node.level == 0 else f"{path.parent.name}.{node.module}"
            found |= {(str(module), alias.name) for alias in node.names}
    return found


@cache
def own_imports(path: Path, *, top_level: bool = False) -> frozenset[Path]:
    """The files of this project that a file imports: a name that a door hands out leads to the module behind it.

    A door itself imports nothing until it is asked.
    """
    if path.name == "__init__.py" and path.is_relative_to(LIBRARY):
        return frozenset()
    found = (_resolve(module, name) for module, name in named(path, top_level=top_level))
    return frozenset(file for file in found if file is not None and file != path)


@cache
def closure(path: Path) -> frozenset[Path]:
    """The files of this project that run, or could, when `path` does, itself left out."""
    seen: set[Path] = set()
    left = {path}
    while left:
        new = own_imports(left.pop()) - seen
        seen |= new
        left |= new
    return frozenset(seen - {path})


def rooms(files: frozenset[Path]) -> set[str]:
    """The rooms of the library that files lie in."""
    inside = [file.relative_to(LIBRARY).parts for file in files if file.is_relative_to(LIBRARY)]
    return {parts[0] for parts in inside if len(parts) > 1}


def _resolve(module: str, name: str | None) -> Path | None:
    if name is not None and (file := _file(f"{module}.{name}")):
        return file
    file = _file(module)
    if file is not None and file.name == "__init__.py" and name is not None:
        return _behind(file).get(name, file)
    return file


def _file(module: str) -> Path | None:
    for root in ROOTS:
        path = root.joinpath(*module.split("."))
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"
    return None


@cache
def _behind(door: Path) -> dict[str, Path]:
    """Where the names come from that a package's `__init__` hands out."""
    nodes = [node for node in ast.walk(ast.parse(door.read_bytes())) if isinstance(node, ast.ImportFrom)]
    homes = {
        alias.asname or alias.name: _resolve(str(node.module), alias.name) for node in nodes for alias in node.names
    }
    return {name: home for name, home in homes.items() if home is not None}

"""How a room hands out its names: each is imported when it is first asked for.

So a stage's `--help` answers before torch is loaded, and `dir()` and tab completion show what a room offers. The names
are those that the room's `__init__` imports for type checkers, so that they stand there once.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from typing import Any


def homes(file: str) -> dict[str, str]:
    """Every name that a package hands out -> the module it lives in; file: the package's `__init__`."""
    with open(file, encoding="utf-8") as source:
        tree = ast.parse(source.read())
    for_types = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for block in for_types for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def door(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package; file: its `__init__`, which imports `if TYPE_CHECKING`."""
    home = homes(file)

    def __getattr__(name: str) -> Any:  # noqa: N807 (it becomes the package's)
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(home[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *home})

    return __getattr__, __dir__, sorted(home)

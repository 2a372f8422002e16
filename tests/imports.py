"""What a file of this project imports: the library's own reading of it, and where the project's parts lie."""

from collections.abc import Iterable
from pathlib import Path

from linear_shortcuts.files.sources import (
    LIBRARY as LIBRARY,
    closure as closure,
    named as named,
    own_imports as own_imports,
)

REPOSITORY = Path(__file__).resolve().parents[1]
STUDIES = [path for path in sorted((REPOSITORY / "studies").iterdir()) if (path / path.name).is_dir()]


def rooms(files: Iterable[Path]) -> set[str]:
    """The rooms of the library that files lie in."""
    inside = [file.relative_to(LIBRARY).parts for file in files if file.is_relative_to(LIBRARY)]
    return {parts[0] for parts in inside if len(parts) > 1}

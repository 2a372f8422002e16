"""Tables as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linear_shortcuts.files import artifacts, atomic


def save(folder: Path, name: str, table: Sequence[Mapping[str, Any]]) -> None:
    """One table as `name.json` and `name.csv`."""
    artifacts.save_json(folder / f"{name}.json", list(table))
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    with atomic.atomic_file(folder / f"{name}.csv") as file:
        file.write(text.getvalue().encode())

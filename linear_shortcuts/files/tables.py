"""A table, a list of records, as files that people and programs read."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linear_shortcuts.files import artifacts, atomic

Record = Mapping[str, Any]  # a value is a number, a string or a list of either


def save_table(folder: Path, name: str, records: Sequence[Record], markdown: str | None = None) -> None:
    """One table as `name.json` and `name.csv`; markdown: the same for readers, as `name.md`."""
    artifacts.save_json(folder / f"{name}.json", list(records))
    save_text(folder / f"{name}.csv", to_csv(records))
    if markdown is not None:
        save_text(folder / f"{name}.md", markdown)


def save_plot(folder: Path, name: str, records: Sequence[Record]) -> None:
    """One table in a folder of its own, `name/name.json`, as DVC draws it; of an empty one the folder, so no chart."""
    with atomic.atomic_folder(folder / name) as coming:
        if records:
            artifacts.save_json(coming / f"{name}.json", list(records))


def save_text(path: Path, text: str) -> None:
    """Write a text file, always anew, in UTF-8 and with the same line ends everywhere."""
    with atomic.atomic_file(path) as file:
        file.write(text.encode())


def to_csv(records: Sequence[Record]) -> str:
    """Records as CSV (RFC 4180, lines end in a line feed); a list becomes columns numbered from 1.

    What a record lacks is empty.
    """
    text = io.StringIO()
    rows = [_flat(record) for record in records]
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(text, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(record: Record) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, list):
            flat |= {f"{key}_{place}": item for place, item in enumerate(value, start=1)}
        else:
            flat[key] = value
    return flat

"""What the studies' pages say, and the tracked numbers that they say it from.

Phrases are built from the numbers and looked for in the page, so that a rerun that changes a number fails until the
sentence is mended.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

STUDIES = Path(__file__).resolve().parents[1] / "studies"


def page(path: str) -> str:
    """A page below studies/ in one line, as phrases break anywhere."""
    return " ".join((STUDIES / path).read_text(encoding="utf-8").split())


def metrics(path: str):
    """A JSON file below studies/."""
    return json.loads((STUDIES / path).read_text())


def rows(path: str) -> list[dict[str, str]]:
    """A CSV file below studies/."""
    with open(STUDIES / path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def percent(share: float, digits: int = 0) -> str:
    return f"{share:.{digits}%}".replace("%", " %")


def missing(phrases: Iterable[str], path: str) -> list[str]:
    """The phrases that the page does not have."""
    text = page(path)
    return [phrase for phrase in phrases if phrase not in text]

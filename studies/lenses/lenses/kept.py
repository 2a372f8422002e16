"""What is kept of a run, in `results/MODEL/CORPUS.json`: what the study's page is made from and checked against."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lenses.report import MEAN
from linear_shortcuts.files import artifacts, save_text
from linear_shortcuts.scores import Table
from linear_shortcuts.scores.agreement import KL

Run = Mapping[str, Any]  # by the name of a table, its records of one model, rounded
Named = Sequence[tuple[str, Run]]  # runs, each with its model, or what else it is called
DIGITS = 4  # significant ones: more than the intervals tell
MEASURES = (KL, "p1", "cross_entropy_bits")  # at every layer
MORE = ("kl_bits", "surprisal", "p5", "p10", "r2")  # as means over the layers alone


def chosen(made: Mapping[str, Table], model: str) -> Run:
    """Of all tables the records of one model that the page shows, and `MEASURES` at every layer."""
    tables = {name: [record for record in table if record["model"] == model] for name, table in made.items()}
    agreement = tables.pop("agreement")
    summary = [r for r in agreement if r["layer"] == MEAN and r["measure"] in (*MEASURES, *MORE)]
    short = ("lens", "layer", "measure", "value", "low", "high")
    own = [r for r in agreement if r["layer"] != MEAN and r["measure"] in MEASURES]
    by_layer = [{key: record[key] for key in short} for record in own]
    latent = [record for record in tables.pop("latent") if record["k"] == 5 and record["layer"] == "any"]
    del tables["pairs"]
    found = {**tables, "summary": summary, "latent": latent, "by_layer": by_layer}
    return {name: [_rounded(record) for record in table] for name, table in sorted(found.items())}


def _rounded(record: Mapping[str, Any]) -> dict[str, Any]:
    return {k: float(f"{v:.{DIGITS}g}") if isinstance(v, float) else v for k, v in record.items() if k != "model"}


def save(path: Path, run: Run) -> None:
    """Write a run, a record a line."""
    tables = [
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(record, ensure_ascii=False) for record in table) + "\n]"
        for name, table in run.items()
    ]
    save_text(path, "{\n" + ",\n".join(tables) + "\n}\n")


def runs(folder: Path) -> Iterator[tuple[str, Run]]:
    """All runs that are kept, each with its model."""
    for path in sorted(folder.glob("*/*.json")):
        yield path.parent.name, artifacts.load_json(path)

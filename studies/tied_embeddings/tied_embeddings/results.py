"""The tables of RESULTS.md, from the numbers at full length that are kept in `full_length/`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tied_embeddings import report
from tied_embeddings.dataset import Xor, bit_strings
from tied_embeddings.settings import STUDY, VARIANTS, Settings

KEPT = STUDY / "full_length"
PAGE = STUDY / "RESULTS.md"
NAMES = {  # of experiments, as the page calls them
    "transformer-small": "main",
    "transformer-small-ndh": "NDH",
    "transformer-small-ydh": "YDH",
    "transformer-small-no-decay": "main, no weight decay",
}
_SIDES = {"input": "untied, input", "output": "untied, output", "tied": "tied"}
_READ: dict[str, Callable[[str], Any]] = {  # of columns that are no text
    **dict.fromkeys(("seed", "step", "n", "halved"), int),
    **dict.fromkeys(("start", "end", "accuracy", "cross_entropy", "estimate", "low", "high", "p"), float),
    **dict.fromkeys(("violates", "solved"), lambda cell: cell == "True"),
}

Rows = list[dict[str, Any]]


def load(name: str, folder: Path = KEPT) -> Rows:
    """A kept table; an empty cell is None."""
    with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
        return [
            {key: (_READ.get(key, str)(cell) if cell or key == "detail" else None) for key, cell in row.items()}
            for row in csv.DictReader(file)
        ]


def parts(settings: Settings, folder: Path = KEPT) -> dict[str, str]:
    """Every made part of the page by its name."""
    distances, scores, found = (load(name, folder) for name in ("distances", "scores", "verdicts"))
    study = [name for name in NAMES if any(row["experiment"] == name for row in scores)]
    return {
        "distances": distance_table(distances, study),
        "scores": score_table(scores, study, settings),
        "verdicts": verdict_table(found),
    }


def distance_table(rows: Rows, experiments: Sequence[str]) -> str:
    """A row for each experiment and embedding, two columns for each pair: mean over seeds [least to most]."""
    pairs = list(dict.fromkeys(row["pair"] for row in rows))
    head = ["experiment", "seeds", "embeddings", *(part for pair in pairs for part in (f"{pair}, start → end", "left"))]
    lines = []
    for experiment in experiments:
        own = report.summary(experiment, [row for row in rows if row["experiment"] == experiment])
        for side, label in _SIDES.items():
            cells = {row["pair"]: row for row in own if row["side"] == side}
            line = [NAMES.get(experiment, experiment), str(next(iter(cells.values()))["seeds"]), label]
            for pair in pairs:
                row = cells.get(pair)
                line += ["–", "–"] if row is None else [
                    f"{row['start']:.2f} → {row['end']:.3f} [{row['least']:.2f}–{row['most']:.2f}]",
                    f"{row['left']:.1%}".replace("%", " %"),
                ]  # fmt: skip
            lines.append(line)
    return _table(head, _blank_repeats(lines))


def score_table(rows: Rows, experiments: Sequence[str], settings: Settings) -> str:
    """A row for each experiment and variant: what is expected over all that can be drawn, mean [least to most]."""
    head = ["experiment", "", "accuracy, train strings", "optimum", "nats", "optimum", "accuracy, held out", "optimum"]
    lines = []
    for experiment in experiments:
        own = settings.experiments[experiment]
        dataset = Xor(own.zero_dst, own.one_dst, bit_strings(settings.dataset.bits, settings.dataset.seed))
        train, held_out = dataset.optimum("train"), dataset.optimum("validation")
        for variant in VARIANTS:
            mine = [row for row in rows if (row["experiment"], row["variant"]) == (experiment, variant)]
            fresh, held = ([row for row in mine if row["set"] == name] for name in ("train-fresh", "held-out"))
            solved = sum(row["solved"] for row in fresh)
            lines.append(
                [
                    NAMES.get(experiment, experiment), variant,
                    _spread(fresh, "accuracy"), f"{train['accuracy']:.3f}",
                    _spread(fresh, "cross_entropy"), f"{train['cross_entropy']:.3f}",
                    _spread(held, "accuracy"), f"{held_out['accuracy']:.3f}", f"{solved} of {len(fresh)}",
                ]
            )  # fmt: skip
    return _table([*head, "parity learnt"], _blank_repeats(lines))


def verdict_table(rows: Rows) -> str:
    """Every verdict with its test, its n and what it is worth."""
    lines = [
        [
            NAMES.get(row["experiment"], row["experiment"]), row["question"], row["test"], str(row["n"]),
            f"{row['estimate']:+g}" if row["low"] is None
            else f"{row['estimate']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            "" if row["p"] is None else f"{row['p']:.2g}", row["detail"],
        ]
        for row in rows
    ]  # fmt: skip
    return _table(["experiment", "question", "test", "n", "estimate [95 %]", "p", ""], _blank_repeats(lines))


def keep(tables: Path, metrics: Path, folder: Path = KEPT) -> None:
    """Take a run at full length in: its tables seed by seed, the verdicts, and the metrics."""
    for name in ("distances", "scores", "verdicts"):
        (folder / f"{name}.csv").write_bytes((tables / f"{name}.csv").read_bytes())
    (folder / "metrics.json").write_text(json.dumps(json.loads(metrics.read_text()), indent=1) + "\n")


def _spread(rows: Iterable[Mapping[str, Any]], key: str) -> str:
    values = np.array([row[key] for row in rows])
    return f"{values.mean():.3f} [{values.min():.3f}–{values.max():.3f}]"


def _blank_repeats(lines: list[list[str]]) -> list[list[str]]:
    """The name of an experiment stands in its first row only."""
    return [
        ["" if number and lines[number - 1][0] == line[0] else line[0], *line[1:]] for number, line in enumerate(lines)
    ]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))

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
from tied_embeddings.verdicts import paired

KEPT = STUDY / "full_length"
PAGE = STUDY / "RESULTS.md"
NAMES = {  # of experiments, as the page calls them
    "transformer-small": "main",
    "transformer-small-ndh": "NDH",
    "transformer-small-ydh": "YDH",
    "transformer-small-no-decay": "main, no weight decay",
    "transformer-medium": "medium, width 32",
}
EARLIER = ("mlp-small", "lstm-small")  # measured on another split of the strings
_SIDES = {"input": "untied, input", "output": "untied, output", "tied": "tied"}
_READ: dict[str, Callable[[str], Any]] = {  # of columns that are no text
    **dict.fromkeys(("seed", "step", "n", "halved", "tokens", "least_count"), int),
    **dict.fromkeys(("start", "end", "accuracy", "cross_entropy", "estimate", "low", "high", "p", "value"), float),
    **dict.fromkeys(("correlation", "shared", "chance"), float),
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
        "medium-distances": distance_table(load("distances", folder / "medium"), ["transformer-medium"]),
        "medium-scores": score_table(load("scores", folder / "medium"), ["transformer-medium"], settings),
        "earlier-distances": distance_table(load("distances", folder / "earlier_split"), EARLIER),
        "earlier-scores": score_table(load("scores", folder / "earlier_split"), EARLIER),
        "text-seeds": seed_table(load("text_seeds", folder)),
        "trained-models": trained_table(load("trained_models", folder)),
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
                    f"{row['start']:.2f} → {row['end']:.3f}"
                    + (f" [{row['least']:.2f}–{row['most']:.2f}]" if row["seeds"] > 1 else ""),
                    f"{row['left']:.1%}".replace("%", " %"),
                ]  # fmt: skip
            lines.append(line)
    return _table(head, _blank_repeats(lines))


def score_table(rows: Rows, experiments: Sequence[str], settings: Settings | None = None) -> str:
    """A row for each experiment and variant: what is expected over all that can be drawn, mean [least to most].

    settings: whose split of the strings has the optima that stand beside it; None: of another split, without.
    """
    head = ["experiment", "", "accuracy, train strings", "nats", "accuracy, held out"]
    lines = []
    for experiment in experiments:
        best = ["", "", ""]
        if settings is not None:
            own = settings.experiments[experiment]
            dataset = Xor(own.zero_dst, own.one_dst, bit_strings(settings.dataset.bits, settings.dataset.seed))
            train, held_out = dataset.optimum("train"), dataset.optimum("validation")
            best = [f"{value:.3f}" for value in (train["accuracy"], train["cross_entropy"], held_out["accuracy"])]
        for variant in VARIANTS:
            mine = [row for row in rows if (row["experiment"], row["variant"]) == (experiment, variant)]
            fresh, held = ([row for row in mine if row["set"] == name] for name in ("train-fresh", "held-out"))
            solved = sum(row["solved"] for row in fresh)
            cells = [_spread(fresh, "accuracy"), _spread(fresh, "cross_entropy"), _spread(held, "accuracy")]
            if settings is not None:
                cells = [part for cell in zip(cells, best, strict=True) for part in cell]
            lines.append([NAMES.get(experiment, experiment), variant, *cells, f"{solved} of {len(fresh)}"])
    if settings is not None:
        head[3:] = ["optimum", "nats", "optimum", "accuracy, held out", "optimum"]
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


def seed_differences(rows: Rows) -> list[dict[str, Any]]:
    """For each number of the repeated experiments on text the means of both variants and their paired difference over
    seeds: `estimate` with `low`, `high` and `p`, and `differences`, seed by seed."""
    found: list[dict[str, Any]] = []
    for experiment, what in dict.fromkeys((row["experiment"], row["what"]) for row in rows):
        own = [row for row in rows if (row["experiment"], row["what"]) == (experiment, what)]
        untied, tied = (
            np.array([row["value"] for row in sorted(own, key=lambda row: row["seed"]) if row["variant"] == variant])
            for variant in VARIANTS
        )
        about = {"experiment": experiment, "what": what, "tied": tied.mean(), "untied": untied.mean()}
        found.append({**about, **paired(what, untied - tied), "differences": [float(x) for x in untied - tied]})
    return found


def seed_table(rows: Rows) -> str:
    """A row for each number of the repeated experiments on text, with every seed's difference."""
    lines = [
        [
            row["experiment"], row["what"], str(len(row["differences"])), f"{row['tied']:.3f}", f"{row['untied']:.3f}",
            f"{row['estimate']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]", f"{row['p']:.2g}",
            " ".join(f"{difference:+.2f}" for difference in row["differences"]),
        ]
        for row in seed_differences(rows)
    ]  # fmt: skip
    head = ["experiment", "", "seeds", "tied", "untied", "untied − tied [95 %, paired t]", "p", "seed by seed"]
    return _table(head, _blank_repeats(lines))


def trained_table(rows: Rows) -> str:
    """A row for each model and pair of matrices of distances."""
    lines = [
        [
            f"{row['model']}, {row['corpus']}", "tied" if row["tied"] == "True" else "untied", str(row["tokens"]),
            f"{row['one']} and {row['other']}", f"{row['correlation']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]",
            f"{row['shared']:.2f} ({row['chance']:.2f})",
        ]
        for row in rows
    ]  # fmt: skip
    head = [
        "model and text",
        "",
        "tokens",
        "distances between",
        "rank correlation [95 %]",
        "shared neighbours (by chance)",
    ]
    return _table(head, _blank_repeats(lines))


def keep(tables: Path, metrics: Path, folder: Path = KEPT) -> None:
    """Take a run at full length in: its tables seed by seed, the verdicts, and the metrics."""
    for name in ("distances", "scores", "verdicts"):
        (folder / f"{name}.csv").write_bytes((tables / f"{name}.csv").read_bytes())
    (folder / "metrics.json").write_text(json.dumps(json.loads(metrics.read_text()), indent=1) + "\n")


def _spread(rows: Iterable[Mapping[str, Any]], key: str) -> str:
    values = np.array([row[key] for row in rows])
    return f"{values.mean():.3f}" + (f" [{values.min():.3f}–{values.max():.3f}]" if len(values) > 1 else "")


def _blank_repeats(lines: list[list[str]]) -> list[list[str]]:
    """The name of an experiment stands in its first row only."""
    return [
        ["" if number and lines[number - 1][0] == line[0] else line[0], *line[1:]] for number, line in enumerate(lines)
    ]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))

"""What the stages saved, put together: every table, figure and number of the report on masked parity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from linear_shortcuts.files import artifacts
from tied_embeddings import verdicts
from tied_embeddings.settings import STUDY, VARIANTS, Folders, Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = list[dict[str, Any]]
Rows = Iterable[Mapping[str, Any]]
Found = Mapping[str, Mapping[str, Any]]  # experiment -> what stage 03 measured
TITLES = {
    "transformer-small": "main",
    "transformer-small-ydh": "YDH: it holds",
    "transformer-small-ndh": "NDH: it is violated",
    "transformer-small-no-decay": "main without decay",
}


def load(settings: Settings) -> dict[str, dict[str, Any]]:
    """What stage 03 measured, for every experiment in `run`."""
    made_by = f"{STUDY}/03_measure.py"
    return {name: artifacts.load_json(Folders(name).measures, made_by=made_by) for name in settings.run}


# --- tables and numbers ------------------------------------------------------------------------------------


def tables_of(found: Found) -> dict[str, Table]:
    """Every table by its name; a row of `summary` is an experiment, a variant and a pair."""
    return {
        "scores": [{"experiment": name, **row} for name, own in found.items() for row in own["scores"]],
        "distances": [{"experiment": name, **row} for name, own in found.items() for row in own["distances"]],
        "summary": [row for name, own in found.items() for row in summary(name, own["distances"])],
        "verdicts": [
            {"experiment": name, **row}
            for name, own in found.items()
            for row in verdicts.verdicts(own["scores"], own["distances"], own["decay"])
        ]
        + [{"experiment": "all", **verdicts.pooled({name: own["scores"] for name, own in found.items()})}],
    }


def summary(experiment: str, distances: Rows) -> Table:
    """For every variant, side and pair: distances before and after over seeds, as mean, least and most."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in distances:
        groups.setdefault((row["variant"], row["side"], row["pair"]), []).append(row)
    return [
        {
            "experiment": experiment, "variant": variant, "side": side, "pair": pair,
            "violates": rows[0]["violates"], "step": rows[0]["step"], "seeds": len(rows),
            "start": _mean(rows, "start"), "end": _mean(rows, "end"),
            "least": min(row["end"] for row in rows), "most": max(row["end"] for row in rows),
            "left": _mean(rows, "end") / _mean(rows, "start"),
        }
        for (variant, side, pair), rows in groups.items()
    ]  # fmt: skip


def metrics_of(found: Found) -> dict[str, Any]:
    """The numbers that sum the study up: scores without sampling error, and what is left of every distance."""
    return {name: _metrics(name, own) for name, own in found.items()}


def _metrics(experiment: str, found: Mapping[str, Any]) -> dict[str, Any]:
    rows = summary(experiment, found["distances"])
    result: dict[str, Any] = {"steps": max(found["steps"].values())}
    for variant in VARIANTS:
        scores = [row for row in found["scores"] if row["variant"] == variant]
        result[variant] = {
            **{
                name.replace("-", "_"): {
                    key: _mean([row for row in scores if row["set"] == name], key)
                    for key in ("accuracy", "cross_entropy")
                }
                for name in ("train-fresh", "held-out")
            },
            "solved": sum(row["solved"] for row in scores if row["set"] == "train-fresh"),
            "left": {f"{row['side']} {row['pair']}": row["left"] for row in rows if row["variant"] == variant},
        }
    return result


def _mean(rows: Iterable[Mapping[str, Any]], key: str) -> float:
    return float(np.mean([row[key] for row in rows]))


def plot_tables(found: Found) -> dict[str, Table]:
    """The tables that `dvc plots show` draws, by the name of their folder; `series` tells the lines apart."""
    rows = [{**row, "experiment": name} for name, own in found.items() for row in own["curves"]]
    return {
        "distances": [
            {
                "step": row["step"], "value": row["value"], "panel": row["experiment"],
                "series": f"{row['variant']}, {row['curve']}, {row['pair']}" if row["variant"] == "untied"
                else f"tied, {row['pair']}",
            }
            for row in rows if row["pair"] and row["step"] % 1000 == 0
        ],
        "accuracies": [
            {
                "step": row["step"], "value": row["value"], "panel": row["experiment"],
                "series": f"{row['variant']}, {row['curve']}",
            }
            for row in rows if not row["pair"] and row["step"] % 500 == 0
        ],
    }  # fmt: skip


# --- figures -----------------------------------------------------------------------------------------------


def figures_of(found: Found, settings: Settings) -> dict[str, Figure]:
    """Every figure by its path below the folder of its format."""
    from tied_embeddings import figures

    drawn = {
        f"{name}/{figure}": drawn
        for name, own in found.items()
        for figure, drawn in figures.figures_of(name, own).items()
    }
    shown = {name: own for name, own in found.items() if name in TITLES and not name.endswith("no-decay")}
    if shown:
        drawn["overview"] = figures.grid(shown, TITLES, "Distance of two symbols of equal meaning over training")
    others = {name: own for name, own in found.items() if name not in TITLES and name not in settings.ablation}
    if others:
        drawn["other_shapes"] = figures.grid(others, {}, "Distance of two symbols of equal meaning, in other shapes")
    if settings.ablation and set(settings.ablation) <= set(found):
        titles = {name: f"weight decay {settings.experiments[name].weight_decay:g}" for name in settings.ablation}
        drawn["weight_decay"] = figures.grid(
            {name: found[name] for name in settings.ablation}, titles, "What weight decay does to the distances"
        )
    return drawn

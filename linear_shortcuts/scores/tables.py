"""The numbers behind every figure, as flat lists of records, and the few that sum a model up.

A record is one point of a plot. `value` lies with the given confidence between `low` and `high`, by bootstrap over
the validation sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from linear_shortcuts.files import derive
from linear_shortcuts.models import Cost
from linear_shortcuts.scores.early_exit import saving
from linear_shortcuts.scores.measures import bootstrap_interval, in_top
from linear_shortcuts.settings import Bootstrap

Table = list[dict[str, Any]]

PRECISION_AT = (1, 5, 10)
SURPRISAL = "surprisal (nats)"
KL = "KL to the full model (nats)"


def precision_panel(k: int) -> str:
    return f"Precision@{k}"


def r2_table(score_mat: Mapping[tuple[int, int], float], score_id: Mapping[tuple[int, int], float]) -> Table:
    """One record per mapping (mat, id and their difference) and pair of layers."""
    scores = {
        "mat": score_mat,
        "id": score_id,
        "mat-id": {pair: score_mat[pair] - score_id[pair] for pair in score_mat},
    }
    return [
        {"mapping": mapping, "source": source, "target": target, "r2": value}
        for mapping, values in scores.items()
        for (source, target), value in sorted(values.items())
    ]


def exits_table(records: Sequence[Mapping[str, Any]], bootstrap: Bootstrap, seed: int) -> Table:
    """One record per quantity (`panel`), mapping and exit layer, from the records of the fixed exits."""
    full = max(records, key=lambda record: record["layer"])
    panels = [precision_panel(k) for k in PRECISION_AT] + [SURPRISAL, KL]
    samples = torch.stack(
        [
            torch.stack(
                [in_top(full["top_ids"], record["top_ids"][:, 0], k) for k in PRECISION_AT]
                + [record["surprisal"], record["kl"]]
            )
            for record in records
        ]
    )  # (records, panels, n)
    low, high = bootstrap_interval(samples, bootstrap.resamples, bootstrap.confidence, derive(seed, "bootstrap"))
    means = samples.double().mean(-1)
    return [
        {
            "panel": panel,
            "mapping": record["mapping"],
            "layer": record["layer"],
            "value": float(means[r, p]),
            "low": float(low[r, p]),
            "high": float(high[r, p]),
        }
        for p, panel in enumerate(panels)
        for r, record in enumerate(records)
    ]


def select(table: Table, mappings: Sequence[str], panels: Sequence[str]) -> Table:
    """The records of some mappings and panels, panels in the given order."""
    chosen = [record for record in table if record["mapping"] in mappings and record["panel"] in panels]
    return sorted(chosen, key=lambda record: panels.index(record["panel"]))


def early_exit_table(
    early: Sequence[Mapping[str, Any]],
    fixed: Sequence[Mapping[str, Any]],
    cost: Cost,
    bootstrap: Bootstrap,
    seed: int,
) -> Table:
    """Precision@1 against mean layers and against cost, for every threshold and every fixed exit of mat and id."""
    full = max(fixed, key=lambda record: record["layer"])
    layers = full["layer"]
    whole = cost.full(layers).sum()
    points = [
        ("early", f"lambda {record['lambda']:g}", record, record["relative_cost"], record["correct"])
        for record in early
    ]
    for record in fixed:
        if record["mapping"] in ("mat", "id"):
            at = torch.full_like(full["top_ids"][:, 0], record["layer"])
            spent = float(cost.exits(at, layers, record["mapping"], checks=False).sum() / whole)
            correct = in_top(full["top_ids"], record["top_ids"][:, 0], 1)
            points.append(("fixed", f"layer {record['layer']}", record, spent, correct))
    samples = torch.stack([correct for *_, correct in points])
    low, high = bootstrap_interval(samples, bootstrap.resamples, bootstrap.confidence, derive(seed, "bootstrap"))
    return [
        {
            "mapping": record["mapping"],
            "exit": exit_kind,
            "setting": setting,
            "mean_layers": record["mean_layers"],
            "relative_cost": spent,
            "precision": float(correct.double().mean()),
            "low": float(low[number]),
            "high": float(high[number]),
        }
        for number, (exit_kind, setting, record, spent, correct) in enumerate(points)
    ]


def plot_tables(r2: Table, exits: Table, early_exit: Table) -> dict[str, Table]:
    """The tables `dvc plots show` reads, by the name of their folder."""
    precisions = [precision_panel(k) for k in PRECISION_AT]
    parts = ["mat", "mat_attn", "mat_ffn", "mat_ln1_ln2"]
    return {
        "r2": r2,
        "precision": select(exits, ["id", "mat"], precisions),
        "surprisal": select(exits, ["id", "mat"], [SURPRISAL, KL]),
        "parts": select(exits, parts, [*precisions, SURPRISAL, KL]),
        "early_exit": early_exit,
        "cost": early_exit,
    }


def metrics(
    model: str,
    corpus: str,
    r2: Table,
    exits: Table,
    early: Sequence[Mapping[str, Any]],
    precision: float,
) -> dict[str, Any]:
    """What sums one model up: mean r2, Precision@1 by depth (interpolated between layers), saving by early exit.

    A saving is null where the sweep never reaches the precision; in FLOPs it may be negative.
    """
    layers = max(record["layer"] for record in exits)
    summary: dict[str, Any] = {"model": model, "corpus": corpus, "layers": layers}
    for mapping in ("mat", "id"):
        own_r2 = [record["r2"] for record in r2 if record["mapping"] == mapping]
        at_1 = select(exits, [mapping], [precision_panel(1)])
        at_layers = np.array([record["layer"] for record in at_1])
        at_values = np.array([record["value"] for record in at_1])
        sweep = [record for record in early if record["mapping"] == mapping]
        summary[mapping] = {
            "mean_r2": float(np.mean(own_r2)),
            "pairs": len(own_r2),
            "precision_at_1": {
                f"depth_{round(100 * depth)}": float(np.interp(depth * layers, at_layers, at_values))
                for depth in (0.25, 0.5, 0.75)
            },
            f"saving_at_{100 * precision:g}": {
                "layers": saving(sweep, precision, "mean_layers", layers),
                "flops": saving(sweep, precision, "relative_cost", 1.0),
            },
        }
    return summary


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as Markdown, numbers with three decimals."""
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = [list(header), ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_layer(exits: Table, panel: str) -> str:
    """One row per exit layer, one column per mapping and one for mat − id."""
    mappings = list(dict.fromkeys(record["mapping"] for record in exits))
    values = {(r["mapping"], r["layer"]): r["value"] for r in exits if r["panel"] == panel}
    layers = sorted({layer for _, layer in values})
    rows = [
        [layer, *(values[mapping, layer] for mapping in mappings), values["mat", layer] - values["id", layer]]
        for layer in layers
    ]
    return markdown(["layer", *mappings, "mat − id"], rows)


def by_lambda(early: Sequence[Mapping[str, Any]]) -> str:
    """One row per mapping and threshold: mean layers run, relative cost, Precision@1."""
    rows = [
        [r["mapping"], f"{r['lambda']:g}", r["mean_layers"], r["relative_cost"], float(r["correct"].double().mean())]
        for r in early
    ]
    return markdown(["mapping", "lambda", "mean layers", "relative cost", "Precision@1"], rows)

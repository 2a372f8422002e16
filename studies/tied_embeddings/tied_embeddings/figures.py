"""The figures of the experiments on masked parity, each drawn from rows of `measures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter

from linear_shortcuts.figures.printing import (
    BLUE,
    COLUMN,
    GREEN,
    PAGE,
    PURPLE,
    STYLE,
    VERMILLION,
    label_below,
    line_with_band,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

SIDES = {"input": "untied, input embeddings", "output": "untied, output embeddings", "tied": "tied embeddings"}
NAMES = {"input": "input_embeddings", "output": "output_embeddings", "tied": "embeddings_wt"}
HOLDS: dict[str, Any] = {"color": BLUE, "linestyle": "-"}
VIOLATES: dict[str, Any] = {"color": VERMILLION, "linestyle": "--"}
VARIANTS: dict[str, dict[str, Any]] = {
    "untied": {"color": GREEN, "linestyle": "-"},
    "tied": {"color": PURPLE, "linestyle": "-."},
}
POINTS = 200  # drawn of a curve at most
CUT_AT = 4  # the same distances on all figures, so that they can be laid side by side
DISTANCE = f"Euclidean distance (axis 0 to {CUT_AT})"


def figures_of(experiment: str, found: Mapping[str, Any]) -> dict[str, Figure]:
    """The four figures of an experiment by their names."""
    with plt.rc_context({**STYLE, "figure.max_open_warning": 0}):
        drawn = {}
        for side, name in NAMES.items():
            figure, axis = plt.subplots(figsize=(COLUMN, 2.8))
            distances(axis, found["curves"], side)
            axis.set(title=f"{experiment}: {SIDES[side]}", ylabel=DISTANCE)
            label_below(figure, axis, 2)
            drawn[name] = figure
        figure, axis = plt.subplots(figsize=(COLUMN, 2.8))
        accuracies(axis, found)
        axis.set(title=f"{experiment}: accuracy, train strings", ylabel="accuracy")
        label_below(figure, axis, 2)
        drawn["accuracies"] = figure
    return drawn


def grid(found: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], title: str) -> Figure:
    """A row for every experiment: distances of untied input, untied output and tied embeddings, and accuracies."""
    with plt.rc_context({**STYLE, "figure.max_open_warning": 0}):
        figure, axes = plt.subplots(len(found), 4, figsize=(PAGE, 1.5 * len(found) + 0.9), squeeze=False, sharex="row")
        for row, (experiment, own) in zip(axes, found.items(), strict=True):
            for axis, side in zip(row, SIDES, strict=False):
                distances(axis, own["curves"], side)
            accuracies(row[3], own)
            row[0].set_ylabel(titles.get(experiment, experiment).replace(", ", ",\n"))
        for axis in axes[:-1].flat:
            axis.set_xlabel("")
        for axis, about in zip(axes[0], (*SIDES.values(), "accuracy on train strings"), strict=True):
            axis.set_title(about.replace(", ", ",\n"))
        label_below(figure, axes, 4)
        figure.suptitle(f"{title}\n{DISTANCE}; {_seeds(next(iter(found.values()))['curves'])}")
    return figure


def _seeds(curves: Rows) -> str:
    return "thin lines: single seeds" if curves[0].get("seeds") else "bands: 95 % of the mean over seeds"


def distances(axis: Axes, curves: Rows, side: str) -> None:
    """Mean distance over seeds of every shown pair over steps."""
    for pair in dict.fromkeys(row["pair"] for row in curves if row["curve"] == side):
        rows = [row for row in curves if (row["curve"], row["pair"]) == (side, pair)]
        violates = rows[0]["violates"]
        label = f"{pair}, {'different' if violates else 'equal'} contexts"
        _curve(axis, rows, (0, np.inf), **(VIOLATES if violates else HOLDS), label=label)
    axis.set_ylim(0, CUT_AT)


def accuracies(axis: Axes, found: Mapping[str, Any], name: str = "train-fresh") -> None:
    """Mean accuracy of tied and untied models over steps; dashed, the optimum with as many ones as zeros."""
    for variant, drawn in VARIANTS.items():
        rows = [row for row in found["curves"] if (row["variant"], row["curve"]) == (variant, name)]
        _curve(axis, rows, (0, 1), **drawn, label=variant)
    axis.axhline(
        found["optima"]["published"]["accuracy"], color="0.3", linestyle="--", linewidth=1, label="published optimum"
    )
    axis.axhline(found["optima"]["without_parity"], color="0.6", linestyle=":", linewidth=1, label="without parity")
    axis.set_ylim(0, 1.02)


def _curve(axis: Axes, rows: Rows, within: tuple[float, float], **drawn: Any) -> None:
    """The mean over seeds, and behind it the seeds themselves if they are few, else the interval of the mean."""
    stride = max(1, -(-len(rows) // POINTS))
    rows = [row for number, row in enumerate(rows) if number % stride == 0 or number == len(rows) - 1]
    steps = [row["step"] for row in rows]
    if rows[0].get("seeds"):
        axis.plot(steps, [row["seeds"] for row in rows], color=drawn["color"], linewidth=0.4, alpha=0.6)
        axis.plot(steps, [row["value"] for row in rows], **drawn)
    else:
        line_with_band(axis, rows, "step", "value", within, **drawn)
    axis.set(xlabel="steps", xlim=(0, max(1, steps[-1])))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x else "0"))

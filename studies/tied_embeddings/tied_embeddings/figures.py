"""The figures of the experiments on masked parity, each drawn from rows of `measures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter

from linear_shortcuts.figures import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]

SIDES = {"input": "untied, input embeddings", "output": "untied, output embeddings", "tied": "tied embeddings"}
NAMES = {"input": "input_embeddings", "output": "output_embeddings", "tied": "embeddings_wt"}
HOLDS, VIOLATES = "#1f5fbf", "#c8102e"
VARIANTS = {"untied": "#555555", "tied": "#7b1fa2"}
POINTS = 200  # drawn of a curve at most


def figures_of(experiment: str, found: Mapping[str, Any]) -> dict[str, Figure]:
    """The four figures of an experiment by their names."""
    with plt.rc_context({**STYLE, "figure.max_open_warning": 0}):
        drawn = {}
        for side, name in NAMES.items():
            figure, axis = plt.subplots(figsize=(4.6, 3.5))
            distances(axis, found["curves"], side)
            axis.set(title=f"{experiment}: {SIDES[side]}", ylabel="distance")
            axis.legend()
            drawn[name] = figure
        figure, axis = plt.subplots(figsize=(4.6, 3.5))
        accuracies(axis, found)
        axis.set(title=f"{experiment}: accuracy, train strings", ylabel="accuracy")
        axis.legend(loc="lower right")
        drawn["accuracies"] = figure
    return drawn


def grid(found: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str], title: str) -> Figure:
    """A row for every experiment: distances of untied input, untied output and tied embeddings, and accuracies."""
    with plt.rc_context({**STYLE, "figure.max_open_warning": 0}):
        figure, axes = plt.subplots(len(found), 4, figsize=(12.5, 2.6 * len(found) + 0.5), squeeze=False, sharex="row")
        for row, (experiment, own) in zip(axes, found.items(), strict=True):
            for axis, (side, about) in zip(row, SIDES.items(), strict=False):
                distances(axis, own["curves"], side)
                axis.set(title=about)
            accuracies(row[3], own)
            row[3].set(title="accuracy on train strings")
            row[0].set_ylabel(f"{titles.get(experiment, experiment)}\ndistance")
            row[0].legend(fontsize=8)
            row[3].legend(fontsize=8, loc="lower right")
        figure.suptitle(title)
    return figure


def distances(axis: Axes, curves: Rows, side: str) -> None:
    """Mean distance of every shown pair over steps, with the 95 % interval of the mean over seeds."""
    for pair in dict.fromkeys(row["pair"] for row in curves if row["curve"] == side):
        rows = [row for row in curves if (row["curve"], row["pair"]) == (side, pair)]
        violates = rows[0]["violates"]
        label = f"{pair}, {'different' if violates else 'equal'} contexts"
        _band(axis, rows, VIOLATES if violates else HOLDS, label)
    axis.set_ylim(0, 4)


def accuracies(axis: Axes, found: Mapping[str, Any], name: str = "train-fresh") -> None:
    """Mean accuracy of tied and untied models over steps; dashed, the optimum with as many ones as zeros."""
    for variant, color in VARIANTS.items():
        rows = [row for row in found["curves"] if (row["variant"], row["curve"]) == (variant, name)]
        _band(axis, rows, color, variant)
    axis.axhline(
        found["optima"]["published"]["accuracy"], color="0.3", linestyle="--", linewidth=1, label="published optimum"
    )
    axis.axhline(found["optima"]["without_parity"], color="0.6", linestyle=":", linewidth=1, label="without parity")
    axis.set_ylim(0, 1)


def _band(axis: Axes, rows: Rows, color: str, label: str) -> None:
    stride = max(1, -(-len(rows) // POINTS))
    rows = [row for number, row in enumerate(rows) if number % stride == 0 or number == len(rows) - 1]
    step, value, low, high = (np.array([row[key] for row in rows]) for key in ("step", "value", "low", "high"))
    axis.plot(step, value, color=color, label=label)
    axis.fill_between(step, np.clip(low, 0, None), high, color=color, alpha=0.15, linewidth=0)
    axis.set(xlabel="steps", xlim=(0, max(1, step[-1])))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x else "0"))

"""The study's figures: agreement and latent words by layer, paired differences, and cost against agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from lenses.report import MEAN
from linear_shortcuts.figures import printing
from linear_shortcuts.scores import Table
from linear_shortcuts.scores.agreement import KL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = {  # a lens has its colour, mark and line in every figure
    "id": (printing.VERMILLION, "s", "--"),
    "mat": (printing.BLUE, "o", "-"),
    "affine": (printing.GREEN, "^", "-."),
    "tuned": (printing.PURPLE, "D", "-"),
    "low_rank_32": (printing.ORANGE, "v", ":"),
    "future": (printing.SKY, "P", "--"),
    "jacobian": ("black", "X", "-"),
}
PANELS = {KL: "KL to the full model (nats)", "p1": "Precision@1"}


def agreement_figure(table: Table, models: list[str]) -> Figure:
    """KL and Precision@1 by layer and lens, a row a model, with bands."""
    with plt.rc_context(printing.STYLE):
        figure, axes = plt.subplots(len(models), 2, figsize=(printing.PAGE, 2.4 * len(models) + 0.5), squeeze=False)
        for row, model in zip(axes, models, strict=True):
            for axis, (measure, label) in zip(row, PANELS.items(), strict=True):
                for lens, (color, mark, line) in DRAWN.items():
                    own = [
                        r
                        for r in table
                        if (r["model"], r["lens"], r["measure"]) == (model, lens, measure) and r["layer"] != MEAN
                    ]
                    drawn: dict[str, Any] = {"color": color, "marker": mark, "linestyle": line, "label": lens}
                    if own:
                        printing.line_with_band(axis, own, "layer", "value", **drawn)
                axis.set(xlabel="layer", ylabel=label, title=model)
                if measure == KL:
                    axis.set_yscale("log")
                else:
                    axis.set_ylim(0, 1.02)
        printing.label_below(figure, axes, 7)
    return figure


def latent_figure(table: Table, model: str) -> Figure:
    """pass@5 by layer and lens, a panel a set of prompts."""
    own = [r for r in table if r["model"] == model and r["k"] == 5 and r["layer"] != "any"]
    sets = list(dict.fromkeys(r["set"] for r in own))
    with plt.rc_context(printing.STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(printing.PAGE, 4.2), sharex=True)
        for axis, kind in zip(axes.flat, sets, strict=False):
            for lens, (color, mark, line) in DRAWN.items():
                records = [r for r in own if (r["set"], r["lens"]) == (kind, lens)]
                drawn: dict[str, Any] = {"color": color, "marker": mark, "linestyle": line, "label": lens}
                if records:
                    printing.line_with_band(axis, records, "layer", "value", (0, 1), **drawn)
            axis.set(title=kind, xlabel="layer", ylabel="pass@5 at this layer")
        printing.label_below(figure, axes, 7)
    return figure


def pairs_figure(table: Table, model: str) -> Figure:
    """Mean KL of the lens of a row minus that of a column; a dot where the interval holds 0."""
    own = {(r["lens"], r["minus"]): r for r in table if r["model"] == model}
    names = list(dict.fromkeys(lens for lens, _ in own))
    values = np.array([[own[a, b]["value"] for b in names] for a in names])
    with plt.rc_context(printing.STYLE):
        figure, axis = plt.subplots(figsize=(printing.PAGE * 0.8, printing.PAGE * 0.7))
        bound = max(float(np.quantile(np.abs(values), 0.8)), 1e-6)
        image = axis.imshow(values, cmap="RdBu_r", vmin=-bound, vmax=bound)
        for row, a in enumerate(names):
            for column, b in enumerate(names):
                decided = own[a, b]["low"] > 0 or own[a, b]["high"] < 0
                text = f"{values[row, column]:.2g}" if decided else "·"
                axis.text(column, row, text, ha="center", va="center", fontsize=5)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.grid(visible=False)
        axis.set_title(f"Mean KL of the row's lens minus the column's (nats), {model}\na dot: not decided")
        figure.colorbar(image, extend="both")
    return figure


def costs_figure(table: Table, models: list[str]) -> Figure:
    """Mean KL against seconds of the fit, a panel a model."""
    with plt.rc_context(printing.STYLE):
        figure, axes = plt.subplots(1, len(models), figsize=(printing.PAGE, 2.8), squeeze=False)
        for axis, model in zip(axes[0], models, strict=True):
            for record in table:
                if record["model"] == model and record["lens"] in DRAWN and record["seconds"] is not None:
                    color, mark, _ = DRAWN[record["lens"]]
                    error = [[record["value"] - record["low"]], [record["high"] - record["value"]]]
                    point = (max(record["seconds"], 0.1), record["value"])
                    axis.errorbar(*point, yerr=error, color=color, marker=mark, linestyle="", label=record["lens"])
            axis.set(xscale="log", yscale="log", xlabel="seconds of the fit", title=model)
            axis.set_ylabel("mean KL to the full model (nats)")
        printing.label_below(figure, axes, 7)
    return figure

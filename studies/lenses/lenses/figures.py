"""The study's figures: agreement and latent words by layer, paired differences, and cost against agreement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from lenses.fitted import CONTROLS
from lenses.report import MEAN
from linear_shortcuts.figures import printing
from linear_shortcuts.scores import Table
from linear_shortcuts.scores.agreement import KL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
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
PANELS_A_ROW = 2
PANELS = {KL: "KL to the full model (nats)", "p1": "Precision@1"}


def of(made: Mapping[str, Table], model: str) -> dict[str, Figure]:
    """All figures of one model by name, from the report's tables; that of the latent words where there are some."""
    own = {name: [record for record in table if record["model"] == model] for name, table in made.items()}
    drawn = {
        "agreement": agreement_figure(own["agreement"]),
        "costs": costs_figure(own["costs"]),
        "pairs": pairs_figure(own["pairs"]),
    }
    return {**drawn, "latent": latent_figure(own["latent"])} if own["latent"] else drawn


def agreement_figure(table: Table) -> Figure:
    """KL and Precision@1 by layer and lens, with bands."""
    with plt.rc_context(printing.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(printing.PAGE, 2.9))
        for axis, (measure, label) in zip(axes, PANELS.items(), strict=True):
            chosen = [r for r in table if r["measure"] == measure and r["layer"] != MEAN]
            _lines(axis, chosen)
            axis.set(xlabel="layer", ylabel=label)
            if measure == KL:
                axis.set_yscale("log")
            else:
                axis.set_ylim(0, 1.02)
        printing.label_below(figure, axes, len(DRAWN))
    return figure


def _lines(axis: Axes, table: Table, within: tuple[float, float] = (-np.inf, np.inf)) -> None:
    """A line with its band for each of `DRAWN` that the table has."""
    for lens, (color, mark, line) in DRAWN.items():
        own = [record for record in table if record["lens"] == lens]
        drawn: dict[str, Any] = {"color": color, "marker": mark, "linestyle": line, "label": lens}
        if own:
            printing.line_with_band(axis, own, "layer", "value", within, **drawn)


def latent_figure(table: Table) -> Figure:
    """pass@5 by layer and lens, a panel a set of prompts on one scale; sets in which no lens finds a word are named."""
    own = [r for r in table if r["k"] == 5 and r["layer"] != "any" and r["lens"] in DRAWN]
    sets = list(dict.fromkeys(r["set"] for r in own))
    found = [kind for kind in sets if any(r["value"] > 0 for r in own if r["set"] == kind)]
    rows = max(1, -(-len(found) // PANELS_A_ROW))
    size = (printing.PAGE, 2.1 * rows + 0.3)
    with plt.rc_context(printing.STYLE):
        figure, axes = plt.subplots(rows, PANELS_A_ROW, figsize=size, sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat[len(found) :]:
            axis.set_axis_off()
        for axis, kind in zip(axes.flat, found, strict=False):
            _lines(axis, [r for r in own if r["set"] == kind], (0, 1))
            axis.set(title=kind, xlabel="layer", ylabel="pass@5")
            axis.label_outer()
        if len(found) < len(sets):
            figure.suptitle(f"no lens finds a word of: {', '.join(k for k in sets if k not in found)}", fontsize=8)
        printing.label_below(figure, axes, len(DRAWN))
    return figure


def pairs_figure(table: Table) -> Figure:
    """Mean KL of the lens of a row minus that of a column; a dot where the interval holds 0."""
    own = {(r["lens"], r["minus"]): r for r in table if not {r["lens"], r["minus"]} & set(CONTROLS)}
    own = {pair: record for pair, record in own.items() if not any("@" in lens for lens in pair)}
    names = list(dict.fromkeys(lens for lens, _ in own))
    first = names[0]
    names.sort(key=lambda lens: own[lens, first]["value"])
    values = np.array([[own[a, b]["value"] for b in names] for a in names])
    with plt.rc_context(printing.STYLE):
        figure, axis = plt.subplots(figsize=(printing.PAGE * 0.8, printing.PAGE * 0.62))
        bound = max(float(np.quantile(np.abs(values), 0.8)), 1e-6)
        image = axis.imshow(values, cmap="RdBu_r", vmin=-bound, vmax=bound)
        for row, a in enumerate(names):
            for column, b in enumerate(names):
                decided = own[a, b]["low"] > 0 or own[a, b]["high"] < 0
                text = f"{values[row, column]:.2f}" if decided else "·"
                color = "white" if abs(values[row, column]) > 0.6 * bound else "black"
                axis.text(column, row, text, ha="center", va="center", fontsize=6, color=color)
        axis.set_xticks(range(len(names)), names, rotation=90)
        axis.set_yticks(range(len(names)), names)
        axis.grid(visible=False)
        figure.colorbar(image, extend="both", label="KL of the row's lens − the column's (nats)")
    return figure


def costs_figure(table: Table) -> Figure:
    """Mean KL against processor seconds of the fit."""
    with plt.rc_context(printing.STYLE):
        figure, axis = plt.subplots(figsize=(printing.COLUMN * 1.3, 2.8))
        for record in table:
            if record["lens"] in DRAWN and record["seconds"] is not None:
                color, mark, _ = DRAWN[record["lens"]]
                error = [[record["value"] - record["low"]], [record["high"] - record["value"]]]
                point = (max(record["seconds"], 0.1), record["value"])
                drawn: dict[str, Any] = {"color": color, "marker": mark, "linestyle": "", "label": record["lens"]}
                axis.errorbar(*point, yerr=error, markersize=5, **drawn)
        axis.set(xscale="log", yscale="log", xlabel="processor seconds of the fit")
        axis.set_ylabel("mean KL to the full model (nats)")
        axis.margins(x=0.12, y=0.12)
        printing.label_below(figure, axis, 4)
    return figure

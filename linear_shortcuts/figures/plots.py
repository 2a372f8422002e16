"""The figures of the study, each drawn from its table, as SVG and PDF with reproducible bytes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MultipleLocator

from linear_shortcuts.files import atomic_file
from linear_shortcuts.scores import KL, PRECISION_AT, SURPRISAL, Table, divergence, precision_panel, select

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# The study's colours, and names a reader understands without its text.
COLORS = {"id": "red", "mat": "blue", "mat_attn": "green", "mat_ffn": "magenta", "mat_ln1_ln2": "orange"}
LABELS = {
    "id": "id (unchanged)",
    "mat": "mat (layer map)",
    "mat_attn": "attention linear",
    "mat_ffn": "feed-forward linear",
    "mat_ln1_ln2": "layer norms linear",
}
STYLE: Any = {
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "linear-shortcuts",  # else every run has its own ids
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


def draw_all(r2: Table, exits: Table, early_exit: Table, precision: float, about: str) -> dict[str, Figure]:
    """Every figure of the study by its name; precision: where savings are read off; about: model and corpus."""
    layers = max(record["layer"] for record in exits)
    known = {record["mapping"] for record in exits}
    parts = [part for part in ("mat_attn", "mat_ln1_ln2", "mat_ffn") if part in known]
    replaced = "\n".join(filter(None, [f"Parts replaced by matrices, {about}", divergence(exits, parts)]))
    with plt.rc_context(STYLE):
        figures = {
            f"r2_scores_{layers}": r2_figure(r2, layers, about),
            f"pre_{layers}": precision_figure(exits, layers, about),
            f"surp_{layers}": lines_figure(exits, ["mat", "id"], SURPRISAL, layers, f"Surprisal, {about}"),
            f"kl_{layers}": lines_figure(exits, ["mat", "id"], KL, layers, f"KL divergence, {about}"),
            f"ee_pre1_{layers}": early_exit_figure(early_exit, "mean_layers", precision, about),
            f"cost_{layers}": early_exit_figure(early_exit, "relative_cost", precision, about),
        }
        if parts:  # a model read by structure has none
            panels = {f"pre{k}": precision_panel(k) for k in PRECISION_AT} | {"surp": SURPRISAL}
            for name, panel in panels.items():
                figures[f"parts_{name}_{layers}"] = lines_figure(exits, ["mat", *parts], panel, layers, replaced)
    return figures


def save(figure: Figure, folders: dict[str, Path], name: str) -> None:
    """Write a figure in each format (svg, pdf, png) to that format's folder, without dates, and close it."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # of the fonts in a PDF it reports how old they are
    with plt.rc_context(STYLE):
        for suffix, folder in folders.items():
            undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
            with atomic_file(folder / f"{name}.{suffix}") as file:
                figure.savefig(file, format=suffix, metadata=undated, dpi=200)
    plt.close(figure)


def r2_figure(table: Table, layers: int, about: str) -> Figure:
    """Heatmaps of r2: rows are source layers, columns target layers; mat, id, and what mat adds."""
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 4.2))
    images = [
        heatmap(axes[0], table, "mat", layers, diagonal=1, low=0),
        heatmap(axes[1], table, "id", layers, diagonal=1, low=0),
        heatmap(axes[2], table, "mat-id", layers, diagonal=0, low=-1),
    ]
    axes[0].set_ylabel("source layer")
    bar = figure.colorbar(images[1], ax=axes[:2], shrink=0.8, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels(["≤0.0", "0.25", "0.5", "0.75", "1.0"])
    bar.set_label("r²")
    figure.colorbar(images[2], ax=axes[2], shrink=0.8, extend="both").set_label("difference of r²")
    figure.suptitle(f"Variance explained from layer to layer, {about}")
    return figure


def heatmap(axis: Axes, table: Table, mapping: str, layers: int, *, diagonal: float, low: float) -> AxesImage:
    """Draw the r2 of one mapping of a table of `tables.r2_table` on an axis; diagonal: of a layer with itself."""
    grid = np.full((layers + 1, layers + 1), np.nan)
    np.fill_diagonal(grid, diagonal)
    for record in table:
        if record["mapping"] == mapping:
            grid[record["source"], record["target"]] = record["r2"]
    image = axis.imshow(grid, cmap="RdBu", vmin=low, vmax=1)
    axis.set(title=mapping.replace("-", " − "), xlabel="target layer")
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_major_locator(MultipleLocator(tick_step(layers)))
    axis.grid(visible=False)
    if layers <= 12:  # beyond, the numbers would not be readable
        _write_values(axis, grid, low)
    return image


def _write_values(axis: Axes, grid: np.ndarray, low: float) -> None:
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            shade = "white" if not 0.18 < (value - low) / (1 - low) < 0.82 else "black"
            text = f"{value:.2f}" if value > -9.95 else "<−9"
            axis.text(column, row, text.replace("-", "−"), ha="center", va="center", color=shade, fontsize=6.5)


def precision_figure(exits: Table, layers: int, about: str) -> Figure:
    """Precision@1, 5 and 10 of mat and id over exit layers."""
    figure, axes = plt.subplots(1, len(PRECISION_AT), figsize=(11, 3.6), sharey=True)
    for axis, k in zip(axes, PRECISION_AT, strict=True):
        _draw_lines(axis, exits, ["mat", "id"], precision_panel(k), layers)
        axis.set(title=precision_panel(k), ylim=(0, 1.02))
    axes[0].set_ylabel("share of sentences")
    axes[-1].legend(loc="lower right")
    figure.suptitle(f"The exit's token among the full model's first k, {about}")
    return figure


def lines_figure(exits: Table, mappings: Sequence[str], panel: str, layers: int, title: str) -> Figure:
    """One quantity over exit layers, a line per mapping with its interval."""
    figure, axis = plt.subplots(figsize=(5.6, 3.9))
    _draw_lines(axis, exits, mappings, panel, layers)
    axis.set(title=title, ylabel=panel)
    if panel.startswith("Precision"):
        axis.set_ylim(0, 1.02)
    else:
        axis.set_ylim(bottom=0)
    axis.legend()
    return figure


def _draw_lines(axis: Axes, exits: Table, mappings: Sequence[str], panel: str, layers: int) -> None:
    for mapping in mappings:
        records = sorted(select(exits, [mapping], [panel]), key=lambda record: record["layer"])
        keys = ("layer", "value", "low", "high")  # None where every sentence diverged: a gap in the line
        x, value, low, high = (np.array([record[key] for record in records], dtype=float) for key in keys)
        axis.plot(x, value, color=COLORS[mapping], label=LABELS[mapping], marker="o", markersize=3)
        axis.fill_between(x, low, high, color=COLORS[mapping], alpha=0.15, linewidth=0)
    axis.set_xlabel("exit layer")
    axis.set_xlim(-0.2, layers + 0.2)
    axis.xaxis.set_major_locator(MultipleLocator(tick_step(layers)))


def early_exit_figure(table: Table, x: str, precision: float, about: str) -> Figure:
    """Precision@1 of early and of fixed exits against mean layers run or against relative FLOPs."""
    figure, axis = plt.subplots(figsize=(5.6, 3.9))
    for mapping in ("mat", "id"):
        for kind, line, marker in (("early", "-", "o"), ("fixed", ":", "s")):
            records = [record for record in table if (record["mapping"], record["exit"]) == (mapping, kind)]
            records.sort(key=lambda record: record[x])
            axis.plot(
                [record[x] for record in records],
                [record["precision"] for record in records],
                color=COLORS[mapping],
                linestyle=line,
                marker=marker,
                markersize=3.5,
                label=f"{mapping}, {kind} exit",
            )
    axis.axhline(precision, color="0.6", linewidth=0.8, zorder=0)
    if x == "mean_layers":
        axis.set(xlabel="layers run (mean)", title=f"Early exit against fixed exit, {about}")
    else:
        axis.axvline(1, color="0.6", linewidth=0.8, zorder=0)
        axis.set(xlabel="FLOPs relative to the full model, read-outs included", title=f"Cost of an exit, {about}")
    axis.set(ylabel="Precision@1", ylim=(0, 1.02))
    axis.legend(loc="lower right")
    return figure


def tick_step(layers: int) -> int:
    """The study's tick distances: 2, 3, 4, 6 for 12, 24, 36, 48 layers; 1 for small models."""
    return 1 if layers < 12 else 2 if layers < 24 else 3 if layers < 36 else 4 if layers < 48 else 6

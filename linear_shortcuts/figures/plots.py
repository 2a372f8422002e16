"""The figures of the study, each drawn from its table, at the size at which it is printed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.ticker import FuncFormatter, MultipleLocator

from linear_shortcuts.figures.printing import (
    BLUE,
    COLUMN,
    GREEN,
    ORANGE,
    PAGE,
    PURPLE,
    STYLE,
    VERMILLION,
    label_below,
    line_with_band,
    tick_step,
)
from linear_shortcuts.scores import (
    EMBEDDING_PANELS,
    KL,
    PRECISION_AT,
    SURPRISAL,
    Table,
    divergence,
    precision_panel,
    select,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

# A mapping has its colour, mark and line in every figure, and the name it has in every table.
COLORS = {"id": VERMILLION, "mat": BLUE, "mat_attn": GREEN, "mat_ffn": PURPLE, "mat_ln1_ln2": ORANGE}
MARKS = {"id": "s", "mat": "o", "mat_attn": "^", "mat_ffn": "D", "mat_ln1_ln2": "v"}
LINES: dict[str, Any] = {
    "id": "--",
    "mat": "-",
    "mat_attn": "-.",
    "mat_ffn": (0, (4, 1, 1, 1, 1, 1)),
    "mat_ln1_ln2": ":",
}
LABELS = {
    "id": "id: unchanged",
    "mat": "mat: layer map",
    "mat_attn": "mat_attn: attention",
    "mat_ffn": "mat_ffn: feed-forward",
    "mat_ln1_ln2": "mat_ln1_ln2: norms",
}
NUMBERS_UP_TO = 7  # layers: beyond, the numbers in the cells of a heatmap could not be read


def marks(mapping: str) -> dict[str, Any]:
    """How the line of a mapping is drawn: its colour, line and mark."""
    return {"color": COLORS[mapping], "linestyle": LINES[mapping], "marker": MARKS[mapping]}


def draw_all(r2: Table, exits: Table, early_exit: Table, precision: float, about: str) -> dict[str, Figure]:
    """Every figure of the study by its name; precision: where savings are read off; about: model and corpus."""
    layers = max(record["layer"] for record in exits)
    known = {record["mapping"] for record in exits}
    parts = [part for part in ("mat_attn", "mat_ln1_ln2", "mat_ffn") if part in known]
    diverged = divergence(exits, parts)
    if select(exits, ["mat"], EMBEDDING_PANELS):  # an encoder's
        with plt.rc_context(STYLE):
            return {
                f"r2_scores_{layers}": r2_figure(r2, layers, about),
                f"embeddings_{layers}": embeddings_figure(exits, layers, about),
            }
    with plt.rc_context(STYLE):
        figures = {
            f"r2_scores_{layers}": r2_figure(r2, layers, about),
            f"pre_{layers}": precision_figure(exits, layers, about),
            f"surp_{layers}": lines_figure(exits, ["mat", "id"], SURPRISAL, layers, f"Surprisal\n{about}"),
            f"kl_{layers}": lines_figure(exits, ["mat", "id"], KL, layers, f"KL divergence\n{about}"),
            f"ee_pre1_{layers}": early_exit_figure(early_exit, "mean_layers", precision, about),
            f"cost_{layers}": early_exit_figure(early_exit, "relative_cost", precision, about),
        }
        if parts:  # a model read by structure has none
            panels = {f"pre{k}": precision_panel(k) for k in PRECISION_AT} | {"surp": SURPRISAL}
            for name, panel in panels.items():
                quantity = "Surprisal" if panel == SURPRISAL else panel
                title = "\n".join(filter(None, [f"{quantity}, parts replaced by matrices\n{about}", diverged]))
                figures[f"parts_{name}_{layers}"] = lines_figure(exits, ["mat", *parts], panel, layers, title)
    return figures


def r2_figure(table: Table, layers: int, about: str) -> Figure:
    """Heatmaps of r2: rows are source layers, columns target layers; mat, id, and what mat adds."""
    figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.75))
    images = [heatmap(axis, table, name, layers) for axis, name in zip(axes, ("mat", "id", "mat-id"), strict=True)]
    axes[0].set_ylabel("source layer")
    r2_bar(figure, images[1], axes[:2])
    largest = max(abs(record["r2"]) for record in table if record["mapping"] == "mat-id")
    ticks = [tick for tick in (0.25, 1, 4, 16, 64, 256) if tick <= largest] or [largest]
    bar = figure.colorbar(images[2], ax=axes[2], shrink=0.75, ticks=[*(-tick for tick in reversed(ticks)), 0, *ticks])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}".replace("-", "−") if value else "0"))
    bar.set_label("difference of r² (0 is white)")
    figure.suptitle(f"Variance explained (r²) from layer to layer, {about}")
    return figure


def r2_bar(figure: Figure, image: AxesImage, axes: Any) -> None:
    """The colour bar of heatmaps of r2, beside the axes that it is for."""
    bar = figure.colorbar(image, ax=axes, shrink=0.75, extend="min", ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.set_label("r² (below 0: worse than the mean)")


def heatmap(axis: Axes, table: Table, mapping: str, layers: int) -> AxesImage:
    """Draw the r2 of one mapping of a table of `tables.r2_table` on an axis.

    r2 runs from 0 to 1, darker below, in colours whose greys are in the same order; a difference (`mat-id`) goes both
    ways from white at 0, on a scale that is linear near it and logarithmic beyond, since nothing bounds `id` below.
    """
    grid = np.full((layers + 1, layers + 1), np.nan)
    for record in table:
        if record["mapping"] == mapping:
            grid[record["source"], record["target"]] = record["r2"]
    if mapping == "mat-id":
        largest = max(float(np.nanmax(np.abs(grid))), 0.25)
        image = axis.imshow(grid, cmap="PuOr", norm=AsinhNorm(linear_width=0.5, vmin=-largest, vmax=largest))
    else:
        image = axis.imshow(grid, cmap=plt.get_cmap("cividis").with_extremes(under="black"), norm=Normalize(0, 1))
    axis.set(title=mapping.replace("-", " − "), xlabel="target layer")
    axis.set(xlim=(0.5, layers + 0.5), ylim=(layers - 0.5, -0.5))  # no layer 0 to jump to, and none after the last
    for ticks in (axis.xaxis, axis.yaxis):
        ticks.set_major_locator(MultipleLocator(tick_step(layers) * (1 if layers < 12 else 2)))  # panels are narrow
    axis.grid(visible=False)
    if layers <= NUMBERS_UP_TO:
        _write_values(axis, grid, image)
    return image


def _write_values(axis: Axes, grid: np.ndarray, image: AxesImage) -> None:
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            red, green, blue, _ = image.to_rgba(value)
            shade = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
            text = f"{value:.2f}" if value >= 0 else f"{value:.1f}" if value > -9.95 else f"{value:.0f}"
            axis.text(column, row, text.replace("-", "−"), ha="center", va="center", color=shade, fontsize=5.5)


def precision_figure(exits: Table, layers: int, about: str) -> Figure:
    """Precision@1, 5 and 10 of mat and id over exit layers."""
    figure, axes = plt.subplots(1, len(PRECISION_AT), figsize=(PAGE, 2.5), sharey=True)
    for axis, k in zip(axes, PRECISION_AT, strict=True):
        _draw_lines(axis, exits, ["mat", "id"], precision_panel(k), layers)
        axis.set(title=precision_panel(k), ylim=(0, 1.02))
    axes[0].set_ylabel("share of sentences")
    label_below(figure, axes[0], 2)
    figure.suptitle(f"The exit's token among the full model's first k, {about}")
    return figure


def embeddings_figure(exits: Table, layers: int, about: str) -> Figure:
    """How close the embeddings of mat and id come to the whole encoder's, and what they retrieve, over exit layers."""
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.5), sharey=True)
    for axis, panel in zip(axes, EMBEDDING_PANELS, strict=True):
        _draw_lines(axis, exits, ["mat", "id"], panel, layers)
        axis.set(title=panel, ylim=(min(0, axis.get_ylim()[0]), 1.02))
    axes[0].set_ylabel("mean over sentences")
    label_below(figure, axes[0], 2)
    figure.suptitle(f"Sentence embeddings that leave early, {about}")
    return figure


def lines_figure(exits: Table, mappings: Sequence[str], panel: str, layers: int, title: str) -> Figure:
    """One quantity over exit layers, a line per mapping with its interval."""
    figure, axis = plt.subplots(figsize=(COLUMN, 3.0))
    _draw_lines(axis, exits, mappings, panel, layers)
    axis.set(title=title, ylabel=panel)
    if panel.startswith("Precision"):
        axis.set_ylim(0, 1.02)
    elif panel == KL:  # `id` at layer 0 is hundreds of times further away than anything else
        axis.set_yscale("symlog", linthresh=0.1)
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set(ylabel=f"{panel}\nlogarithmic above 0.1", ylim=(0, None))
    else:
        axis.set_ylim(bottom=0)
    label_below(figure, axis, 2)
    return figure


def _draw_lines(axis: Axes, exits: Table, mappings: Sequence[str], panel: str, layers: int) -> None:
    for mapping in mappings:
        records = sorted(select(exits, [mapping], [panel]), key=lambda record: record["layer"])
        line_with_band(axis, records, "layer", "value", **marks(mapping), label=LABELS[mapping])
    axis.set_xlabel("exit layer")
    axis.set_xlim(-0.2, layers + 0.2)
    axis.xaxis.set_major_locator(MultipleLocator(tick_step(layers)))


def early_exit_figure(table: Table, x: str, precision: float, about: str) -> Figure:
    """Precision@1 of early and of fixed exits, with intervals, against mean layers run or against relative FLOPs."""
    figure, axis = plt.subplots(figsize=(COLUMN, 3.2))
    for mapping in ("mat", "id"):
        for kind, line, mark in (("early", LINES[mapping], ""), ("fixed", ":", MARKS[mapping])):
            records = [record for record in table if (record["mapping"], record["exit"]) == (mapping, kind)]
            records.sort(key=lambda record: record[x])
            drawn: dict[str, Any] = {"color": COLORS[mapping], "linestyle": line, "marker": mark}
            line_with_band(axis, records, x, "precision", **drawn, label=f"{mapping}, {kind} exit")
    axis.axhline(precision, color="0.4", linewidth=0.8, linestyle=(0, (1, 2)), label=f"Precision@1 of {precision:g}")
    if x == "mean_layers":
        axis.set(xlabel="layers run (mean)", title=f"Early exit against fixed exit\n{about}")
    else:
        axis.axvline(1, color="0.4", linewidth=0.8, label="the full model")
        axis.set(xlabel="FLOPs relative to the full model, read-outs included", title=f"Cost of an exit\n{about}")
    axis.set(ylabel="Precision@1", ylim=(0, 1.02))
    label_below(figure, axis, 2)
    return figure

"""How every figure of the project looks in print, and how it is written: the same bytes every time, text as text."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt
import numpy as np

from linear_shortcuts.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.4, 7.0  # inches: the width of one column of print, and of both
# Colours of Okabe and Ito (2008), which people who see few colours tell apart; their greys differ as well, and so do
# the marks and lines drawn with them.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
STYLE: Any = {
    "figure.constrained_layout.use": True,
    "font.size": 7.5,
    "axes.titlesize": 8,
    "figure.titlesize": 8.5,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.linewidth": 0.6,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "svg.hashsalt": "linear-shortcuts",  # else every run has its own ids
    "svg.fonttype": "none",  # text stays text: it can be searched and edited
    "pdf.fonttype": 42,
}


def save(figure: Figure, folders: dict[str, Path], name: str) -> None:
    """Write a figure in each format (svg, pdf, png) to that format's folder, without dates, and close it."""
    logging.getLogger("fontTools").setLevel(logging.ERROR)  # of the fonts in a PDF it reports how old they are
    with plt.rc_context(STYLE):
        for suffix, folder in folders.items():
            undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(suffix)
            with atomic_file(folder / f"{name}.{suffix}") as file:
                figure.savefig(file, format=suffix, metadata=undated, dpi=300)
    plt.close(figure)


def tick_step(layers: int) -> int:
    """The study's tick distances: 2, 3, 4, 6 for 12, 24, 36, 48 layers; 1 for small models."""
    return 1 if layers < 12 else 2 if layers < 24 else 3 if layers < 36 else 4 if layers < 48 else 6


def label_below(figure: Figure, axes: Any, columns: int) -> None:
    """The legend of an axis, or of several with each label once, below the whole figure, where it covers no curve."""
    handles = {
        label: handle
        for axis in np.ravel(axes)
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=columns)


def line_with_band(
    axis: Axes,
    records: Sequence[Mapping[str, Any]],
    x: str,
    y: str,
    within: tuple[float, float] = (-np.inf, np.inf),
    **drawn: Any,
) -> None:
    """Records as a line, and their interval from `low` to `high` as a band that stays within what the value can be.

    A value that is None leaves a gap. drawn: as for `Axes.plot`, with a color.
    """
    at, value, low, high = (np.array([record[key] for record in records], dtype=float) for key in (x, y, "low", "high"))
    axis.plot(at, value, **drawn)
    axis.fill_between(at, low.clip(*within), high.clip(*within), color=drawn["color"], alpha=0.18, linewidth=0)


def label_points(
    axis: Axes, points: np.ndarray, labels: Sequence[str], colors: Sequence[str], size: float = 7.5
) -> None:
    """Write labels beside points (V, 2), each where it meets fewest of the points and of the labels before it.

    Places on the page are known only once the figure was drawn: call `Figure.draw_without_rendering` before.
    """
    places = axis.transData.transform(points) * 72 / axis.figure.dpi  # in points of the page
    reach = 0.85 * size
    taken = [(place, np.array([0.6, 0.6]) * size) for place in places]  # centre, width and height
    crowded = np.argsort([np.sort(np.linalg.norm(places - place, axis=1))[1:4].sum() for place in places])
    for index in crowded:  # where there is least choice first
        box = np.array([0.62 * size * len(labels[index]), size])
        options: list[tuple[float, int, np.ndarray]] = []
        for angle in np.radians(range(0, 360, 30)):
            way = np.array([np.cos(angle), np.sin(angle)])
            centre = places[index] + (reach + np.array([(box[0] - 0.62 * size) / 2, 0])) * way
            options.append((sum(_overlap(centre, box, *other) for other in taken), len(options), centre))
        centre = min(options, key=lambda option: option[:2])[2]
        taken.append((centre, box))
        axis.annotate(
            labels[index], points[index], centre - places[index], textcoords="offset points", color=colors[index],
            fontsize=size, ha="center", va="center_baseline", parse_math=False,
        )  # fmt: skip


def _overlap(centre: np.ndarray, box: np.ndarray, other_centre: np.ndarray, other_box: np.ndarray) -> float:
    """The area that two boxes, each of a centre and a width and height, have in common."""
    shared = (box + other_box) / 2 - np.abs(centre - other_centre)
    return float(np.prod(np.minimum(np.maximum(shared, 0), np.minimum(box, other_box))))

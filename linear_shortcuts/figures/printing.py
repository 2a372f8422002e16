"""How every figure of the project looks in print, and how it is written: the same bytes every time, text as text."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt

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


def label_below(figure: Figure, axis: Axes, columns: int) -> None:
    """The legend of an axis below the whole figure, where it covers no curve."""
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=columns)

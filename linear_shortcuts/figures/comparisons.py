"""The figure of two runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt

from linear_shortcuts.figures.plots import LABELS, marks
from linear_shortcuts.figures.printing import COLUMN, STYLE, label_below, line_with_band
from linear_shortcuts.scores import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison_figure(table: Table, layers: int, title: str) -> Figure:
    """How much more often the second run is right, by depth, a line per mapping with its interval.

    table: as `scores.comparison.compare` makes it; layers: of the first run.
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 3.0))
        for mapping in dict.fromkeys(record["mapping"] for record in table):
            own = [{**r, "depth": r["layer_a"] / layers} for r in table if r["mapping"] == mapping]
            line_with_band(axis, own, "depth", "difference", within=(-1, 1), **marks(mapping), label=LABELS[mapping])
        axis.axhline(0, color="black", linewidth=0.6)
        axis.set(title=title, xlabel="exit layer, as a share of the depth", ylabel="Precision@1, second − first")
        label_below(figure, axis, 2)
    return figure

"""The figure of transfer: the maps of another corpus beside a corpus's own, by exit layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from linear_shortcuts.figures.printing import BLUE, GREEN, PAGE, STYLE, VERMILLION, label_below, line_with_band
from linear_shortcuts.scores import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOOKS = {
    "own": (BLUE, "-", "o", "its own maps"),
    "half": (GREEN, "-", "^", "refitted on half of it"),
    "other": (VERMILLION, "--", "s", "maps of the other corpus"),
}


def draw_transfer(table: Table, about: str) -> Figure:
    """Precision@1 and KL by exit layer, a row for each corpus of the states; see `transfer.transfer_table`."""
    corpora = list(dict.fromkeys(record["corpus"] for record in table))
    panels = list(dict.fromkeys(record["panel"] for record in table))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(corpora), len(panels), figsize=(PAGE, 2.3 * len(corpora)), squeeze=False, sharex=True
        )
        for row, corpus in zip(axes, corpora, strict=True):
            for axis, panel in zip(row, panels, strict=True):
                for name, (color, line, mark, label) in LOOKS.items():
                    records = [
                        record
                        for record in table
                        if (record["corpus"], record["panel"], record["maps"]) == (corpus, panel, name)
                        and record["layer"] is not None  # the mean over all
                    ]
                    drawn: dict[str, Any] = {"color": color, "linestyle": line, "marker": mark, "label": label}
                    line_with_band(axis, records, "layer", "value", **drawn)
                axis.set(title=f"{panel}, states of {corpus}", xlabel="exit layer" if corpus == corpora[-1] else "")
                axis.set_ylim(bottom=0)
        label_below(figure, axes[0, 0], 3)
        figure.suptitle(f"Maps of one corpus on another, {about}")
    return figure

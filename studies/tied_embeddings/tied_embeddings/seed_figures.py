"""The figure of trainings that were repeated from several seeds: each seed is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from linear_shortcuts.figures.printing import BLUE, PAGE, STYLE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = Sequence[Mapping[str, Any]]


def differences(rows: Table) -> Figure:
    """Every seed's difference, untied minus tied, of the repeated experiments, a panel each, with mean and interval.

    rows: as `results.seed_differences` gives them.
    """
    experiments = list(dict.fromkeys(row["experiment"] for row in rows))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(experiments), figsize=(PAGE, 2.8), squeeze=False)
        for axis, experiment in zip(axes.flat, experiments, strict=True):
            own = [row for row in rows if row["experiment"] == experiment]
            for place, row in enumerate(own):
                axis.plot([row["low"], row["high"]], [place, place], color=BLUE, linewidth=3, alpha=0.35)
                axis.plot(row["estimate"], place, "|", color=BLUE, markersize=9)
                axis.plot(row["differences"], [place] * len(row["differences"]), "o", color=VERMILLION, markersize=3)
            axis.axvline(0, color="0.3", linewidth=0.8)
            axis.set_yticks(range(len(own)), [row["what"] for row in own])
            axis.invert_yaxis()
            axis.grid(visible=False, axis="y")
            axis.set(title=f"{experiment}, {len(own[0]['differences'])} seeds", xlabel="untied minus tied")
        figure.suptitle("Every seed (dots), their mean and its 95 % interval (bars)")
    return figure

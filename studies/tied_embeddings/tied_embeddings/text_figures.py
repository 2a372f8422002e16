"""The figures of the experiments on text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import StrMethodFormatter

from shortcuts.plots import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Table = Sequence[Mapping[str, Any]]

PAIRS = {"clones": ("a word and its clone", "#c8102e"), "random": ("two different words", "#555555")}


def clones(table: Table, about: str) -> Figure:
    """Mean distance of word and clone against that of different words, a panel for each matrix of embeddings."""
    matrices = list(dict.fromkeys(row["embeddings"] for row in table))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(matrices), figsize=(10.5, 3.6), sharey=True, squeeze=False)
        for axis, matrix in zip(axes[0], matrices, strict=True):
            for kind, (label, color) in PAIRS.items():
                rows = [row for row in table if (row["embeddings"], row["pairs"]) == (matrix, kind)]
                x, mean, low, high = (np.array([row[key] for row in rows]) for key in ("step", "distance", "low", "high"))
                axis.plot(x, mean, color=color, label=label)
                axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
            last = [row for row in table if row["embeddings"] == matrix][-1]
            axis.text(
                0.97, 0.97, f"nearest is the clone: {last['nearest_is_clone']:.0%}",
                transform=axis.transAxes, ha="right", va="top", fontsize=9, color=PAIRS["clones"][1],
            )  # fmt: skip
            axis.set(title=matrix, xlabel="steps", xlim=(0, None))
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes[0, 0].set(ylabel="Euclidean distance", ylim=(0, max(5, 1.05 * max(row["high"] for row in table))))
        axes[0, 0].legend(loc="lower left")
        figure.suptitle(f"Words that are the same and words that are not, {about}")
    return figure

"""The figures of schedules: what is left of the prediction, by the number of blocks that are run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
from matplotlib.ticker import MultipleLocator

from linear_shortcuts.figures.printing import (
    BLUE,
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
from linear_shortcuts.scores import KL, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Mapped lines are whole, dropped ones broken.
COLORS = {
    "best": BLUE,
    "final": VERMILLION,
    "greedy": GREEN,
    "round_robin": ORANGE,
    "chance": "0.45",
    "attention": PURPLE,
}
MARKS = {"best": "o", "final": "s", "greedy": "D", "round_robin": "^", "chance": "x", "attention": "v"}
LABELS = {
    "best": "best by r²",
    "final": "first blocks, then one jump",
    "greedy": "greedy by KL",
    "round_robin": "round robin",
    "chance": "by chance",
    "attention": "attention",
}


def draw_schedules(table: Table, about: str) -> dict[str, Figure]:
    """Every figure of a table of `tables.schedules_table`, by its name; none of an empty one."""
    if not table:
        return {}
    layers = max(record["blocks"] for record in table)
    with plt.rc_context(STYLE):
        return {
            f"schedules_{layers}": _figure(
                table, ["best", "greedy", "final", "chance", "round_robin"], layers, "blocks run",
                f"Blocks jumped over by maps, and blocks dropped, {about}",
            ),
            f"attention_{layers}": _figure(
                table, ["attention"], layers, "blocks with their own attention",
                f"Attention alone replaced by a matrix, and dropped, {about}",
            ),
        }  # fmt: skip


def _figure(table: Table, kinds: Sequence[str], layers: int, x: str, title: str) -> Figure:
    panels = list(dict.fromkeys(record["panel"] for record in table))
    figure, axes = plt.subplots(1, len(panels), figsize=(PAGE, 2.9))
    for axis, panel in zip(axes, panels, strict=True):
        own = [record for record in table if record["panel"] == panel]
        [whole] = [record for record in own if record["series"] == "full"]
        for kind in kinds:
            for how, line in (("mapped", "-"), ("dropped", "--")):
                records = [record for record in own if record["series"] == f"{kind} {how}"]
                drawn: dict[str, Any] = {"color": COLORS[kind], "marker": MARKS[kind], "linestyle": line}
                if how == "dropped":
                    drawn["markerfacecolor"] = "white"
                line_with_band(axis, sorted([*records, whole], key=lambda record: record["blocks"]), "blocks", "value",
                               **drawn, label=f"{LABELS[kind]}, {how}")  # fmt: skip
        axis.set(title=panel, xlabel=x)
        axis.xaxis.set_major_locator(MultipleLocator(tick_step(layers)))
        if panel.startswith("Precision"):
            axis.set_ylim(0, 1.02)
        elif panel == KL:
            axis.set_yscale("symlog", linthresh=0.1)
            axis.set_ylim(bottom=0)
        else:
            axis.set_yscale("log")
    label_below(figure, axes[0], 3)
    figure.suptitle(title)
    return figure

"""The study's figure: what is lost by the number of blocks left out, with what stands in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from linear_shortcuts.figures import printing
from linear_shortcuts.scores import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWN = {  # a method has its colour, mark and line everywhere
    "drop": (printing.VERMILLION, "s", "--"),
    "patch": (printing.ORANGE, "v", ":"),
    "fold": (printing.BLUE, "o", "-"),
    "matrix": (printing.GREEN, "^", "-."),
}
PANELS = {"kl": "KL to the whole model (nats)", "perplexity": "perplexity", "agreement": "agreement"}


def worth_figure(table: Table, model: str) -> Figure:
    """A row a text, a panel a measure, a line a method, with bands."""
    texts = list(dict.fromkeys(record["text"] for record in table))
    with plt.rc_context(printing.STYLE):
        size = (printing.PAGE, 2.2 * len(texts) + 0.4)
        figure, axes = plt.subplots(len(texts), len(PANELS), figsize=size, squeeze=False)
        for row, text in zip(axes, texts, strict=True):
            for axis, (measure, label) in zip(row, PANELS.items(), strict=True):
                for method, (color, mark, line) in DRAWN.items():
                    key = (text, text, method, measure)
                    own = [r for r in table if (r["text"], r["calibrated"], r["method"], r["measure"]) == key]
                    drawn: dict[str, Any] = {"color": color, "marker": mark, "linestyle": line, "label": method}
                    printing.line_with_band(axis, own, "blocks", "value", **drawn)
                axis.set(xlabel="blocks left out" if text == texts[-1] else "", ylabel=label)
                if measure != "agreement":
                    axis.set_yscale("log")
            row[0].set_title(text, loc="left")
        figure.suptitle(model)
        printing.label_below(figure, axes, len(DRAWN))
    return figure

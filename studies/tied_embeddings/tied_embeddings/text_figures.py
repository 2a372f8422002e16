"""The figures of the experiments on text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import StrMethodFormatter

from linear_shortcuts.figures.printing import (
    BLUE,
    GREEN,
    PAGE,
    PURPLE,
    SKY,
    STYLE,
    VERMILLION,
    label_below,
    line_with_band,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Table = Sequence[Mapping[str, Any]]

PAIRS = {"clones": ("a word and its clone", VERMILLION), "random": ("two different words", "0.35")}
VARIANTS = {"tied": "-", "untied": "--"}


def clones(table: Table, log: Table, about: str) -> Figure:
    """A word and its clone against two different words: as vectors (above) and as the model uses them (below)."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(PAGE, 4.4), sharex=True)
        for axis, what in zip(axes[0], ("tied", "untied, input", "untied, output"), strict=True):
            for kind, (label, color) in PAIRS.items():
                rows = [row for row in table if (row["what"], row["pairs"]) == (what, kind)]
                mark = "o" if kind == "clones" else "s"
                line_with_band(axis, rows, "step", "distance", (0, np.inf), color=color, marker=mark, label=label)
            axis.set(title=what, ylim=(0, 1.08 * max(row["high"] for row in table if "odds" not in row["what"])))
        axes[0, 0].set_ylabel("Euclidean distance")
        odds, exchange, loss = axes[1]
        for variant, line in VARIANTS.items():
            rows = [row for row in log if row["variant"] == variant]
            steps = [row["step"] for row in rows]
            for kind, (_, color) in PAIRS.items():
                wanted = (f"{variant}, log odds", kind)
                found = [row for row in table if (row["what"], row["pairs"]) == wanted]
                line_with_band(odds, found, "step", "distance", (0, np.inf), color=color, linestyle=line)
                name = "exchange_clones" if kind == "clones" else "exchange_words"
                exchange.plot(steps, [row[name] for row in rows], line, color=color)
            loss.plot(steps, [row["loss"] for row in rows], line, color=BLUE, label=variant)
        odds.set(title="log odds, root mean square", ylabel="nats", ylim=(0, None))
        exchange.set(title="exchanged: how far guesses move", ylabel="KL divergence (nats)", ylim=(0, None))
        loss.set(title="validation loss without the coin", ylabel="nats per masked token")
        top = np.percentile([row["loss"] for row in log], 85) + 0.2
        if top < max(row["loss"] for row in log):
            loss.set_ylabel(f"nats per masked token (cut at {top:.1f})")
        loss.set_ylim(top=top)
        label_below(figure, (axes[0, 0], loss), 4)
        for axis in axes[1]:
            axis.set(xlabel="steps", xlim=(0, None))
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        figure.suptitle(f"Words that are the same and words that are not, {about}")
    return figure


SHAPES = ((BLUE, "-"), (VERMILLION, "--"), (GREEN, "-."), (PURPLE, ":"))
ROLES = {"input": SKY, "output": BLUE}
GROUPS = {"alike": "alike in\nboth roles", "output alike": "as outputs\nonly", "input alike": "as inputs\nonly"}


def when_to_tie(gaps: Table, agreements: Table, pairs: Table, about: str) -> Figure:
    """Three questions before tying: what it costs, what each matrix reflects, what becomes of pairs of tokens.

    gaps, agreements, pairs: the tables of the report, of models that were trained both ways.
    """
    with plt.rc_context({**STYLE, "axes.axisbelow": True}):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 4.6), width_ratios=(1, 1.15, 1))
        _gaps(left, gaps, {row["model"]: row["held_out_loss"] for row in agreements})
        _followed(middle, agreements)
        _pairs(right, pairs)
        figure.suptitle(f"When to tie input and output embeddings: small models on {about}")
    return figure


def _gaps(axis: Axes, table: Table, held_out: Mapping[str, float]) -> None:
    ends = {}
    for (color, line), shape in zip(SHAPES, dict.fromkeys(row["shape"] for row in table), strict=False):
        rows = [row for row in table if row["shape"] == shape]
        line_with_band(axis, rows, "step", "gap", color=color, linestyle=line, marker="o", label=shape)
        ends[shape] = held_out[f"{shape}_untied"] - held_out[f"{shape}_tied"]
        axis.plot(rows[-1]["step"], ends[shape], "D", markersize=5, markerfacecolor="white", color=color, zorder=3)
    axis.plot([], [], "D", markersize=5, markerfacecolor="white", color="0.3", label="held out, at the end")
    axis.axhline(0, color="0.3", linewidth=0.8)
    # A single unstable step of training would make the rest of the picture flat.
    edges = np.percentile([row[key] for row in table for key in ("low", "high")], (3, 97))
    limit = 1.6 * max(0.02, *np.abs(edges), *map(abs, ends.values()))
    axis.set(title="1. What does tying cost?", xlabel="training steps", xlim=(0, None), ylim=(-limit, limit))
    cut = f"\ncut at ±{limit:.2f}" if any(max(-row["low"], row["high"]) > limit for row in table) else ""
    axis.set_ylabel(f"training loss, untied minus tied (nats per token){cut}")
    axis.annotate("tied is better", (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", color="0.3")
    axis.annotate("untied is better", (0.98, 0.03), xycoords="axes fraction", ha="right", va="bottom", color="0.3")
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))


def _followed(axis: Axes, table: Table) -> None:
    x = np.arange(len(table))
    for place, (learned, counted) in enumerate((a, b) for a in ROLES for b in ROLES):
        axis.bar(
            x + 0.2 * (place - 1.5),
            [row[f"{learned}_follows_{counted}"] for row in table],
            width=0.19,
            color=ROLES[counted],
            hatch="" if learned == "input" else "///",
            edgecolor="white",
            label=f"{learned} vectors, {counted} role",
        )
    axis.axhline(0, color="0.3", linewidth=0.8)
    names = [f"{row['model'].replace('_', ' ')} ({row['text_agreement']:.2f})" for row in table]
    axis.set_xticks(x, names, rotation=20, ha="right", rotation_mode="anchor")
    axis.grid(visible=False, axis="x")
    top = max(row[f"{a}_follows_{b}"] for row in table for a in ROLES for b in ROLES)
    axis.set(title="2. Which role do vectors reflect?", ylabel="rank correlation of distances")
    axis.set_ylim(min(0, *(row[f"{a}_follows_{b}"] for row in table for a in ROLES for b in ROLES)), 1.1 * top)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), title="in brackets: agreement of roles")


def _pairs(axis: Axes, table: Table) -> None:
    groups = [group for group in GROUPS if any(row["pairs"] == group for row in table)]
    models = list(dict.fromkeys(row["model"] for row in table))
    x = np.arange(len(groups))
    for number, (model, role) in enumerate((model, role) for model in models for role in ROLES):
        rows = {row["pairs"]: row for row in table if (row["model"], row["embeddings"]) == (model, role)}
        places = [place for place, group in enumerate(groups) if group in rows]
        ratio = np.array([rows[groups[place]]["ratio"] for place in places])
        half = np.array([rows[groups[place]]["high"] for place in places]) - ratio
        shift = (number - (2 * len(models) - 1) / 2) * 0.13
        color, _ = SHAPES[number // 2 % len(SHAPES)]
        axis.errorbar(
            x[places] + shift, ratio, half, fmt="o" if role == "input" else "s", color=color, capsize=2,
            markerfacecolor="white" if role == "input" else None, label=f"{model.replace('_', ' ')}, {role}",
        )  # fmt: skip
    axis.axhline(1, color="0.3", linewidth=0.8)
    axis.set_xticks(x, [GROUPS[group] for group in groups], fontsize=6.5)  # three of two words below a narrow panel
    axis.set_xlim(-0.6, len(groups) - 0.4)
    axis.grid(visible=False, axis="x")
    axis.set(title="3. Pairs of tokens by use", ylabel="distance relative to random pairs")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))

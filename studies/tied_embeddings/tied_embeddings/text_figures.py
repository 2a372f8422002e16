"""The figures of the experiments on text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import StrMethodFormatter

from linear_shortcuts.figures import STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Table = Sequence[Mapping[str, Any]]

PAIRS = {"clones": ("a word and its clone", "#c8102e"), "random": ("two different words", "#555555")}


VARIANTS = {"tied": "-", "untied": "--"}


def clones(table: Table, log: Table, about: str) -> Figure:
    """A word and its clone against two different words: as vectors (above) and as the model uses them (below)."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.4), sharex=True)
        for axis, what in zip(axes[0], ("tied", "untied, input", "untied, output"), strict=True):
            for kind, (label, color) in PAIRS.items():
                _band(axis, [row for row in table if (row["what"], row["pairs"]) == (what, kind)], color, "-", label)
            axis.set(title=what, ylim=(0, 1.08 * max(row["high"] for row in table if "odds" not in row["what"])))
        axes[0, 0].set_ylabel("Euclidean distance")
        axes[0, 0].legend(loc="lower left")
        odds, exchange, loss = axes[1]
        for variant, line in VARIANTS.items():
            rows = [row for row in log if row["variant"] == variant]
            steps = [row["step"] for row in rows]
            for kind, (_, color) in PAIRS.items():
                wanted = (f"{variant}, log odds", kind)
                _band(odds, [row for row in table if (row["what"], row["pairs"]) == wanted], color, line, variant)
                name = "exchange_clones" if kind == "clones" else "exchange_words"
                exchange.plot(steps, [row[name] for row in rows], line, color=color)
            loss.plot(steps, [row["loss"] for row in rows], line, color="#1f5fbf", label=variant)
        odds.set(title="log odds, root mean square", ylabel="nats", ylim=(0, None))
        exchange.set(title="exchanged: how far guesses move", ylabel="KL divergence (nats)", ylim=(0, None))
        loss.set(title="validation loss without the coin", ylabel="nats per masked token")
        loss.set_ylim(top=np.percentile([row["loss"] for row in log], 85) + 0.2)
        loss.legend()
        for axis in axes[1]:
            axis.set(xlabel="steps", xlim=(0, None))
            axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        figure.suptitle(f"Words that are the same and words that are not, {about}")
    return figure


def _band(axis: Axes, rows: Table, color: str, line: str, label: str) -> None:
    x, mean, low, high = (np.array([row[key] for row in rows]) for key in ("step", "distance", "low", "high"))
    axis.plot(x, mean, line, color=color, label=label)
    axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


SHAPES = ("#1f5fbf", "#d97706", "#2e7d32", "#7b1fa2")
ROLES = {"input": "#8fb0df", "output": "#1f5fbf"}
GROUPS = {"alike": "alike in\nboth roles", "output alike": "as outputs\nonly", "input alike": "as inputs\nonly"}


def when_to_tie(gaps: Table, agreements: Table, pairs: Table, about: str) -> Figure:
    """Three questions before tying: what it costs, what each matrix reflects, what becomes of pairs of tokens.

    gaps, agreements, pairs: the tables of the report, of models that were trained both ways.
    """
    with plt.rc_context({**STYLE, "axes.axisbelow": True}):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4.3), width_ratios=(1, 1.15, 1))
        _gaps(left, gaps, {row["model"]: row["held_out_loss"] for row in agreements})
        _followed(middle, agreements)
        _pairs(right, pairs)
        figure.suptitle(f"When to tie input and output embeddings: small models on {about}")
    return figure


def _gaps(axis: Axes, table: Table, held_out: Mapping[str, float]) -> None:
    ends = {}
    for color, shape in zip(SHAPES, dict.fromkeys(row["shape"] for row in table), strict=False):
        rows = [row for row in table if row["shape"] == shape]
        x, gap, low, high = (np.array([row[key] for row in rows]) for key in ("step", "gap", "low", "high"))
        axis.plot(x, gap, "o-", markersize=3, color=color, label=shape)
        axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
        ends[shape] = held_out[f"{shape}_untied"] - held_out[f"{shape}_tied"]
        axis.plot(x[-1], ends[shape], "D", markersize=7, markerfacecolor="white", color=color, zorder=3)
    axis.plot([], [], "D", markersize=7, markerfacecolor="white", color="0.3", label="held out, at the end")
    axis.axhline(0, color="0.3", linewidth=0.8)
    # A single unstable step of training would make the rest of the picture flat.
    edges = np.percentile([row[key] for row in table for key in ("low", "high")], (3, 97))
    limit = 1.6 * max(0.02, *np.abs(edges), *map(abs, ends.values()))
    axis.set(title="1. What does tying cost?", xlabel="training steps", xlim=(0, None), ylim=(-limit, limit))
    axis.set_ylabel("training loss, untied minus tied (nats per token)")
    axis.annotate("tied is better", (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", color="0.3")
    axis.annotate("untied is better", (0.98, 0.03), xycoords="axes fraction", ha="right", va="bottom", color="0.3")
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.legend(loc="upper left")


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
    names = [f"{row['model'].replace('_', chr(10))}\nroles agree: {row['text_agreement']:.2f}" for row in table]
    axis.set_xticks(x, names, fontsize=7)
    axis.grid(visible=False, axis="x")
    top = max(row[f"{a}_follows_{b}"] for row in table for a in ROLES for b in ROLES)
    axis.set(title="2. Which role of tokens do vectors reflect?", ylabel="rank correlation of distances")
    axis.set_ylim(0, 1.45 * top)
    axis.legend(fontsize=8, loc="upper center", ncols=2)


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
        axis.errorbar(
            x[places] + shift, ratio, half, fmt="o" if role == "input" else "s", color=SHAPES[number // 2], capsize=2,
            markerfacecolor="white" if role == "input" else None, label=f"{model.replace('_', ' ')}, {role}",
        )  # fmt: skip
    axis.axhline(1, color="0.3", linewidth=0.8)
    axis.set_xticks(x, [GROUPS[group] for group in groups], fontsize=9)
    axis.set_xlim(-0.6, len(groups) - 0.4)
    axis.grid(visible=False, axis="x")
    axis.set(title="3. Pairs of tokens, by their use in the text", ylabel="distance relative to random pairs")
    bottom, top = axis.get_ylim()
    axis.set_ylim(bottom, top + 0.3 * (top - bottom))  # room for the legend
    axis.legend(fontsize=7.5, loc="upper center", ncols=2, columnspacing=1)

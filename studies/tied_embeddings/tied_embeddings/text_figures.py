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


VARIANTS = {"tied": "-", "untied": "--"}


def clones(table: Table, log: Table, about: str) -> Figure:
    """A word and its clone against two different words: as vectors (above) and as the model uses them (below)."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.4), sharex=True)
        for axis, what in zip(axes[0], ("tied", "untied, input", "untied, output"), strict=True):
            for kind, (label, color) in PAIRS.items():
                _band(axis, [row for row in table if (row["what"], row["pairs"]) == (what, kind)], color, "-", label)
            axis.set(title=what, ylim=(0, 1.08 * max(5, *(row["high"] for row in table if "odds" not in row["what"]))))
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


def _band(axis: Any, rows: Table, color: str, line: str, label: str) -> None:
    x, mean, low, high = (np.array([row[key] for row in rows]) for key in ("step", "distance", "low", "high"))
    axis.plot(x, mean, line, color=color, label=label)
    axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


SHAPES = ("#1f5fbf", "#d97706", "#2e7d32", "#7b1fa2")
ROLES = {"input": "#8fb0df", "output": "#1f5fbf"}


def when_to_tie(gaps: Table, agreements: Table, pairs: Table, about: str) -> Figure:
    """Three questions before tying: what does it cost now, do the matrices want the same, and do pairs of tokens?"""
    models = [row["model"] for row in agreements if row["causal"] and not row["tied"]]
    with plt.rc_context({**STYLE, "axes.axisbelow": True}):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12.5, 4.1), width_ratios=(1.1, 1, 1))
        _gaps(left, gaps)
        _followed(middle, agreements)
        _pairs(right, [row for row in pairs if row["model"] in models])
        figure.suptitle(f"When to tie input and output embeddings, {about}")
    return figure


def _gaps(axis: Any, table: Table) -> None:
    for color, shape in zip(SHAPES, dict.fromkeys(row["shape"] for row in table), strict=False):
        rows = [row for row in table if row["shape"] == shape]
        x, gap, low, high = (np.array([row[key] for row in rows]) for key in ("step", "gap", "low", "high"))
        axis.plot(x, gap, "o-", markersize=3, color=color, label=shape)
        axis.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.annotate("↑ tie", (0.98, 0.97), xycoords="axes fraction", ha="right", va="top", color="0.3")
    axis.annotate("↓ do not", (0.98, 0.03), xycoords="axes fraction", ha="right", va="bottom", color="0.3")
    axis.set(title="Loss: untied minus tied", xlabel="training steps", ylabel="nats per predicted token", xlim=(0, None))
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.legend(loc="upper center")


def _followed(axis: Any, table: Table) -> None:
    x = np.arange(len(table))
    for place, (learned, counted) in enumerate((a, b) for a in ROLES for b in ROLES):
        axis.bar(
            x + 0.2 * (place - 1.5),
            [row[f"{learned}_follows_{counted}"] for row in table],
            width=0.19,
            color=ROLES[counted],
            hatch="" if learned == "input" else "///",
            edgecolor="white",
            label=f"{learned} embeddings, {counted} role",
        )
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.set_xticks(x, [row["model"].replace("_", "\n") for row in table], fontsize=8)
    axis.grid(visible=False, axis="x")
    axis.set(title="Which role of tokens does a matrix reflect?", ylabel="rank correlation of distances")
    axis.legend(fontsize=7, loc="upper left")


def _pairs(axis: Any, table: Table) -> None:
    groups = [group for group in dict.fromkeys(row["pairs"] for row in table) if group != "random"]
    models = list(dict.fromkeys(row["model"] for row in table))
    x = np.arange(len(groups))
    for number, (model, role) in enumerate((model, role) for model in models for role in ROLES):
        rows = {row["pairs"]: row for row in table if (row["model"], row["embeddings"]) == (model, role)}
        ratio = np.array([rows[group]["ratio"] for group in groups])
        half = np.array([rows[group]["high"] - rows[group]["ratio"] for group in groups])
        shift = (number - (2 * len(models) - 1) / 2) * 0.12
        axis.errorbar(
            x + shift, ratio, half, fmt="o" if role == "input" else "s", color=SHAPES[number // 2], capsize=2,
            markerfacecolor="white" if role == "input" else None, label=f"{model.replace('_', ' ')}, {role}",
        )  # fmt: skip
    axis.axhline(1, color="0.3", linewidth=0.8)
    axis.set_xticks(x, [f"{group}" for group in groups], fontsize=9)
    axis.set_xlim(-0.6, len(groups) - 0.4)
    axis.grid(visible=False, axis="x")
    axis.set(title="Distance of pairs, of untied models", ylabel="relative to random pairs")
    axis.legend(fontsize=7)

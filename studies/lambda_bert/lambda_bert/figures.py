"""The figures of the report, each drawn from its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from lambda_bert.report import Found
from linear_shortcuts.figures import COLORS, LABELS, STYLE, heatmap, r2_bar
from linear_shortcuts.scores import Table, precision_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELS = {"bert": "BERT", "lambdabert": "LambdaBERT"}
MODEL_COLORS = ("tab:gray", "tab:blue", "tab:olive", "tab:purple", "tab:brown")
# A part: what a matrix in its place is called, and nothing in its place.
PARTS = {"attention": ("mat_attn", "no_attn"), "feed-forward": ("mat_ffn", "no_ffn")}
VECTORS = {"content lambda": "tab:blue", "mean state": "tab:green"}


def name_of(model: str) -> str:
    name = model.removeprefix("distilled-")
    return MODELS.get(name, name) + (", distilled" if name != model else "")


def r2_heatmaps(found: Mapping[str, Found]) -> Figure:
    """r2 from layer to layer, a column for each model, mat above id."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(found), figsize=(3.5 * len(found) + 0.9, 6.8), squeeze=False)
        image: Any = None
        for column, (model, scores) in enumerate(found.items()):
            layers = max(record["layer"] for record in scores["exits"])
            for axis, mapping in zip(axes[:, column], ("mat", "id"), strict=True):
                image = heatmap(axis, scores["r2"], mapping, layers)
                axis.set(title=f"{name_of(model)}, {mapping}", ylabel="source layer" if column == 0 else None)
        r2_bar(figure, image, axes)
        figure.suptitle("Variance explained from layer to layer")
    return figure


def exit_lines(found: Mapping[str, Found]) -> Figure:
    """Precision@1 over exit layers, a column for each model: layer maps above, parts below."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(found), figsize=(3.7 * len(found), 6.4), sharey=True, squeeze=False)
        for column, (model, scores) in enumerate(found.items()):
            upper, lower = axes[:, column]
            for mapping in ("mat", "id"):
                _line(upper, scores["exits"], mapping, LABELS[mapping], COLORS[mapping], "-")
            for part, (matrix, nothing) in PARTS.items():
                _line(lower, scores["exits"], matrix, f"{part}: a matrix", COLORS[matrix], "-")
                _line(lower, scores["exits"], nothing, f"{part}: nothing", COLORS[matrix], ":")
            upper.set_title(name_of(model))
            lower.set_xlabel("exit layer")
        for axis, title in zip(axes[:, 0], ("layer maps", "a part replaced"), strict=True):
            axis.set(ylim=(0, 1.02), ylabel=f"Precision@1, {title}")
        for axis in axes[:, -1]:
            axis.legend(loc="upper left", fontsize=8)
        for axis in axes.flat:
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.suptitle("The exit's token is the full model's own")
    return figure


def _line(axis: Axes, exits: Table, mapping: str, label: str, color: str, style: str) -> None:
    records = [r for r in exits if r["mapping"] == mapping and r["panel"] == precision_panel(1)]
    records.sort(key=lambda record: record["layer"])
    x, value, low, high = ([record[key] for record in records] for key in ("layer", "value", "low", "high"))
    axis.plot(x, value, color=color, linestyle=style, label=label, marker="o", markersize=3)
    axis.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)


def part_lines(found: Mapping[str, Found]) -> Figure:
    """By block: how much of a part's output a matrix of its input explains, and how much of the stream that is."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(11.5, 3.7))
        panels = (
            ("attention", "r2", "attention or lambda layer: r²"),
            ("feed_forward", "r2", "feed-forward network: r²"),
            ("attention", "share", "attention or lambda layer: share"),
        )
        for axis, (part, key, title) in zip(axes, panels, strict=True):
            for (model, scores), color in zip(found.items(), MODEL_COLORS, strict=False):
                records = [record for record in scores["parts"] if record["part"] == part]
                blocks = [record["block"] + 1 for record in records]
                values = [record[key] for record in records]
                axis.plot(blocks, values, marker="o", markersize=3.5, color=color, label=name_of(model))
            axis.set(title=title, xlabel="block", ylim=(0, None))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel("r² of a matrix of its input")
        axes[2].set_ylabel("variance, of that of the stream after it")
        axes[0].set_ylim(top=1)
        axes[1].set_ylim(top=1)
        axes[0].legend(fontsize=8)
    return figure


def lambda_panels(spectra: Table, cka: Sequence[Sequence[float]]) -> Figure:
    """Effective rank and what sentences share, by layer, trained and untrained; and how alike layers are."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 4, figsize=(14.5, 3.6), width_ratios=(1, 1, 1, 1.15))
        trained = [record for record in spectra if record["model"] == "trained"]
        untrained = [record for record in spectra if record["model"] == "untrained"]
        for records, style, color in ((trained, "-", "tab:blue"), (untrained, "--", "0.55")):
            layers = [record["layer"] for record in records]
            label = records[0]["model"]
            axes[0].plot(layers, [r["effective_rank"] for r in records], style, color=color, marker="o", label=label)
            axes[1].plot(layers, [r["shared"] for r in records], style, color=color, marker="o", label=label)
        axes[0].axhline(trained[0]["largest_rank"], color="0.75", linewidth=0.8)
        axes[0].set(title="effective rank of a content lambda", xlabel="layer", ylim=(0, None))
        axes[1].set(title="share of the mean lambda in it", xlabel="layer", ylim=(0, 1.02))
        shades = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(trained)))
        for record, shade in zip(trained, shades, strict=True):
            values = np.array(record["singular_values"])
            places = np.arange(1, len(values) + 1)
            axes[2].plot(places, values / values[0], color=shade, label=f"layer {record['layer']}")
        axes[2].set(title="singular values, the first as 1", xlabel="number", yscale="log")
        image = axes[3].imshow(np.array(cka), vmin=0, vmax=1, cmap="viridis")
        for (row, column), number in np.ndenumerate(np.array(cka)):
            shade = "white" if number < 0.6 else "black"
            axes[3].text(column, row, f"{number:.2f}", ha="center", va="center", fontsize=6.5, color=shade)
        numbers = [str(record["layer"]) for record in trained]
        axes[3].set(title="likeness of layers (CKA)", xticks=range(len(cka)), yticks=range(len(cka)))
        axes[3].set(xticklabels=numbers, yticklabels=numbers, xlabel="layer", ylabel="layer")
        axes[3].grid(visible=False)
        figure.colorbar(image, ax=axes[3], shrink=0.85)
        for axis in axes[:3]:
            axis.legend(fontsize=7.5)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def probe_lines(probes: Table) -> Figure:
    """Accuracy of linear probes by layer, a panel for each question: lambdas and mean states, trained and untrained."""
    questions = {"length": "length", "word": "word content", "order": "swapped neighbours"}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(questions), figsize=(12, 3.7))
        for axis, (task, title) in zip(axes, questions.items(), strict=True):
            asked = [record for record in probes if record["task"] == task]
            for model, style in (("trained", "-"), ("untrained", "--")):
                for vector, color in VECTORS.items():
                    records = [r for r in asked if (r["model"], r["vector"]) == (model, vector)]
                    layers = [record["layer"] for record in records]
                    values = [record["accuracy"] for record in records]
                    axis.plot(layers, values, style, color=color, marker="o", markersize=3, label=f"{vector}, {model}")
            for vector, style in (("bag of embeddings", "-."), ("commonest", ":")):
                [level] = [r["accuracy"] for r in asked if (r["model"], r["vector"]) == ("trained", vector)]
                axis.axhline(level, color="0.35", linestyle=style, linewidth=1, label=_named(vector))
            [dealt] = [r for r in asked if r["model"] == "trained" and "random" in r["vector"]]
            axis.plot(
                [dealt["layer"]], [dealt["accuracy"]], "x", color="tab:red", label="content lambda, random labels"
            )
            axis.set(title=title, xlabel="layer", ylim=(0, 1.02))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes[0].set_ylabel("accuracy on validation sentences")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def _named(vector: str) -> str:
    return "always the commonest answer" if vector == "commonest" else vector

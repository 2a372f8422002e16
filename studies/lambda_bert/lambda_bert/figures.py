"""The figures of the report, each drawn from its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator, MultipleLocator

from lambda_bert.report import Found
from linear_shortcuts.figures import LABELS, heatmap, plots, r2_bar
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
from linear_shortcuts.scores import Table, precision_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODELS = {"bert": "BERT", "lambdabert": "LambdaBERT"}
MODEL_LINES = ((ORANGE, "s", "--"), (BLUE, "o", "-"), (GREEN, "^", "-."), (PURPLE, "D", ":"), (VERMILLION, "v", "-"))
# A part: what a matrix in its place is called, and nothing in its place.
PARTS = {"attention": ("mat_attn", "no_attn"), "feed-forward": ("mat_ffn", "no_ffn")}
VECTORS = {"content lambda": (BLUE, "o"), "mean state": (GREEN, "^")}


def name_of(model: str) -> str:
    """What a reader calls it: `distilled-bert` is BERT, distilled."""
    for before, after in (("distilled-", ", distilled"), ("early-", ", early")):
        if model.startswith(before):
            return MODELS.get(model.removeprefix(before), model) + after
    return MODELS.get(model, model)


def r2_heatmaps(found: Mapping[str, Found]) -> Figure:
    """r2 from layer to layer, a column for each model, mat above id."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(found), figsize=(PAGE, 2 * min(2.5, 6.2 / len(found)) + 0.6), squeeze=False)
        image: Any = None
        for column, (model, scores) in enumerate(found.items()):
            layers = max(record["layer"] for record in scores["exits"])
            for axis, mapping in zip(axes[:, column], ("mat", "id"), strict=True):
                image = heatmap(axis, scores["r2"], mapping, layers)
                axis.set(title=f"{name_of(model)}, {mapping}", ylabel="source layer" if column == 0 else None)
            axes[0, column].set_xlabel("")
        r2_bar(figure, image, axes)
        figure.suptitle("Variance explained from layer to layer")
    return figure


def exit_lines(found: Mapping[str, Found]) -> Figure:
    """Precision@1 over exit layers, a column for each model: layer maps above, parts below."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, len(found), figsize=(PAGE, 4.6), sharey=True, squeeze=False)
        for column, (model, scores) in enumerate(found.items()):
            upper, lower = axes[:, column]
            for mapping in ("mat", "id"):
                _line(upper, scores["exits"], mapping, **plots.marks(mapping), label=LABELS[mapping])
            for part, (matrix, nothing) in PARTS.items():
                drawn = plots.marks(matrix)
                _line(lower, scores["exits"], matrix, **drawn, label=f"{part}: a matrix")
                without = {**drawn, "linestyle": ":", "markerfacecolor": "white"}
                _line(lower, scores["exits"], nothing, **without, label=f"{part}: nothing")
            upper.set_title(name_of(model))
            lower.set_xlabel("exit layer")
        for axis, title in zip(axes[:, 0], ("layer maps", "a part replaced"), strict=True):
            axis.set(ylim=(0, 1.02), ylabel=f"Precision@1, {title}")
        label_below(figure, axes[:, 0], 3)
        for axis in axes.flat:
            layers_below(axis, max(record["layer"] for scores in found.values() for record in scores["exits"]))
        figure.suptitle("The exit's token is the full model's own")
    return figure


def layers_below(axis: Axes, layers: int) -> None:
    """Ticks of an axis of layers, as far apart as in the figures of the pipeline."""
    axis.xaxis.set_major_locator(MultipleLocator(tick_step(layers)))


def _line(axis: Axes, exits: Table, mapping: str, **drawn: Any) -> None:
    records = [r for r in exits if r["mapping"] == mapping and r["panel"] == precision_panel(1)]
    records.sort(key=lambda record: record["layer"])
    line_with_band(axis, records, "layer", "value", (0, 1), **drawn)


def part_lines(found: Mapping[str, Found]) -> Figure:
    """By block: how much of a part's output a matrix of its input explains, and how much of the stream that is."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.7))
        panels = (
            ("attention", "r2", "attention or lambda: r²"),
            ("feed_forward", "r2", "feed-forward: r²"),
            ("attention", "share", "attention or lambda: share"),
        )
        for axis, (part, key, title) in zip(axes, panels, strict=True):
            for (model, scores), (color, mark, line) in zip(found.items(), MODEL_LINES, strict=False):
                records = [record for record in scores["parts"] if record["part"] == part]
                blocks = [record["block"] + 1 for record in records]
                values = [record[key] for record in records]
                axis.plot(blocks, values, color=color, marker=mark, linestyle=line, label=name_of(model))
            axis.set(title=title, xlabel="block", ylim=(0, None))
            layers_below(axis, max(blocks))
        axes[0].set_ylabel("r² of a matrix of its input")
        axes[2].set_ylabel("variance, relative to the stream's")
        axes[0].set_ylim(top=1)
        axes[1].set_ylim(top=1)
        label_below(figure, axes[0], 3)
    return figure


def lambda_panels(spectra: Table, cka: Sequence[Sequence[float]]) -> Figure:
    """Effective rank and what sentences share, by layer, trained and untrained; and how alike layers are."""
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(2, 2, figsize=(PAGE, 5.2))
        axes = grid.flat
        trained = [record for record in spectra if record["model"] == "trained"]
        untrained = [record for record in spectra if record["model"] == "untrained"]
        for records, style, color in ((trained, "o-", BLUE), (untrained, "s--", "0.55")):
            layers = [record["layer"] for record in records]
            label = records[0]["model"]
            axes[0].plot(layers, [r["effective_rank"] for r in records], style, color=color, label=label)
            axes[1].plot(layers, [r["shared"] for r in records], style, color=color, label=label)
        axes[0].axhline(trained[0]["largest_rank"], color="0.5", linestyle=":", linewidth=0.8, label="largest possible")
        axes[0].set(title="effective rank of a content lambda", xlabel="layer", ylim=(0, None))
        axes[1].set(title="share of the mean lambda in it", xlabel="layer", ylim=(0, 1.02))
        shades = plt.get_cmap("cividis")(np.linspace(0, 0.85, len(trained)))
        for record, shade in zip(trained, shades, strict=True):
            values = np.array(record["singular_values"])
            places = np.arange(1, len(values) + 1)
            axes[2].plot(places, values / values[0], color=shade, label=f"layer {record['layer']}")
        axes[2].set(title="singular values, the first as 1", xlabel="number", yscale="log")
        image = axes[3].imshow(np.array(cka), vmin=0, vmax=1, cmap="cividis")
        for (row, column), number in np.ndenumerate(np.array(cka)):
            shade = "white" if number < 0.5 else "black"
            if len(cka) <= plots.NUMBERS_UP_TO:
                axes[3].text(column, row, f"{number:.2f}", ha="center", va="center", fontsize=5.5, color=shade)
        step = tick_step(len(cka))
        numbers = [str(record["layer"]) for record in trained][::step]
        axes[3].set(title="likeness of layers (CKA)", xticks=range(0, len(cka), step), yticks=range(0, len(cka), step))
        axes[3].set(xticklabels=numbers, yticklabels=numbers, xlabel="layer", ylabel="layer")
        axes[3].grid(visible=False)
        figure.colorbar(image, ax=axes[3], shrink=0.85, label="CKA, 1: alike")
        for axis in axes[:2]:
            axis.legend()
            layers_below(axis, max(record["layer"] for record in trained))
        axes[2].legend(ncols=2)
        axes[2].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def probe_lines(probes: Table) -> Figure:
    """Accuracy of linear probes by layer, a panel for each question: lambdas and mean states, trained and untrained."""
    questions = {"length": "length", "word": "word content", "order": "swapped neighbours"}
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(questions), figsize=(PAGE, 3.0), sharey=True)
        for axis, (task, title) in zip(axes, questions.items(), strict=True):
            asked = [record for record in probes if record["task"] == task]
            for model, style in (("trained", "-"), ("untrained", "--")):
                for vector, (color, mark) in VECTORS.items():
                    records = [r for r in asked if (r["model"], r["vector"]) == (model, vector)]
                    layers = [record["layer"] for record in records]
                    values = [record["accuracy"] for record in records]
                    axis.plot(layers, values, style, color=color, marker=mark, label=f"{vector}, {model}")
            for vector, style in (("bag of embeddings", "-."), ("commonest", ":")):
                [level] = [r["accuracy"] for r in asked if (r["model"], r["vector"]) == ("trained", vector)]
                axis.axhline(level, color="0.35", linestyle=style, linewidth=1, label=_named(vector))
            [dealt] = [r for r in asked if r["model"] == "trained" and "random" in r["vector"]]
            label = "content lambda, random labels"
            axis.plot([dealt["layer"]], [dealt["accuracy"]], "x", color=VERMILLION, markersize=5, label=label)
            axis.set(title=title, xlabel="layer", ylim=(0, 1.02))
            layers_below(axis, max(layers))
        axes[0].set_ylabel("accuracy on validation sentences")
        label_below(figure, axes[0], 3)
    return figure


def _named(vector: str) -> str:
    return "always the commonest answer" if vector == "commonest" else vector

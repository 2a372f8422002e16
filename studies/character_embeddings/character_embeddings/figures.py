"""The study's figures, each drawn from a table or from what a stage saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullLocator, StrMethodFormatter
from mpl_toolkits.mplot3d.proj3d import proj_transform

from character_embeddings.gradient import Demonstration
from character_embeddings.network import CharacterModel
from character_embeddings.vectors import METHODS
from character_embeddings.vocabulary import UNKNOWN, Vocabulary
from linear_shortcuts.figures.printing import (
    BLUE,
    COLUMN,
    PAGE,
    SKY,
    STYLE,
    VERMILLION,
    label_below,
    label_points,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Table = Sequence[Mapping[str, Any]]

KINDS = {"vowel": (VERMILLION, "o"), "consonant": (BLUE, "s"), "other": ("0.35", "^")}
ELEVATION = 22  # degrees, of the eye above the three-dimensional scatter
MAP_COLORS = {"linear": SKY, "affine": BLUE}
MAP_MARKS = {"linear": "s", "affine": "o"}
BASELINES = {"bigram": ":", "trigram": "--", "4-gram": "-.", "5-gram": (0, (5, 1, 1, 1, 1, 1))}


def losses(steps: Mapping[str, Sequence[float]], epochs: Table, counted: Mapping[str, float], about: str) -> Figure:
    """Loss of every step, its running mean, and the validation loss at the end of every epoch."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(PAGE, 3.4))
        x = np.arange(1, len(steps["loss"]) + 1)
        axis.plot(x, steps["loss"], color=BLUE, alpha=0.18, linewidth=0.4, label="train, every step", rasterized=True)
        axis.plot(x, steps["running"], color=BLUE, linewidth=1.1, label="train, running mean")
        ends = [epoch["steps"] for epoch in epochs]
        axis.plot(ends, [epoch["validation"] for epoch in epochs], "o-", color=VERMILLION, label="validation")
        _baselines(axis, counted)
        shown = [epoch["validation"] for epoch in epochs] + list(counted.values())
        axis.set(
            xlabel="steps",
            ylabel="loss (nats), cut at the first steps",
            title=f"Training, {about}",
            xlim=(0, 1.01 * len(x)),
        )
        axis.set_ylim(min(shown) - 0.25, max(*shown, steps["running"][min(len(x), 200) - 1]) + 0.2)
        axis.yaxis.set_major_formatter(FormatStrFormatter("%.2f"))
        axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        label_below(figure, axis, 4)
        figure.legends[0].get_lines()[0].set(alpha=0.5, linewidth=1.5)  # the line itself is too faint for a sample
    return figure


def _baselines(axis: Axes, counted: Mapping[str, float]) -> None:
    for name, loss in counted.items():
        axis.axhline(loss, color="0.35", linestyle=BASELINES[name], linewidth=0.9, label=f"{name} ({loss:.4f})")


def embeddings(
    points: np.ndarray,
    planes: Mapping[str, np.ndarray],
    tokens: Sequence[str],
    kinds: Sequence[str],
    axes: str,
    about: str,
) -> Figure:
    """The characters in three dimensions, (V, 3), and in the plane by each method of t-SNE, (V, 2)."""
    # A bare dot or bar would hardly be seen as a label.
    labels = ["?" if token == UNKNOWN else token if token.isalnum() else f"“{token}”" for token in tokens]
    colors = [KINDS[kind][0] for kind in kinds]
    with plt.rc_context({**STYLE, "axes.axisbelow": True}):
        figure = plt.figure(figsize=(PAGE, 5.6))
        grid = figure.add_gridspec(len(planes), 2)
        space: Any = figure.add_subplot(grid[:, 0], projection="3d")
        flats = {method: figure.add_subplot(grid[row, 1]) for row, method in enumerate(planes)}
        space.set_title(f"in three dimensions: {axes}")
        space.tick_params(labelsize=6, pad=-3)
        space.locator_params(nbins=4)
        space.view_init(elev=ELEVATION, azim=clearest_view(points, kinds))
        for kind, (color, mark) in KINDS.items():
            chosen = np.array([other == kind for other in kinds])
            space.scatter(*points[chosen].T, color=color, marker=mark, s=7, depthshade=False, alpha=0.6)
            for method, flat in flats.items():
                flat.scatter(
                    planes[method][chosen, 0],
                    planes[method][chosen, 1],
                    color=color,
                    marker=mark,
                    s=10,
                    alpha=0.5,
                    label=kind,
                )
        for method, flat in flats.items():
            flat.set_aspect("equal", adjustable="datalim")
            flat.margins(0.1)
            flat.set_title(f"in the plane: {METHODS[method]}")
        label_below(figure, [*flats.values()][-1], 3)
        figure.suptitle(f"The learned vectors of the characters, {about}")
        figure.draw_without_rendering()
        seen = np.stack(proj_transform(*points.T, space.get_proj())[:2], axis=1)
        label_points(space, seen, labels, colors)
        for method, flat in flats.items():
            label_points(flat, planes[method], labels, colors)
    return figure


def clearest_view(points: np.ndarray, kinds: Sequence[str]) -> int:
    """The azimuth, in degrees, from which points (V, 3), above all those of two kinds, hide each other least."""
    spans = np.ptp(points, axis=0)
    x, y, z = (points / np.where(spans > 0, spans, 1) * (4, 4, 3)).T  # as matplotlib's box stretches them
    rise = np.radians(ELEVATION)
    first, second = np.triu_indices(len(points), 1)
    names = np.array(kinds)
    weights = np.where(names[first] != names[second], 5, 1)

    def crowding(azimuth: int) -> float:
        turn = np.radians(azimuth)
        across = y * np.cos(turn) - x * np.sin(turn)
        up = z * np.cos(rise) - (x * np.cos(turn) + y * np.sin(turn)) * np.sin(rise)
        # Labels are wider than high, and stand to the right of their points.
        apart = ((across[first] - across[second]) / 2) ** 2 + (up[first] - up[second]) ** 2
        return float((weights / (apart + 0.05)).sum())

    return min(range(-180, 180, 5), key=crowding)


def shaded_one_hot(shown: Demonstration) -> np.ndarray:
    """Δᵀ (V, B * T), the columns of the second example raised by 1, of the third by 2, and so on."""
    matrix = shown.one_hot.T.numpy().copy()
    block_size = shown.ids.shape[1]
    return matrix + np.arange(matrix.shape[1]) // block_size


def gradient_identity(shown: Demonstration) -> Figure:
    """Δᵀ and G', whose product is the gradient of the embedding."""
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 4.0), width_ratios=(1.15, 1))
        left.imshow(shaded_one_hot(shown), cmap="gray", interpolation="nearest", aspect="auto")
        places = [f"({b}, {t})" for b in range(shown.ids.shape[0]) for t in range(shown.ids.shape[1])]
        left.set_xticks(range(len(places)), places, rotation=90, fontsize=6)
        left.set(xlabel="(b, t)", ylabel="i (characters)", title="$Δ^T$, one column a place")
        limit = float(shown.upstream.abs().max())
        image = right.imshow(
            shown.upstream, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest", aspect="auto"
        )
        right.set_yticks(range(len(places)), places, fontsize=6)
        right.set(xlabel="j (embedding)", ylabel="(b, t)", title="$G'$, gradient of the vectors looked up")
        right.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.colorbar(image, ax=right, shrink=0.8, label="gradient (white: 0)")
        for axis in (left, right):
            axis.grid(visible=False)
        verdict = f"largest difference {shown.max_difference:.1g}" + (", exactly equal" if shown.equal else "")
        figure.suptitle(
            "The gradient of an embedding is the product of the two, $Δ^T G'$\n"
            f"against automatic differentiation: {verdict}"
        )
    return figure


def sweep(records: Table, counted: Mapping[str, float], about: str) -> Figure:
    """Validation loss over the size of the embedding, a line a block size: mean over seeds, and every seed."""
    blocks = sorted({record["block_size"] for record in records})
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 3.4))
        colors = plt.get_cmap("cividis")(np.linspace(0, 0.85, len(blocks)))
        for number, (block, color) in enumerate(zip(blocks, colors, strict=True)):
            cells: dict[int, list[float]] = {}
            for record in records:
                if record["block_size"] == block:
                    cells.setdefault(record["embedding"], []).append(record["validation"])
            own, mark = sorted(cells), "os^Dv"[number % 5]
            axis.plot(own, [np.mean(cells[size]) for size in own], "-", color=color, label=f"block size {block}")
            for size in own:
                axis.scatter([size] * len(cells[size]), cells[size], marker=mark, s=9, color=color, alpha=0.7)
        _baselines(axis, counted)
        sizes = sorted({record["embedding"] for record in records})
        axis.set_xscale("log")
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set(
            xlabel="embedding size",
            ylabel="validation loss (nats)",
            title=f"Block size and embedding size,\n{about}; every seed, and lines of means",
        )
        axis.yaxis.set_major_formatter(FormatStrFormatter("%.2f"))
        label_below(figure, axis, 2)
    return figure


def maps(records: Table, own: float, counted: Mapping[str, float], about: str) -> Figure:
    """How well maps of the concatenated vectors stand in for what follows: r2, Precision@1 and loss."""
    targets = list(dict.fromkeys(record["target"] for record in records))
    shown = {
        (key, source): [r[key] for target in targets for r in records if (r["source"], r["target"]) == (source, target)]
        for key in ("r2", "precision_at_1", "loss")
        for source in MAP_COLORS
    }
    x = np.arange(len(targets))
    with plt.rc_context({**STYLE, "axes.axisbelow": True}):
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.7))
        for axis, key, title in zip(axes, ("r2", "precision_at_1"), ("r² of the target", "Precision@1"), strict=False):
            for place, (source, color) in enumerate(MAP_COLORS.items()):
                values = shown[key, source]
                bars = axis.bar(x + 0.36 * (place - 0.5), values, width=0.34, color=color, label=source)
                axis.bar_label(bars, fmt="{:.2f}", fontsize=5.5, padding=1)  # as the numbers in a heatmap
            axis.axhline(0, color="0.3", linewidth=0.8)
            axis.set_title(title)
        axes[0].set_ylim(min(0, *shown["r2", "linear"]) - 0.12, 1.12)
        axes[1].set_ylim(0, 1.12)
        for source, color in MAP_COLORS.items():
            axes[2].plot(x, shown["loss", source], MAP_MARKS[source], color=color, markersize=5, label=source)
        axes[2].axhline(own, color=VERMILLION, linewidth=1, label=f"network ({own:.4f})")
        _baselines(axes[2], counted)
        axes[2].set_title("loss (nats)")
        label_below(figure, axes[2], 4)
        for axis in axes:
            axis.set_xticks(x, targets)
            axis.set_xlim(-0.6, len(targets) - 0.4)
            axis.grid(visible=False, axis="x")
        figure.suptitle(f"Maps from the concatenated vectors to what follows, {about}")
    return figure


# --- the architecture --------------------------------------------------------------------------------------


def architecture(network: CharacterModel, vocabulary: Vocabulary, context: str, chances: np.ndarray) -> Figure:
    """The network as blocks: look-up, concatenation, two layers, and what it makes of one context."""
    emb, width = network.embedding.embedding_dim, network.hidden.out_features
    size = len(context)
    with plt.rc_context({**STYLE, "axes.grid": False}):
        figure, axis = plt.subplots(figsize=(PAGE, 2.9))
        axis.set(xlim=(-0.4, 12.6), ylim=(-0.9, 4.5))
        axis.axis("off")
        heights = np.linspace(3.6, 0.0, size) if size > 1 else np.array([1.8])
        high = min(0.8, 3.6 / size)
        palette = plt.get_cmap("Set2")(np.arange(size) % 8)
        for place, (character, bottom) in enumerate(zip(context, heights, strict=True)):
            _box(axis, 0.0, bottom - high / 2, 0.7, high, "white", f"“{character}”")
            _arrow(axis, (0.75, bottom), (1.85, bottom))
            _box(axis, 1.9, bottom - high / 2, 1.7, high, palette[place], f"{emb} numbers")
            joint = 4.0 - place * (4.0 / size) - 2.0 / size
            _arrow(axis, (3.65, bottom), (4.65, joint - 0.2))
            _box(axis, 4.7, joint - 0.2 - 2.0 / size, 0.6, 4.0 / size, palette[place], "")
        _box(axis, 6.5, 0.3, 0.9, 3.0, "#dfe7f3", f"{width}")
        _box(axis, 8.6, 0.8, 0.9, 2.0, "#dfe7f3", f"{len(vocabulary)}")
        _arrow(axis, (5.35, 1.8), (6.45, 1.8), "Linear,\nReLU")
        _arrow(axis, (7.45, 1.8), (8.55, 1.8), "Linear")
        _arrow(axis, (9.55, 1.8), (10.35, 1.8), "softmax")
        best = np.argsort(-chances, kind="stable")[:8]
        for row, number in enumerate(best):
            y = 3.5 - 0.5 * row
            token = vocabulary.tokens[number]
            axis.text(10.55, y, token, ha="center", va="center", fontsize=7.5)
            axis.add_patch(Rectangle((10.75, y - 0.15), 1.3 * chances[number] / chances.max(), 0.3, color=BLUE))
            axis.text(12.1, y, f"{chances[number]:.2f}", va="center")
        for x, text in (
            (0.35, "context"),
            (2.75, "look-up"),
            (5.0, "concatenation"),
            (6.95, "hidden"),
            (9.05, "logits"),
        ):
            axis.text(x, -0.7, text, ha="center", fontsize=7, color="0.3")
        axis.text(11.4, -0.7, "next character", ha="center", fontsize=7, color="0.3")
        parameters = sum(parameter.numel() for parameter in network.parameters())
        axis.set_title(f"From {size} characters to the next: {parameters:,} parameters")
    return figure


def _box(axis: Axes, x: float, y: float, width: float, height: float, color: Any, text: str) -> None:
    axis.add_patch(Rectangle((x, y), width, height, facecolor=color, edgecolor="0.3", linewidth=0.8))
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=6.5)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color="0.3", linewidth=0.9))
    if text:
        axis.text((start[0] + end[0]) / 2, start[1] + 0.12, text, ha="center", va="bottom", fontsize=6.5)

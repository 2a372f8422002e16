"""The study's figures, each drawn from a table or from what a stage saved."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import findfont, get_font
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter
from mpl_toolkits.mplot3d.proj3d import proj_transform

from linear_shortcuts.figures.printing import (
    BLUE,
    COLUMN,
    ORANGE,
    PAGE,
    PURPLE,
    STYLE,
    VERMILLION,
    label_below,
    label_points,
    tick_step,
)
from traveling_words.formats import visible
from traveling_words.tables import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORD, STATE, PATH = BLUE, PURPLE, VERMILLION  # as in the paper, as far as all readers can tell them apart
MATRIX_COLORS = {"qk": BLUE, "vo": ORANGE}
MATRIX_WIDTHS = {"qk": 2.2, "vo": 1.2}  # so that one shows below the other
MATRIX_NAMES = {"qk": "$W_{QK}$", "vo": "$W_{VO}$"}
SETTINGS = {
    "original": r"$\|e\|$",
    "scale": r"$\|\gamma \odot e\|$",
    "bias": r"$\|e\| + e \cdot \beta$",
    "bias_and_scale": r"$\|\gamma \odot e\| + e \cdot \beta$",
}


def label(text: str, longest: int = 16) -> str:
    """A token as the figures' font can write it; other characters as code points."""
    shown = "".join(c if ord(c) in _characters() else f"U+{ord(c):04X}" for c in visible(text))
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


@cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def token_scores(records: Table, about: str) -> Figure:
    """The tokens with the largest and the smallest scores, a panel for each of the four scores.

    A norm without a bias has no scores of its own with it: those panels would show the others again.
    """
    with plt.rc_context(STYLE):
        by_setting = {setting: [r for r in records if r["setting"] == setting] for setting in SETTINGS}
        each = len(by_setting["original"])
        unbiased = _shown(by_setting["bias"]) == _shown(by_setting["original"])
        settings = [setting for setting in SETTINGS if not (unbiased and "bias" in setting)]
        width = PAGE if len(settings) == 4 else COLUMN
        figure, axes = plt.subplots(1, len(settings), figsize=(width, 0.14 * each + 0.9))
        for axis, setting in zip(axes, settings, strict=True):
            chosen = by_setting[setting]
            places = -np.arange(len(chosen), dtype=float)
            places[each // 2 :] -= 0.7  # a gap between the largest and the smallest
            colors = [WORD] * (each // 2) + [STATE] * (each - each // 2)
            scores = [record["score"] for record in chosen]
            axis.hlines(places, 0, scores, color=colors, linewidth=1.2)
            axis.scatter(scores, places, color=colors, s=7, zorder=3)
            names = [_token_or_bytes(record) for record in chosen]
            axis.set_yticks(places, names, fontsize=6.5, parse_math=False)  # many, and in a narrow panel
            axis.axvline(0, color="0.6", linewidth=0.8)
            axis.set_title(SETTINGS[setting])
            axis.grid(visible=False, axis="y")
        axes[0].set_ylabel("smallest scores        largest scores")
        figure.suptitle(f"Tokens that the final norm favours and neglects,{chr(10) if unbiased else chr(32)}{about}")
    return figure


def _shown(records: Table) -> list[tuple[str, float]]:
    return [(record["bytes"], record["score"]) for record in records]


def _token_or_bytes(record: Mapping[str, Any]) -> str:
    """The token, or its bytes where they are no text by themselves."""
    raw = bytes.fromhex(record["bytes"])
    if "\N{REPLACEMENT CHARACTER}" in record["token"] or not record["token"].isprintable():
        return label("".join(f"\\x{byte:02x}" for byte in raw))
    return label(record["token"], 12)


def update_norms(records: Table, about: str) -> Figure:
    """How far each head, and the whole layer, moves a noun: one dot a noun, a bar at the mean."""
    blocks = list(dict.fromkeys(record["block"] for record in records))
    with plt.rc_context(STYLE):
        columns = min(3, len(blocks))
        rows = math.ceil(len(blocks) / columns)
        figure, axes = plt.subplots(rows, columns, figsize=(PAGE, 2.1 * rows + 0.5), squeeze=False)
        for axis in axes.flat[len(blocks) :]:
            axis.set_visible(False)
        for axis, block in zip(axes.flat, blocks, strict=False):
            names = list(dict.fromkeys(record["head"] for record in records if record["block"] == block))
            for place, name in enumerate(names):
                norms = [r["norm"] for r in records if (r["block"], r["head"]) == (block, name)]
                color = PATH if name == "layer sum" else WORD
                spread = np.linspace(-0.22, 0.22, len(norms)) if len(norms) > 1 else [0]
                axis.scatter(
                    place + np.asarray(spread),
                    norms,
                    s=4,
                    color=color,
                    marker="^" if color == PATH else "o",
                    alpha=0.55,
                    linewidth=0,
                )
                axis.hlines(float(np.mean(norms)), place - 0.34, place + 0.34, color="0.15", linewidth=1.4)
            heads = len(names) - 1
            numbered = [place for place in range(heads) if place % tick_step(heads) == 0 and place < heads - heads // 8]
            axis.set_xticks([*numbered, heads], [*(names[place] for place in numbered), "sum"])
            axis.set(title=f"block {block}", xlabel="head", ylim=(0, None))
            axis.grid(visible=False, axis="x")
        for axis in axes[:, 0]:
            axis.set_ylabel("norm of the update")
        figure.suptitle(f"How far heads move common nouns, {about}")
    return figure


def coverage(records: Table, block: int, about: str) -> Figure:
    """Share of the sum of singular values over the share of them, a panel a head, with the first point above 99 %."""
    chosen = [record for record in records if record["block"] == block]
    heads = list(dict.fromkeys(record["head"] for record in chosen))
    columns = math.ceil(math.sqrt(len(heads)))
    rows = math.ceil(len(heads) / columns)
    with plt.rc_context(STYLE):
        size = (PAGE, 0.8 * PAGE / columns * rows + 0.8)
        figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
        for axis in axes.flat[len(heads) :]:
            axis.set_visible(False)
        for axis, head in zip(axes.flat, heads, strict=False):
            for matrix, color in MATRIX_COLORS.items():
                curve = [r for r in chosen if (r["head"], r["matrix"]) == (head, matrix)]
                x, y = ([r[key] for r in curve] for key in ("share_of_values", "coverage"))
                axis.plot(x, y, color=color, label=MATRIX_NAMES[matrix], linewidth=MATRIX_WIDTHS[matrix])
                beyond = next(r["share_of_values"] for r in curve if r["coverage"] > 0.99)
                axis.axvline(beyond, color=color, linestyle="--" if matrix == "qk" else ":", linewidth=0.9)
            axis.axhline(
                0.99, color="0.5", linestyle="--", linewidth=0.7, label="99 %, first passed at the upright lines"
            )
            axis.set_title(f"head {head}", pad=3)
            axis.set(xlim=(0, 1.02), ylim=(0, 1.04), xticks=(0, 0.5, 1))
            axis.xaxis.set_major_formatter(PercentFormatter(1))
            axis.yaxis.set_major_formatter(PercentFormatter(1))
        label_below(figure, axes.flat[0], 4)
        for axis in axes[-1]:
            axis.set_xlabel("share of the values")
        for axis in axes[:, 0]:
            axis.set_ylabel("share of their sum")
        figure.suptitle(f"Singular values of block {block}, largest first, {about}")
    return figure


# --- the phrase --------------------------------------------------------------------------------------------


def layer_name(stage: int) -> str:
    """states[0] is what enters the model, states[1 + i] is layer i through the final norm."""
    return "input" if stage == 0 else "input, normed" if stage == 1 else f"after block {stage - 2}"


def chosen_stages(layers: int) -> list[int]:
    """The input, the input through the norm, the first three blocks and the last three; fewer blocks: all."""
    blocks = list(range(layers)) if layers < 6 else [0, 1, 2, layers - 3, layers - 2, layers - 1]
    return [0, 1, *(block + 2 for block in blocks)]


def trajectory_panels(path: Mapping[str, Any], tokens: Sequence[str], about: str) -> Figure:
    """Where the phrase's states are, a panel a layer, with the path so far of the followed token."""
    words, states, follow = path["words"], path["states"], path["follow"]
    stages = chosen_stages(len(states) - 2)
    columns = 3
    rows = math.ceil(len(stages) / columns)
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(PAGE, PAGE / columns * rows + 0.5))
        named: list[tuple[Any, np.ndarray, list[str]]] = []
        for place, stage in enumerate(stages, start=1):
            axis: Any = figure.add_subplot(rows, columns, place, projection="3d")
            _cube(axis, np.concatenate([words, states.reshape(-1, 3)]))
            axis.scatter(*words.T, color=WORD, s=5, depthshade=False)
            others = [n for n in range(len(tokens)) if n != follow]
            axis.scatter(*states[stage][others].T, color=STATE, s=7, marker="^", depthshade=False)
            axis.scatter(*states[stage][follow], color=PATH, s=16, marker="D", depthshade=False)
            walked = states[1 : stage + 1, follow]
            axis.plot(*walked.T, color=PATH, linewidth=1.2)
            axis.set_title(layer_name(stage), pad=-2)
            # Words stay where they are: named once, in the first panel, and in the others the states.
            points = words if place == 1 else states[stage]
            colors = [WORD if place == 1 else PATH if number == follow else STATE for number in range(len(tokens))]
            named.append((axis, points, colors))
        figure.suptitle(
            f"The phrase in three dimensions by {path['projection']}, {about}\n"
            "dots (blue): word vectors, named in the first panel; triangles (purple): states through the final norm;\n"
            "diamond and line (red): one of them and its path"
        )
        figure.draw_without_rendering()
        for axis, points, colors in named:
            _name(axis, points, tokens, colors, 6)
    return figure


def trajectory_path(path: Mapping[str, Any], tokens: Sequence[str], about: str) -> Figure:
    """The whole path of the followed token among the phrase's word vectors."""
    words, states, follow = path["words"], path["states"], path["follow"]
    walked = states[1:, follow]
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(COLUMN, 3.5))
        axis: Any = figure.add_subplot(projection="3d")
        _cube(axis, np.concatenate([words, walked]))
        axis.scatter(*words.T, color=WORD, s=10, depthshade=False)
        axis.plot(*walked.T, color=PATH, marker="^")
        figure.suptitle(
            f"The path of “{label(tokens[follow])}” by {path['projection']},\nnumbered by layer, {about}",
            parse_math=False,
        )
        figure.draw_without_rendering()
        last = len(walked) - 1
        layers = sorted({*range(0, last, tick_step(last)), last})
        points = np.concatenate([words, walked[layers]])
        _name(axis, points, [*tokens, *map(str, layers)], [WORD] * len(words) + [PATH] * len(layers), 7)
    return figure


def _name(axis: Any, points: np.ndarray, tokens: Sequence[str], colors: Sequence[str], size: float) -> None:
    """Write tokens beside their points (T, 3) of a figure that was drawn, where they meet least."""
    seen = np.stack(proj_transform(*points.T, axis.get_proj())[:2], axis=1)
    label_points(axis, seen, [label(token) for token in tokens], colors, size)


def _cube(axis: Any, points: np.ndarray) -> None:
    """The same axes for all panels, without numbers: coordinates of a projection mean nothing by themselves."""
    low, high = points.min(0), points.max(0)
    margin = 0.05 * np.maximum(high - low, 1e-9)
    for name, a, b in zip("xyz", low - margin, high + margin, strict=True):
        getattr(axis, f"set_{name}lim")(a, b)
        getattr(axis, f"{name}axis").set_pane_color((0.97, 0.97, 0.97, 1))
        getattr(axis, f"set_{name}ticks")(np.linspace(a, b, 6), [""] * 6)
        getattr(axis, f"{name}axis").line.set_color("0.7")
        getattr(axis, f"{name}axis").set_tick_params(color="none")
    axis.set_box_aspect(None, zoom=1.18)
    axis.view_init(elev=22, azim=-58)


def approach(records: Table, follows: str, target: str, about: str) -> Figure:
    """In the full space: rank, cosine and distance of the next word, over layers."""
    layers = [record["layer"] for record in records]
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.6))
        axes[0].plot(layers, [r["rank"] for r in records], color=PATH, marker="o", label="rank by logit")
        axes[0].plot(
            layers, [r["cosine_rank"] for r in records], color=STATE, marker="s", linestyle="-.", label="rank by cosine"
        )
        axes[0].set(yscale="log", title="rank among all tokens", ylabel="rank (1 at the top)")
        axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes[0].yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes[0].yaxis.set_minor_locator(NullLocator())
        axes[0].invert_yaxis()
        for axis, key, title in ((axes[1], "cosine", "cosine"), (axes[2], "distance", "Euclidean distance")):
            axis.plot(layers, [r[key] for r in records], color=PATH, marker="o", label="to this word")
            axis.plot(
                layers, [r[f"mean_{key}"] for r in records], color="0.45", linestyle="--", label="mean of all words"
            )
            axis.set(title=title)
        for axis in axes:
            axis.set_xlabel("layer")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=len(layers) // tick_step(len(layers) - 1) + 1))
        label_below(figure, axes, 4)
        figure.suptitle(f"From “{label(follows)}” to “{label(target)}” in the full space, {about}", parse_math=False)
    return figure


# --- an illustration ---------------------------------------------------------------------------------------


def sphere() -> Figure:
    """What a norm's parameters and a linear map make of points on a circle: an ellipse, shifted, turned."""
    angles = np.linspace(0, 2 * np.pi, 25)[:-1]
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    scaled = circle * [1.6, 0.7]
    shifted = scaled + np.array([0.6, 0.5])
    mapped = shifted @ np.array([[0.7, 0.6], [-0.8, 0.5]])
    titles = ("normalised: a sphere", r"times $\gamma$: an ellipsoid", r"plus $\beta$: moved", "times a matrix")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 4, figsize=(PAGE, 2.0), sharex=True, sharey=True)
        for axis, points, title in zip(axes, (circle, scaled, shifted, mapped), titles, strict=True):
            _ring(axis, points, angles)
            axis.set_title(title)
    return figure


def _ring(axis: Axes, points: np.ndarray, angles: np.ndarray) -> None:
    axis.plot(*np.concatenate([points, points[:1]]).T, color="0.75", linewidth=1)
    axis.scatter(points[:, 0], points[:, 1], c=angles, cmap="twilight", s=12, zorder=3, edgecolor="0.3", linewidth=0.4)
    axis.scatter([0], [0], marker="+", color="0.3", s=25, linewidth=1)
    axis.set(aspect="equal", xlim=(-2.4, 2.4), ylim=(-2.4, 2.4))

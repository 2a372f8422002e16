"""Figures of single runs, for the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg")  # no display needed

import matplotlib.pyplot as plt
import numpy as np
import torch

from linear_shortcuts.figures import printing
from linear_shortcuts.files import InputError
from tied_embeddings import experiment, measures
from tied_embeddings.settings import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = (printing.BLUE, printing.VERMILLION, printing.GREEN, printing.PURPLE, printing.ORANGE, printing.SKY)
LINES = ("-", "--", "-.", ":")


def accuracy(
    runs: Mapping[str, tuple[Run, Path]],
    name: str,
    window: int,
    stride: int,
    cutoff: int,
    reference: float | None,
    title: str,
) -> Figure:
    """Accuracy over epochs: a moving average, every `stride`-th point, up to `cutoff`."""
    with plt.rc_context(printing.STYLE):
        figure, axis = plt.subplots(figsize=(printing.COLUMN, 2.8))
        for number, (label, (run, folder)) in enumerate(runs.items()):
            logs = [log for log in run.log if log.split != "train"]
            if not logs:
                raise InputError(f"{folder} has no log of evaluations; train it with the log callback")
            lines = [line for line in measures.read_log(folder / logs[0].validation_epoch) if line["set"] == name]
            epochs, values = ([line[key] for line in lines][:cutoff] for key in ("epoch", "accuracy"))
            if len(values) < window:
                raise InputError(f"{folder} has {len(values)} evaluations up to the cutoff; choose a smaller --window")
            smooth = np.convolve(values, np.ones(window) / window, mode="valid")
            axis.plot(
                epochs[window - 1 :][::stride],
                smooth[::stride],
                LINES[number % 4],
                color=COLORS[number % 6],
                label=label,
            )
        if reference is not None:
            axis.axhline(reference, color="0.3", linestyle="--", linewidth=1)
        axis.set(xlabel="epochs", ylabel=f"accuracy, {name}", ylim=(0, 1.02), title=title)
        printing.label_below(figure, axis, 2)
    return figure


def distances(
    run: Run,
    folder: Path,
    pairs: Mapping[str, tuple[int, int]],
    side: str,
    stride: int,
    y_limits: Sequence[float],
    palette: str,
    title: str,
) -> Figure:
    """Distances of pairs over steps; of all pairs if none is named."""
    if not run.cdists:
        raise InputError(f"{folder} has no record of distances; train it with the cdists callback")
    kept = run.cdists[0]
    values = np.load(folder / getattr(kept, side))
    steps = measures.recorded_steps(run, folder, len(values))
    vocabulary = values.shape[1]
    if not pairs:
        pairs = {f"{i}–{j}": (i, j) for i in range(vocabulary) for j in range(i + 1, vocabulary)}
    if palette not in matplotlib.colormaps:
        raise InputError(f"--palette is {palette!r}, which matplotlib does not have; try tab10 or viridis")
    if len(y_limits) != 2:
        raise InputError(f"--y-limits has {len(y_limits)} numbers; give two, such as 0,4")
    colors = matplotlib.colormaps[palette].resampled(max(len(pairs), 2))
    with plt.rc_context(printing.STYLE):
        figure, axis = plt.subplots(figsize=(printing.COLUMN, 2.8))
        for number, (label, pair) in enumerate(pairs.items()):
            if not all(0 <= one < vocabulary for one in pair):
                raise InputError(f"--pair names {pair[0]},{pair[1]}, but symbols are 0 to {vocabulary - 1}")
            axis.plot(
                steps[::stride],
                values[::stride, pair[0], pair[1]],
                linestyle=LINES[number % 4],
                color=colors(number),
                label=label,
            )
        axis.set(
            xlabel="steps",
            ylabel=f"Euclidean distance (axis {y_limits[0]:g} to {y_limits[1]:g})",
            ylim=tuple(y_limits),
            title=title,
        )
        printing.label_below(figure, axis, 3)
    return figure


def embeddings(folder: Path, side: str, title: str) -> Figure:
    """The last embeddings, on their first two principal components."""
    state = experiment.load_state(folder)
    names = {"input": "input_embeddings.weight", "output": "output_embeddings.weight"}
    model = state["model"]
    vectors = (model[names[side]] if names[side] in model else model[names["input"]]).double()
    centred = vectors - vectors.mean(0)
    points = centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
    with plt.rc_context(printing.STYLE):
        figure, axis = plt.subplots(figsize=(printing.COLUMN, 3.2))
        axis.scatter(points[:, 0].numpy(), points[:, 1].numpy(), s=8, color=printing.BLUE)
        for number, point in enumerate(points.tolist()):
            axis.annotate(f" {number}", point)
        axis.set(xlabel="first component", ylabel="second component", title=title, aspect="equal")
    return figure


def write(figure: Figure, path: Path) -> None:
    """Write a figure in the format that its name ends with."""
    kind = path.suffix.removeprefix(".")
    if kind not in ("svg", "pdf", "png"):
        raise InputError(f"--out is {path}; its name must end in .svg, .pdf or .png")
    printing.save(figure, {kind: path.parent}, path.stem)
    print(f"figure in {path}")

"""Commands that look at what was trained: scores of saved models, and figures of single runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from linear_shortcuts.files import InputError
from tied_embeddings import settings as study
from tied_embeddings.options import Numbers
from tied_embeddings.parts import dataset_of, read_run


class Last(click.Command):
    """A command that ends the chain, so that its arguments and options may stand in any order."""

    def make_context(self, *args: Any, allow_interspersed_args: bool = True, **extra: Any) -> click.Context:
        return super().make_context(*args, **extra)

    def invoke(self, context: click.Context) -> Any:
        context.obj.ended = True
        return super().invoke(context)


def saved_run(folder: Path) -> study.Run:
    """The settings of a run's folder."""
    from tied_embeddings import experiment

    path = folder / experiment.SETTINGS
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the folder of one seed, such as data/runs/42-transformer")
    return read_run(path)


@click.command("test", cls=Last, short_help="Score saved models on every split.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
def test(folders: tuple[Path, ...]) -> None:
    """Score the last model of run FOLDERS, without sampling error, beside the best that can be reached.

    \b
    Example: python -m studies.tied_embeddings test studies/tied_embeddings/data/runs/42-lstm
    """
    from tied_embeddings import experiment, measures
    from tied_embeddings.training import stack_states

    click.echo(f"{'run':28}{'split':>12}{'accuracy':>10}{'optimum':>9}{'nats':>8}{'optimum':>9}")
    for folder in folders:
        run = saved_run(folder)
        if run.dataset.name != "xor":
            raise InputError(f"{folder} was trained on text; its scores are in its logs")
        dataset = dataset_of(run)
        [model] = measures.models_of(run, stack_states([experiment.load_state(folder)]), dataset)
        for split in ("train", "validation", "test"):
            found, best = measures.expected_scores(model, dataset, split), dataset.optimum(split)
            click.echo(
                f"{folder.name:28}{split:>12}{found['accuracy']:>10.4f}{best['accuracy']:>9.4f}"
                f"{found['cross_entropy']:>8.4f}{best['cross_entropy']:>9.4f}"
            )


OUT = click.option("--out", type=click.Path(path_type=Path), required=True, help="figure to write: .pdf, .svg or .png")
TITLE = click.option("--title", default="", help="above the figure")
STRIDE = click.option(
    "--stride", type=click.IntRange(1), default=1, show_default=True, help="draw every so many-th record"
)
LABELS = click.option("--label", "labels", multiple=True, help="of each folder or pair in turn; may be repeated")


@click.command("plot-accuracy", cls=Last, short_help="Draw accuracies of saved runs.")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@LABELS
@click.option(
    "--set",
    "name",
    type=click.Choice(["train-fresh", "held-out"]),
    default="train-fresh",
    show_default=True,
    help="evaluation set",
)
@click.option("--window", type=click.IntRange(1), default=1, show_default=True, help="evaluations of a moving average")
@click.option("--cutoff", type=int, default=-1, show_default=True, help="where to end, as in a Python slice")
@click.option("--reference", type=float, help="height of a dashed line")
@STRIDE
@TITLE
@OUT
def plot_accuracy(folders: tuple[Path, ...], labels: tuple[str, ...], **options: Any) -> None:
    """Draw the accuracy of run FOLDERS over epochs."""
    from tied_embeddings import drawing

    runs = {label: (saved_run(folder), folder) for label, folder in named(labels, folders).items()}
    out = options.pop("out")
    drawing.write(drawing.accuracy(runs, **options), out)


@click.command("plot-distances", cls=Last, short_help="Draw distances of pairs of symbols.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--side", type=click.Choice(["input", "output"]), default="input", show_default=True, help="which embeddings"
)
@click.option("--pair", "pairs", multiple=True, help="two ids such as 0,1; may be repeated  [default: all pairs]")
@LABELS
@click.option("--y-limits", type=Numbers(), default="0,4", show_default=True, help="of the axis of distances")
@click.option("--palette", default="tab10", show_default=True, help="a colour map of matplotlib")
@STRIDE
@TITLE
@OUT
def plot_distances(folder: Path, pairs: tuple[str, ...], labels: tuple[str, ...], **options: Any) -> None:
    """Draw the distances that the run in FOLDER recorded, over steps."""
    from tied_embeddings import drawing

    ids = [pair_of(pair) for pair in pairs]
    out = options.pop("out")
    figure = drawing.distances(saved_run(folder), folder, named(labels, ids) if ids else {}, **options)
    drawing.write(figure, out)


@click.command("plot-embeddings", cls=Last, short_help="Draw embeddings on their first two principal components.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--side", type=click.Choice(["input", "output"]), default="input", show_default=True, help="which embeddings"
)
@TITLE
@OUT
def plot_embeddings(folder: Path, side: str, title: str, out: Path) -> None:
    """Draw the last embeddings of the run in FOLDER."""
    from tied_embeddings import drawing

    drawing.write(drawing.embeddings(folder, side, title), out)


def named(labels: tuple[str, ...], values: Iterable[Any]) -> dict[str, Any]:
    """Values by their labels, or by themselves where there are none."""
    values = list(values)
    if labels and len(labels) != len(values):
        raise click.UsageError(
            f"{len(labels)} labels for {len(values)} things to draw; give --label for each or for none"
        )
    default = [value.name if isinstance(value, Path) else "–".join(map(str, value)) for value in values]
    names = labels or default
    if len(set(names)) < len(names):
        raise click.UsageError(
            f"two things to draw have the same name, of {', '.join(names)}; tell them apart by --label"
        )
    return dict(zip(names, values, strict=True))


def pair_of(text: str) -> tuple[int, int]:
    try:
        first, second = map(int, text.split(","))
    except ValueError:
        raise click.UsageError(f"--pair is {text!r}; give two ids with a comma, such as 0,1") from None
    return first, second


LOOKING = (test, plot_accuracy, plot_distances, plot_embeddings)

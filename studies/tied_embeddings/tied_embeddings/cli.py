"""The study's command line: the parts of a run, each a choice with options, put together and started.

Every option is generated from the field of `settings` that it sets, once for the command of its part, which can be
chained, and once for `train`, which has them all.
"""

from __future__ import annotations

import difflib
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

import click

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import checking
from tied_embeddings import settings as study

PROGRAM = "python -m studies.tied_embeddings"
ABOUT = f"""Tied embeddings: train, test and draw single runs.

A run is put together from parts, each a command with options of its own, in the order dataset, model, optimizer,
scheduler; loss, callbacks and saver stand anywhere after the model. The last command starts it:

\b
  {PROGRAM} xor --zero-dst 0.1,0.9 lstm --layers 2 \\
      adamw --learning-rate 0.0005 cosine cdists log train --epochs 2000

`train` also has all options itself, and reads a config file:

\b
  {PROGRAM} train --model lstm --layers 2 --epochs 2000
  {PROGRAM} train --experiment transformer-small --tied --epochs 2000
  {PROGRAM} train --config run.yaml

Every command answers to --help. Whole experiments, with figures: make study-tied_embeddings
"""

# part -> the settings it fills, and its choices: command -> what it sets
PARTS: dict[str, tuple[type, dict[str, dict[str, Any]]]] = {
    "dataset": (study.DatasetSettings, {"xor": {"name": "xor"}, "mlm": {"name": "mlm"}}),
    "model": (
        study.ModelSettings,
        {
            name + suffix: {"name": name, "tied": bool(suffix)}
            for name in ("transformer", "lstm", "mlp")
            for suffix in ("", "wt")
        },
    ),
    "optimizer": (study.OptimizerSettings, {"adam": {"name": "adam", "weight_decay": 0.0}, "adamw": {"name": "adamw"}}),
    "scheduler": (
        study.SchedulerSettings,
        {"cosine": {"name": "cosine"}, "constant": {"name": "none"}, "warm-up": {"name": "warm-up"}},
    ),
    "evaluation": (study.EvaluationSettings, {"evaluation": {}}),
    "cdists": (study.DistanceSettings, {"cdists": {}}),
    "log": (study.LogSettings, {"log": {}}),
    "embedding": (study.EmbeddingSettings, {"embedding": {}}),
    "decouple": (study.DecoupleSettings, {"decouple": {}}),
    "saver": (study.SaverSettings, {"saver": {}}),
}
FOREIGN = {  # settings that a choice does not have
    "transformer": ("token_feedforward",),
    "lstm": ("token_feedforward", "heads", "activation"),
    "mlp": ("heads",),
    "mlm": [item.name for item in fields(study.DatasetSettings)],
    "cosine": ("warm_up",),
    "constant": ("warm_up", "half_period", "lowest"),
    "warm-up": ("half_period", "lowest"),
}
CALLBACKS = ("cdists", "log", "embedding", "decouple")
BEFORE = {"model": "dataset", "optimizer": "model", "scheduler": "optimizer"}  # what a part needs before it
BEFORE |= dict.fromkeys(("evaluation", "saver", "loss", "callbacks", *CALLBACKS), "model")
ABOUT_PARTS = {
    "xor": "Masked parity: guess a masked symbol of a bit string.",
    "mlm": "Real text with cloned words, as `clones` in params.yaml sets it up.",
    "transformer": "Encoder layers without positions.",
    "lstm": "A bidirectional LSTM.",
    "mlp": "An MLP-mixer.",
    "adam": "Adam.",
    "adamw": "Adam with decoupled weight decay.",
    "cosine": "Learning rate on a cosine without end.",
    "constant": "The same learning rate always (scheduler: none).",
    "warm-up": "A linear rise to the learning rate, then constant.",
    "evaluation": "How often, and on how many draws, models are evaluated.",
    "cdists": "Record the distances between all embeddings.",
    "log": "Log accuracy and loss as JSON lines.",
    "embedding": "Record the embeddings themselves.",
    "decouple": "Untie tied embeddings after some epochs.",
    "saver": "Which states of the models are saved.",
}
HELP = {
    "bits": "bits of a string",
    "zero_dst": "probabilities of the symbols of bit 0, with commas",
    "one_dst": "probabilities of the symbols of bit 1, with commas",
    "dataset.seed": "of the split",
    "include_all_ones": "keep the string of only ones, which the original leaves out",
    "batch": "sequences a step",
    "shuffle": "shuffle what is cut into batches",
    "drop_last": "drop a last smaller batch",
    "device": "auto, cpu, cuda, …; on a CPU small models are fastest",
    "layers": "number of layers",
    "embedding": "numbers a symbol has",
    "feedforward": "width of a transformer's inner layer, an LSTM's state, a mixer's layers along channels",
    "token_feedforward": "width of a mixer's layers along positions; the same by default",
    "heads": "attention heads of a transformer; 1 by default",
    "dropout": "share of numbers dropped; above 0, models are trained one by one",
    "activation": "of a transformer or mixer",
    "learning_rate": "at the first step, or after warm-up",
    "weight_decay": "of all parameters",
    "beta1": "decay of the first moment",
    "beta2": "decay of the second moment",
    "epsilon": "added to the root of the second moment",
    "half_period": "steps of the cosine from its highest to its lowest",
    "lowest": "learning rate at the lowest of the cosine",
    "warm_up": "steps of the rise",
    "evaluation.every": "epochs between evaluations",
    "draws": "draws of every string at an evaluation",
    "evaluation.seed": "of those draws",
    "split": "what to record at: steps of training, or evaluations",
    "every": "steps between two records",
    "saver.every": "save model<epoch>.pt every so many epochs",
    "log.every": "steps and epochs of training between two lines",
    "input": "file of the input embeddings' record",
    "output": "file of the output embeddings' record",
    "times": "write the time into each line",
    "train_step": "file of the training steps",
    "train_epoch": "file of the training epochs",
    "validation_step": "file of the evaluations' steps",
    "validation_epoch": "file of the evaluations",
    "epochs": "after how many epochs",
    "best": "save modelbest.pt",
    "last": "save modellast.pt",
    "mode": "whether the best has the highest or the lowest accuracy",
}


class Numbers(click.ParamType):
    """Numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> list[float]:
        try:
            return [float(part) for part in value.split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 0.1,0.9", param, context)


class Builder:
    """The parts chosen so far, as a config file would hold them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.chosen: list[str] = []
        self.ended = False  # whether a command has done something with them

    def add(self, part: str, command: str, values: Mapping[str, Any]) -> None:
        """Take a part in, or say which one must come before it."""
        needed = BEFORE.get(part)
        if needed is not None and needed not in self.chosen:
            choices = " or ".join(PARTS[needed][1])
            raise click.UsageError(f"no {needed} before {command}; put {choices} before it")
        if part in self.chosen and part not in (*CALLBACKS, "callbacks"):
            raise click.UsageError(f"{command} is the second {part}; choose one")
        self.chosen.append(part)
        self.values[part] = dict(values)

    def update(self, values: Mapping[str, Any]) -> None:
        """Set single values, by part and field; without a part, of the run itself."""
        for key, value in values.items():
            part, _, name = key.rpartition(".")
            if not part:
                self.values[name] = value
            else:
                self.values[part] = {**(self.values.get(part) or {}), name: value}

    def run(self) -> study.Run:
        """The whole, checked."""
        if "model" not in self.values:
            raise click.UsageError("no model; give --model, --experiment or --config, or a model's command before this")
        return checking.build(study.Run, json.loads(json.dumps(self.values)), "")


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {key: value for key, value in values.items() if value not in (None, ())}


# --- options from settings ---------------------------------------------------------------------------------


def option(part: str, item: Field[Any], kind: Any, flat: bool) -> click.Option:
    """The option that sets a field; flat: with the name that it has beside the options of all other parts."""
    own = item.name.replace("_", "-")
    plain = part in ("model", "optimizer") or item.name in ("zero_dst", "one_dst")
    name = own if not flat or plain else f"{part}-{own}"
    text = HELP.get(f"{part}.{item.name}", HELP.get(item.name, ""))
    if item.default is not MISSING and item.default is not None:
        shown = ",".join(map(str, item.default)) if isinstance(item.default, tuple) else item.default
        text += f"  [default: {str(shown).lower() if isinstance(shown, bool) else shown}]"
    destination = f"{part}.{item.name}".replace(".", "__") if flat else item.name
    flag = f"--{name}/--no-{name}" if kind is bool else f"--{name}"
    return click.Option([flag, destination], type=option_type(kind), default=None, help=text)


def option_type(kind: Any) -> Any:
    arguments = [one for one in typing.get_args(kind) if one is not type(None)]
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return option_type(arguments[0])
    if typing.get_origin(kind) is Literal:
        return click.Choice(arguments)
    if typing.get_origin(kind) is tuple:
        return Numbers()
    return kind


def options_of(part: str, name: str | None = None) -> list[click.Parameter]:
    """The options of a part, of one of its choices or, with the names they have in `train`, of all."""
    kind = PARTS[part][0]
    hints = typing.get_type_hints(kind)
    hidden = {"name", "tied", *FOREIGN.get(name or "", ())}
    return [option(part, item, hints[item.name], name is None) for item in fields(kind) if item.name not in hidden]


def part_command(part: str, name: str, preset: Mapping[str, Any]) -> click.Command:
    """The command that chooses a part."""

    def choose(**values: Any) -> None:
        builder = click.get_current_context().find_object(Builder)
        assert builder is not None
        builder.add(part, name, {**preset, **given(values)})

    family = name.removesuffix("wt") if part == "model" else name
    about = ABOUT_PARTS[family]
    if name.endswith("wt"):
        about = about[:-1] + ", with tied embeddings."
    return click.Command(name, params=options_of(part, family), callback=choose, help=about, short_help=about)


# --- the group ---------------------------------------------------------------------------------------------


class Chain(click.Group):
    """A chained group whose help lists commands by part, and `help` as another way to ask."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(context):
            command = self.commands[name]
            sections.setdefault(getattr(command, "part", "last"), []).append((name, command.get_short_help_str(90)))
        for part in (*PARTS, "loss", "callbacks", "last"):
            if part in sections:
                with formatter.section(part):
                    formatter.write_dl(sections[part])

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands and name != "help":
            close = difflib.get_close_matches(name, self.commands, n=1)
            raise click.UsageError(f"no command {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(context, args)


@click.group(cls=Chain, chain=True, help=ABOUT)
@click.pass_context
def cli(context: click.Context) -> None:
    context.obj = Builder()


@cli.result_callback()
@click.pass_obj
def check_ended(builder: Builder, results: list[Any]) -> None:
    if not builder.ended:
        raise click.UsageError("nothing was started; end with train or view")


def register(command: click.Command, part: str) -> None:
    command.part = part  # type: ignore[attr-defined]
    cli.add_command(command)


for _part, (_, _choices) in PARTS.items():
    for _name, _preset in _choices.items():
        register(part_command(_part, _name, _preset), _part)


@click.command("cross-entropy", help="Mean cross-entropy of the masked symbols.")
@click.pass_obj
def cross_entropy(builder: Builder) -> None:
    builder.add("loss", "cross-entropy", {})
    builder.values["loss"] = "cross-entropy"


@click.command("no-callbacks", help="Record and log nothing.")
@click.pass_obj
def no_callbacks(builder: Builder) -> None:
    builder.add("callbacks", "no-callbacks", {})
    del builder.values["callbacks"]
    builder.values |= dict.fromkeys(CALLBACKS)


@click.command("help", help="Say what all commands do.")
@click.pass_context
def show_help(context: click.Context) -> None:
    assert context.parent is not None
    context.parent.obj.ended = True
    click.echo(context.parent.get_help())


register(cross_entropy, "loss")
register(no_callbacks, "callbacks")
register(show_help, "last")


class Last(click.Command):
    """A command that ends the chain, so that its arguments and options may stand in any order."""

    def make_context(self, *args: Any, allow_interspersed_args: bool = True, **extra: Any) -> click.Context:
        return super().make_context(*args, **extra)

    def invoke(self, context: click.Context) -> Any:
        context.obj.ended = True
        return super().invoke(context)


# --- train and view ----------------------------------------------------------------------------------------

RUN_OPTIONS: list[click.Parameter] = [
    click.Option(["--config"], type=click.Path(path_type=Path), help="read the run from a YAML or JSON file"),
    click.Option(["--experiment"], help="start from an experiment of params.yaml"),
    click.Option(["--params"], type=click.Path(path_type=Path), default=study.PARAMS, help="of --experiment and mlm"),
    click.Option(["--seed", "seeds"], type=int, multiple=True, help="one model each; may be repeated  [default: 42]"),
    click.Option(["--epochs"], type=int, help="draws of the whole dataset  [default: 1]"),
    click.Option(["--dataset", "dataset__name"], type=click.Choice(["xor", "mlm"]), help="[default: xor]"),
    click.Option(["--model", "model_choice"], type=click.Choice(list(PARTS["model"][1])), help="wt: tied"),
    click.Option(["--tied/--untied", "model__tied"], default=None, help="input and output embeddings are one"),
    click.Option(["--loss"], type=click.Choice(["cross-entropy"]), help="[default: cross-entropy]"),
    click.Option(["--optimizer", "optimizer__name"], type=click.Choice(["adam", "adamw"]), help="[default: adamw]"),
    click.Option(
        ["--scheduler", "scheduler__name"], type=click.Choice(["cosine", "none", "warm-up"]), help="[default: cosine]"
    ),
    click.Option(
        ["--callback", "callbacks"], type=click.Choice([*CALLBACKS, "none"]), multiple=True,
        help="what to record or do; may be repeated  [default: cdists and log]",
    ),
    click.Option(["--one-by-one/--together", "one_by_one"], default=None, help="one model after another"),
    click.Option(["--compile/--no-compile", "compile"], default=None, help="compile the step (needs a C++ compiler)"),
    click.Option(["--detect-anomaly/--no-detect-anomaly", "detect_anomaly"], default=None, help="stop at a NaN"),
]  # fmt: skip
FLAT: list[click.Parameter] = [one for part in PARTS for one in options_of(part)]


def composed(builder: Builder, values: dict[str, Any]) -> study.Run:
    """The run that config file, experiment, chained commands and options make, the later ones over the earlier."""
    config, experiment, params = (values.pop(key) for key in ("config", "experiment", "params"))
    callbacks, model = values.pop("callbacks"), values.pop("model_choice")
    chained, builder.values = builder.values, {"seeds": [42], "epochs": 1}
    if config is not None:
        builder.values |= asdict(read_run(config))
    if experiment is not None:
        composed_run = study.read(params).compose(experiment, "tied" if values.get("model__tied") else "untied")
        builder.values |= asdict(composed_run)
    if config is None and experiment is None and not set(chained) & set(CALLBACKS):
        builder.values |= {"cdists": {}, "log": {}}
    builder.values |= chained
    if callbacks:
        if "none" in callbacks and len(callbacks) > 1:
            raise click.UsageError("--callback none goes with no other callback")
        for name in CALLBACKS:
            builder.values[name] = (builder.values.get(name) or {}) if name in callbacks else None
    if model is not None:
        preset = PARTS["model"][1][model]
        tied = {} if model in ("transformer", "lstm", "mlp") else {"tied": True}
        builder.update({"model.name": preset["name"], **{f"model.{key}": value for key, value in tied.items()}})
    chosen = given(values)
    if "optimizer__name" in chosen:
        preset = PARTS["optimizer"][1][chosen["optimizer__name"]]
        builder.update({f"optimizer.{key}": value for key, value in preset.items()})
    builder.update({key.replace("__", "."): value for key, value in chosen.items()})
    run = builder.run()
    if run.dataset.name != "mlm":
        return replace(run, text=None)
    return run if run.text is not None else replace(run, text=study.read(params).clones)


def read_run(path: Path) -> study.Run:
    """A run from a config file; JSON is read as such, because YAML 1.1 takes 1e-12 for text."""
    if path.suffix != ".json":
        return checking.read_settings(path, study.Run)
    try:
        return checking.build(study.Run, json.loads(path.read_text(encoding="utf-8")), "")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a run's settings: {error}") from error


@click.command("view", cls=Last, params=[*RUN_OPTIONS, *FLAT], short_help="Show the run that has been put together.")
@click.pass_obj
def view(builder: Builder, **values: Any) -> None:
    """Show the run that has been put together, as a config file that `train --config` reads, and its parameters."""
    import yaml

    from tied_embeddings import experiment

    run = composed(builder, values)
    click.echo(yaml.safe_dump(json.loads(json.dumps(asdict(run))), sort_keys=False), nl=False)
    models = experiment.new_models(run, dataset_of(run))
    for name, parameter in models.parameters.items():
        click.echo(f"# {name}: {' x '.join(map(str, parameter.shape[1:]))}")
    count = sum(parameter[0].numel() for parameter in models.parameters.values())
    click.echo(f"# {count:,} parameters, {'tied' if run.model.tied else 'untied'}")


def dataset_of(run: study.Run) -> Any:
    """The dataset of a run; strings are made anew, text is read from the project's corpora."""
    from tied_embeddings import dataset, experiment

    if run.dataset.name == "xor":
        chosen = run.dataset
        return experiment.xor(chosen, dataset.bit_strings(chosen.bits, chosen.seed, chosen.include_all_ones))
    from tqdm import tqdm

    from linear_shortcuts.settings import read_params
    from tied_embeddings import clones

    assert run.text is not None
    watch = lambda texts: tqdm(texts, desc="read", disable=None)  # noqa: E731
    return clones.load_text(run.text, read_params(Path("params.yaml")), watch)


@click.command(
    "train",
    cls=Last,
    params=[
        click.Option(
            ["--out"], type=click.Path(path_type=Path), default=study.STUDY / "data" / "runs", show_default=True,
            help="folder for one folder a seed, SEED-MODEL",
        ),
        click.Option(
            ["--restore"], type=click.Path(path_type=Path),
            help="continue from the modellast.pt of each seed in this folder",
        ),
        click.Option(["--bar/--no-bar"], default=True, help="progress of the training"),
        *RUN_OPTIONS,
        *FLAT,
    ],
    short_help="Train the run that has been put together.",
)  # fmt: skip
@click.pass_obj
def train(builder: Builder, out: Path, restore: Path | None, bar: bool, **values: Any) -> None:
    """Train a run, all of its seeds at once, and write a folder for every seed.

    A run whose folders are there is not repeated; one that was killed continues after its last checkpoint.

    \b
    Example: python -m studies.tied_embeddings train --model lstm --layers 2 --embedding 4 --feedforward 8 --epochs 2000
    """
    run = composed(builder, values)
    from tqdm import tqdm

    from linear_shortcuts.files import Partial, artifacts
    from tied_embeddings import experiment

    if experiment.is_finished(run, out):
        click.echo(f"{out}: finished before; nothing to do")
        return
    if restore is None or restore.resolve() != out.resolve():  # a run may go on where it lies
        experiment.check_free(run, out)
    dataset = dataset_of(run)
    restored = experiment.restore(restore, run) if restore is not None else None
    if restored is not None and restored["epoch"] > run.epochs:
        raise InputError(f"{restore} has {restored['epoch']} epochs; give --epochs at least as many")
    sequences = dataset.strings if run.text is None else dataset.sentences
    recipe = {**experiment.recipe(run, sequences), "restore": str(restore)}
    with Partial(
        "tied_embeddings/train", artifacts.fingerprint(str(out.resolve()))[:16], recipe, code=__file__
    ) as partial:
        with tqdm(total=run.epochs, desc="train", unit="epoch", disable=None if bar else True) as shown:

            def watch(done: int) -> None:
                shown.update(done - shown.n)

            trainer, state = experiment.train(run, dataset, partial, restored=restored, watch=watch)
        experiment.save(trainer, state, run, out)
        partial.forget_others()
    for name, (loss, accuracy) in trainer.evaluate().items():
        click.echo(f"{name}: accuracy {accuracy.mean():.3f}, cross-entropy {loss.mean():.3f} nats")
    click.echo(
        f"{len(run.seeds)} models, {trainer.steps:,} steps, in {', '.join(str(out / run.folder(s)) for s in run.seeds)}"
    )


register(train, "last")
register(view, "last")


# --- look at what was trained ------------------------------------------------------------------------------


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


for _command in (test, plot_accuracy, plot_distances, plot_embeddings):
    register(_command, "last")


def main(arguments: list[str] | None = None, run: Callable[[Callable[[], None]], None] | None = None) -> None:
    """Run the command line; a problem of input is one line and exit code 2."""
    from linear_shortcuts.settings import program

    sys.argv[0] = "tied_embeddings"
    (run or program.run)(lambda: cli.main(arguments, prog_name=PROGRAM))

"""The study's command line: the parts of a run, each a command with options, put together and started.

Every option is made from the field of `settings` that it sets, and stands at the command of its part alone.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from linear_shortcuts.files import InputError
from tied_embeddings import settings as study
from tied_embeddings.looking import LOOKING, Last
from tied_embeddings.options import given, options_of
from tied_embeddings.parts import ABOUT, CALLBACKS, FOREIGN, PARTS, Builder, dataset_of, read_run

PROGRAM = "python -m studies.tied_embeddings"
HELP = f"""Tied embeddings: train, test and draw single runs.

A run is put together from parts, each a command with options of its own. A model stands after its dataset, an
optimizer after the model, a scheduler after the optimizer; the others anywhere. The last command starts it:

\b
  {PROGRAM} --seed 1 --seed 2 --epochs 2000 \\
      xor --zero-dst 0.1,0.9 lstm --layers 2 adamw --learning-rate 0.0005 train

It may start from an experiment of params.yaml or from a config file, which `view` prints; parts then change it:

\b
  {PROGRAM} --experiment transformer-small --tied --epochs 2000 train
  {PROGRAM} --config run.yaml adamw --weight-decay 0 train

`help` after any command says what it does. Whole experiments, with figures: make study-tied_embeddings
"""


class Chain(click.Group):
    """A chained group whose help lists commands by part, and that takes `help` anywhere."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(context):
            command = self.commands[name]
            sections.setdefault(getattr(command, "part", "last"), []).append((name, command.get_short_help_str(100)))
        for part in ("callbacks", "loss", *PARTS, "last"):
            if part in sections:
                with formatter.section(part):
                    formatter.write_dl(sections[part])

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.commands)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """`xor help` says what xor does, and `help` alone what all do, as --help would."""
        return super().parse_args(context, ["--help" if word == "help" else word for word in args])

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        name = args[0]
        if name not in self.commands:
            close = difflib.get_close_matches(name, self.commands, n=1)
            raise click.UsageError(f"no command {name!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(context, args)


@click.group(
    cls=Chain,
    chain=True,
    help=HELP,
    params=[
        *options_of(study.Run),
        click.Option(["--config"], type=click.Path(path_type=Path), help="start from the run of a YAML or JSON file"),
        click.Option(["--experiment"], help="start from an experiment of params.yaml"),
        click.Option(["--tied/--untied"], default=False, help="which of the experiment's two models"),
        click.Option(["--params"], type=click.Path(path_type=Path), default=study.PARAMS, help="of both"),
    ],
)
@click.pass_context
def cli(
    context: click.Context, config: Path | None, experiment: str | None, tied: bool, params: Path, **own: Any
) -> None:
    if config is not None and experiment is not None:
        raise click.UsageError("--config and --experiment both start a run; give one")
    base = read_run(config) if config is not None else None
    if experiment is not None:
        base = study.read(params).compose(experiment, "tied" if tied else "untied")
    context.obj = Builder(given(own), base, params)


@cli.result_callback()
@click.pass_obj
def check_ended(builder: Builder, results: list[Any], **_: Any) -> None:
    if not builder.ended:
        raise click.UsageError("nothing was started; end with train or view")


def register(command: click.Command, part: str = "last") -> None:
    command.part = part  # type: ignore[attr-defined]
    cli.add_command(command)


def part_command(part: str, name: str) -> click.Command:
    """The command that chooses a part."""

    def choose(**values: Any) -> None:
        builder = click.get_current_context().find_object(Builder)
        assert builder is not None
        builder.add(part, name, given(values))

    family = name.removesuffix("wt") if part == "model" else name
    about = ABOUT[family]
    if name.endswith("wt"):
        about = about[:-1] + ", with tied embeddings."
    options = options_of(PARTS[part].kind, FOREIGN.get(family, ()))
    return click.Command(name, params=options, callback=choose, help=about, short_help=about)


for _name, _part in PARTS.items():
    for _choice in _part.choices:
        register(part_command(_name, _choice), "callbacks" if _name in CALLBACKS else _name)


@click.command("cross-entropy", help="Mean cross-entropy of the masked symbols, the only loss.")
def cross_entropy() -> None:
    pass


@click.command("no-callbacks", help="Record and log nothing.")
@click.pass_obj
def no_callbacks(builder: Builder) -> None:
    builder.record_nothing()


register(cross_entropy, "loss")
register(no_callbacks, "callbacks")


@click.command("view", cls=Last, short_help="Show the run that has been put together.")
@click.pass_obj
def view(builder: Builder) -> None:
    """Show the run that has been put together, as a config file that --config reads, and its parameters."""
    import yaml

    from tied_embeddings import experiment

    run = builder.run()
    click.echo(yaml.safe_dump(experiment.as_config(run), sort_keys=False), nl=False)
    models = experiment.new_models(run, dataset_of(run))
    for name, parameter in models.parameters.items():
        click.echo(f"# {name}: {' x '.join(map(str, parameter.shape[1:]))}")
    count = sum(parameter[0].numel() for parameter in models.parameters.values())
    click.echo(f"# {count:,} parameters, {'tied' if run.model.tied else 'untied'}")


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
    ],
    short_help="Train the run that has been put together.",
)  # fmt: skip
@click.pass_obj
def train(builder: Builder, out: Path, restore: Path | None, bar: bool) -> None:
    """Train a run, all of its seeds at once, and write a folder for every seed.

    A run whose folders are there is not repeated; one that was killed continues after its last checkpoint.

    \b
    Example: python -m studies.tied_embeddings --epochs 2000 xor lstm --layers 2 --embedding 4 --feedforward 8 train
    """
    run = builder.run()
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


for _command in (train, view, *LOOKING):
    register(_command)


def main(arguments: list[str] | None = None, run: Callable[[Callable[[], None]], None] | None = None) -> None:
    """Run the command line; a problem of input is one line and exit code 2."""
    from linear_shortcuts.settings import program

    sys.argv[0] = "tied_embeddings"
    (run or program.run)(lambda: cli.main(arguments, prog_name=PROGRAM))

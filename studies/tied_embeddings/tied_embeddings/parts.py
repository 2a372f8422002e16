"""The parts that a run is put together from: for each, its choices, what they set, and what must come before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import checking
from tied_embeddings import settings as study


@dataclass(frozen=True)
class Part:
    """A part of a run: its settings, its choices (command -> what it sets beside its options), what it stands after."""

    kind: type
    choices: Mapping[str, Mapping[str, Any]]
    after: str | None = None
    most: int = 1  # how many there may be


MANY = 100
CALLBACKS = ("cdists", "log", "embedding", "decouple")
# In the order of the original's own chain; a part may stand anywhere after the one it needs.
PARTS = {
    "cdists": Part(study.DistanceSettings, {"cdists": {}}, most=MANY),
    "log": Part(study.LogSettings, {"log": {}}, most=MANY),
    "embedding": Part(study.EmbeddingSettings, {"embedding": {}}, most=MANY),
    "decouple": Part(study.DecoupleSettings, {"decouple": {}}),
    # The first is trained on; a second is what models are evaluated on.
    "dataset": Part(study.DatasetSettings, {"xor": {"name": "xor"}, "mlm": {"name": "mlm"}}, most=2),
    "model": Part(
        study.ModelSettings,
        {
            name + suffix: {"name": name, "tied": bool(suffix)}
            for name in ("transformer", "lstm", "mlp")
            for suffix in ("", "wt")
        },
        after="dataset",
    ),
    "optimizer": Part(
        study.OptimizerSettings,
        {"adam": {"name": "adam", "weight_decay": 0.0}, "adamw": {"name": "adamw"}},
        after="model",
    ),
    "scheduler": Part(
        study.SchedulerSettings,
        {"cosine": {"name": "cosine"}, "constant": {"name": "none"}, "warm-up": {"name": "warm-up"}},
        after="optimizer",
    ),
    "evaluation": Part(study.EvaluationSettings, {"evaluation": {}}),
    "saver": Part(study.SaverSettings, {"saver": {}}),
}
ABOUT = {
    "cdists": "Record the distances between all embeddings; may be repeated.",
    "log": "Log accuracy and loss as JSON lines; may be repeated.",
    "embedding": "Record the embeddings themselves; may be repeated.",
    "decouple": "Untie tied embeddings after some epochs.",
    "xor": "Masked parity: guess a masked symbol of a bit string. A second one is what models are evaluated on.",
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
    "saver": "Which states of the models are saved.",
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


class Builder:
    """The parts chosen so far, as a config file would hold them."""

    def __init__(self, values: Mapping[str, Any], base: study.Run | None, params: Path) -> None:
        """values: of the run itself, such as seeds; base: a run whose parts are taken until others are chosen."""
        whole = {"seeds": [42], "epochs": 1} if base is None else asdict(base)
        self.values: dict[str, Any] = {**whole, **values}
        self.base, self.params = base, params
        self.chosen: dict[str, int] = {}  # part -> how often
        self.ended = False  # whether a command has done something with them

    def add(self, name: str, command: str, values: Mapping[str, Any]) -> None:
        """Take a part in, or say which one must come before it."""
        part = PARTS[name]
        if self.base is None and part.after is not None and part.after not in self.chosen:
            choices = " or ".join(PARTS[part.after].choices)
            raise click.UsageError(f"no {part.after} before {command}; put {choices} before it")
        before = self.chosen.get(name, 0)
        if before >= part.most:
            raise click.UsageError(f"{command} is one {name} too many; choose {'one' if part.most == 1 else 'two'}")
        self.chosen[name] = before + 1
        new = {**part.choices[command], **values}
        if part.most > 2:
            self.values[name] = [*(self.values[name] if before else []), new]
        elif before:
            self.values["validation"] = new
        else:
            old = self.values.get(name) or {}
            self.values[name] = {**old, **new} if old.get("name") == new.get("name") else new

    def record_nothing(self) -> None:
        """Without callbacks, also of those that a run has by default."""
        self.chosen["log"] = 0
        self.values |= dict.fromkeys(CALLBACKS)

    def run(self) -> study.Run:
        """The whole, checked."""
        if "model" not in self.values:
            raise click.UsageError("no model; choose a dataset and a model, or give --config or --experiment first")
        if self.base is None and not self.chosen.keys() & set(CALLBACKS):
            self.values |= {"cdists": {}, "log": {}}
        run = checking.build(study.Run, json.loads(json.dumps(self.values)), "")
        if run.dataset.name != "mlm":
            return replace(run, text=None)
        return run if run.text is not None else replace(run, text=study.read(self.params).clones)


def read_run(path: Path) -> study.Run:
    """A run from a config file; JSON is read as such, because YAML 1.1 takes 1e-12 for text."""
    if path.suffix != ".json":
        return checking.read_settings(path, study.Run)
    try:
        return checking.build(study.Run, json.loads(path.read_text(encoding="utf-8")), "")
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a run's settings: {error}") from error


def dataset_of(run: study.Run) -> Any:
    """The dataset of a run; strings are made anew, text is read from the project's corpora."""
    from tied_embeddings import experiment

    if run.dataset.name == "xor":
        return experiment.xor_anew(run.dataset)
    from tqdm import tqdm

    from linear_shortcuts.settings import read_params
    from tied_embeddings import clones

    assert run.text is not None
    watch = lambda texts: tqdm(texts, desc="read", disable=None)  # noqa: E731
    return clones.load_text(run.text, read_params(Path("params.yaml")), watch)

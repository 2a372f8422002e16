"""What is kept of a training: distances, embeddings, logs, the best model; and what is done to it, decoupling.

All keep tensors with a first axis for the models, so that the record of one seed is a slice.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_shortcuts.files import atomic_file
from tied_embeddings.settings import (
    DecoupleSettings,
    DistanceSettings,
    EmbeddingSettings,
    LogSettings,
    SaverSettings,
)
from tied_embeddings.training import EACH, State, Trainer, map_tensors

Found = Mapping[str, tuple[Tensor, Tensor]]


class Silent:
    """A callback that does nothing; the others say what they do."""

    def before_step(self, trainer: Trainer) -> None:
        pass

    def after_step(self, trainer: Trainer, loss: Tensor, accuracy: Tensor) -> None:
        pass

    def after_epoch(self, trainer: Trainer) -> None:
        pass

    def evaluated(self, trainer: Trainer, found: Found) -> None:
        pass

    def finished(self, trainer: Trainer) -> None:
        pass

    def state(self) -> tuple[State, State]:
        return {}, {}

    def load(self, own: State, shared: State) -> None:
        pass

    def save(self, folder: Path, number: int) -> None:
        pass


def distances(vectors: Tensor) -> Tensor:
    """Euclidean distances between the rows of (R, V, d): (R, V, V)."""
    return (vectors[:, :, None] - vectors[:, None]).square().sum(-1).sqrt()


class Matrices(Silent):
    """Keeps a matrix made of the input embeddings, and one of the output embeddings, before every so many-th step and
    after the last, whichever that is: entry 0 is of the initial weights. Written as float32 arrays (T, ...)."""

    def __init__(
        self, of: Callable[[Tensor], Tensor], files: Mapping[str, str], every: int, at_evaluation: bool = False
    ) -> None:
        self.of, self.files, self.every, self.at_evaluation = of, files, every, at_evaluation
        self.steps: list[int] = []
        self.kept: dict[str, list[Tensor]] = {"input": [], "output": []}

    def before_step(self, trainer: Trainer) -> None:
        if not self.at_evaluation and trainer.steps % self.every == 0:
            self._keep(trainer)

    def evaluated(self, trainer: Trainer, found: Found) -> None:
        if self.at_evaluation:
            self._keep(trainer)

    def finished(self, trainer: Trainer) -> None:
        if not self.steps or self.steps[-1] != trainer.steps:
            self._keep(trainer)

    def _keep(self, trainer: Trainer) -> None:
        self.steps.append(trainer.steps)
        models = trainer.models
        for side, vectors in (("input", models.input_embeddings), ("output", models.output_embeddings)):
            self.kept[side].append(self.of(vectors.detach()).clone())

    def state(self) -> tuple[State, State]:
        own = {side: torch.stack(kept, 1) for side, kept in self.kept.items() if kept}
        return own, {"steps": list(self.steps)}

    def load(self, own: State, shared: State) -> None:
        self.steps = list(shared["steps"])
        self.kept = {side: list(own[side].unbind(1)) if self.steps else [] for side in self.kept}

    def save(self, folder: Path, number: int) -> None:
        for side, name in self.files.items():
            save_array(folder / name, torch.stack([kept[number].cpu() for kept in self.kept[side]]).numpy())


def distance_recorder(settings: DistanceSettings, ids: Tensor | None = None) -> Matrices:
    """Of the distances between these ids (P,), or between all."""
    files = {"input": settings.input, "output": settings.output}
    return Matrices(
        lambda vectors: distances(vectors if ids is None else vectors[:, ids]),
        files,
        settings.every,
        at_evaluation=settings.split == "validation",
    )


def embedding_recorder(settings: EmbeddingSettings) -> Matrices:
    return Matrices(lambda vectors: vectors, {"input": settings.input, "output": settings.output}, settings.every)


class Log(Silent):
    """Accuracy and loss as JSON lines: of training steps and epochs, and of evaluations."""

    def __init__(self, settings: LogSettings) -> None:
        self.settings = settings
        kinds = {"train": ["train_step", "train_epoch"], "validation": ["validation_step", "validation_epoch"]}
        chosen = kinds if settings.split == "both" else {settings.split: kinds[settings.split]}
        self.rows: dict[str, list[dict[str, Any]]] = {kind: [] for kinds in chosen.values() for kind in kinds}
        self.values: dict[str, list[Tensor]] = {kind: [] for kind in self.rows}  # (R, 2) a row
        self._epoch: list[Tensor] = []

    def after_step(self, trainer: Trainer, loss: Tensor, accuracy: Tensor) -> None:
        if "train_step" not in self.rows:
            return
        epoch_logged = trainer.epoch % self.settings.every == 0
        step_logged = (trainer.steps - 1) % self.settings.every == 0
        if step_logged or epoch_logged:
            values = torch.stack([accuracy, loss], 1)
            if step_logged:
                self._log("train_step", values, epoch=trainer.epoch, step=trainer.steps - 1)
            if epoch_logged:
                self._epoch.append(values)

    def after_epoch(self, trainer: Trainer) -> None:
        if self._epoch:
            values = torch.stack(self._epoch).mean(0)
            self._log("train_epoch", values, epoch=trainer.epoch - 1, step=trainer.steps - 1)
            self._epoch = []

    def evaluated(self, trainer: Trainer, found: Found) -> None:
        for name, (loss, accuracy) in found.items() if "validation_epoch" in self.rows else ():
            values = torch.stack([accuracy, loss], 1)
            # An evaluation is one step.
            for kind in ("validation_step", "validation_epoch"):
                self._log(kind, values, epoch=trainer.epoch, step=trainer.steps, set=name)

    def _log(self, kind: str, values: Tensor, **message: Any) -> None:
        if self.settings.times:
            message["time"] = time.strftime("%Y-%m-%dT%H:%M:%S")
        self.rows[kind].append(message)
        self.values[kind].append(values)

    def state(self) -> tuple[State, State]:
        own = {kind: torch.stack(values, 1) for kind, values in self.values.items() if values}
        return own, {kind: list(rows) for kind, rows in self.rows.items()}

    def load(self, own: State, shared: State) -> None:
        self.rows = {kind: list(rows) for kind, rows in shared.items()}
        self.values = {kind: list(own[kind].unbind(1)) if rows else [] for kind, rows in self.rows.items()}

    def save(self, folder: Path, number: int) -> None:
        for kind, rows in self.rows.items():
            values = torch.stack(self.values[kind])[:, number].tolist() if rows else []
            lines = (log_line(row, *both) for row, both in zip(rows, values, strict=True))
            save_text(folder / getattr(self.settings, kind), lines)


def log_line(row: Mapping[str, Any], accuracy: float, loss: float) -> str:
    message = {key: value for key, value in row.items() if key != "time"}
    line: dict[str, Any] = {"level": "INFO", "time": row["time"]} if "time" in row else {"level": "INFO"}
    line["message"] = {**message, "accuracy": round(accuracy, 6), "loss": round(loss, 6)}
    return json.dumps(line) + "\n"


class Decouple(Silent):
    """Unties tied embeddings after so many epochs."""

    def __init__(self, settings: DecoupleSettings) -> None:
        self.epochs = settings.epochs

    def after_epoch(self, trainer: Trainer) -> None:
        if trainer.epoch == self.epochs:
            trainer.untie()


class Checkpoints(Silent):
    """Keeps each model as it was at its best evaluation on held-out strings, by accuracy, then by loss, as it is at the
    end, and as it was every so many epochs."""

    def __init__(self, settings: SaverSettings) -> None:
        self.settings = settings
        self.sign = 1.0 if settings.mode == "max" else -1.0
        self.best: State = {}  # a state of each model and its `value`, stacked
        self.last: State = {}
        self.every: dict[int, State] = {}

    def evaluated(self, trainer: Trainer, found: Found) -> None:
        loss, accuracy = found["held-out"]
        value = torch.stack([accuracy, -loss], 1).double()
        old = self.best.get("value")
        better = [old is None or self._beats(new, old[number]) for number, new in enumerate(value)]
        if self.settings.best and any(better):
            state = _stacked(trainer, value)
            # Decoupling changes what a model is made of; the search begins again.
            if self.best and self.best["model"].keys() == state["model"].keys():
                rows = torch.tensor(better)
                map_tensors(lambda kept, now: kept.__setitem__(rows, now[rows]), self.best, state)
            else:
                self.best = state
        self.last = {"value": value}

    def _beats(self, new: Tensor, old: Tensor) -> bool:
        return (self.sign * new).tolist() > (self.sign * old).tolist()

    def after_epoch(self, trainer: Trainer) -> None:
        if self.settings.every and trainer.epoch % self.settings.every == 0:
            self.every[trainer.epoch] = _stacked(trainer, self.last["value"])

    def state(self) -> tuple[State, State]:
        own = {"best": self.best, "last": self.last, "every": list(self.every.values())}
        return map_tensors(Tensor.clone, own), {"epochs": list(self.every)}

    def load(self, own: State, shared: State) -> None:
        self.best, self.last = own["best"], own["last"]
        self.every = dict(zip(shared["epochs"], own["every"], strict=True))

    def save(self, folder: Path, number: int) -> None:
        states = {f"model{epoch}": state for epoch, state in self.every.items()}
        if self.settings.best:
            states["modelbest"] = self.best
        for name, state in states.items():
            save_checkpoint(folder / f"{name}.pt", map_tensors(lambda tensor: tensor[number].clone(), state))


def _stacked(trainer: Trainer, value: Tensor) -> State:
    """The trainer's state with everything as tensors that have a first axis for the models."""
    models = len(value)
    state = trainer.bare_state()
    shared = {key: part for key, part in state.items() if key not in EACH}
    repeated = map_tensors(lambda part: torch.stack([torch.as_tensor(part)] * models), shared)
    return {**state, **repeated, "value": value}


def save_array(path: Path, array: np.ndarray) -> None:
    with atomic_file(path) as file:
        np.save(file, array)


def save_text(path: Path, lines: Iterable[str]) -> None:
    with atomic_file(path) as file:
        file.writelines(line.encode() for line in lines)


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """A `.pt` file that `torch.load` opens with `weights_only`; equal states give equal bytes."""
    buffer = io.BytesIO()
    torch.save(_interned(state), buffer)
    with atomic_file(path) as file:
        file.write(buffer.getvalue())


def _interned(value: Any) -> Any:
    """With equal texts as one object: a pickle refers to an object it has seen, and to its equal it does not."""
    if isinstance(value, dict):
        return {_interned(key): _interned(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_interned(part) for part in value]
    return sys.intern(value) if isinstance(value, str) else value

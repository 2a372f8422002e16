"""A run from its settings: its parts put together, trained with checkpoints, and written to a folder for every seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from shortcuts import artifacts
from shortcuts.errors import InputError
from shortcuts.models import choose_device
from shortcuts.resume import Partial
from tied_embeddings import callbacks
from tied_embeddings.batched import Ensemble, Models
from tied_embeddings.dataset import Dataset, Xor
from tied_embeddings.models import new_model
from tied_embeddings.settings import STRINGS, DatasetSettings, Run
from tied_embeddings.training import Callback, Optimizer, State, Trainer, one_thread, schedule, stack_states, state_of

GENERATE = "studies/tied_embeddings/01_generate.py"
SETTINGS, LAST = "settings.json", "modellast.pt"


def load_strings(path: Path = STRINGS) -> dict[str, torch.Tensor]:
    """The strings that stage 01 wrote, by split."""
    return artifacts.load_mapping(path, "train", "validation", "test", made_by=GENERATE)


def xor(settings: DatasetSettings, strings: Mapping[str, torch.Tensor]) -> Xor:
    return Xor(settings.zero_dst, settings.one_dst, strings)


def new_models(run: Run, dataset: Dataset) -> Models:
    """Untrained models, one for each seed, as one computation where that is possible."""
    models = [new_model(run.model, dataset.vocabulary, dataset.length, seed, dataset.padding) for seed in run.seeds]
    device = choose_device(run.dataset.device)
    possible = dataset.single_target and dataset.length is not None and not run.model.dropout
    if possible and dataset.mask is not None and not run.one_by_one:
        return Ensemble(models, dataset.mask, device)
    return Models(models, device)


def new_trainer(run: Run, dataset: Dataset) -> Trainer:
    """All parts of a run, put together."""
    models = new_models(run, dataset)
    if run.compile:
        models.losses = torch.compile(models.losses)  # type: ignore[method-assign]
    torch.manual_seed(run.seeds[0])  # of dropout
    return Trainer(
        models,
        dataset,
        run.seeds,
        Optimizer(models.parameters, run.optimizer),
        schedule(run.scheduler, run.optimizer.learning_rate),
        run.evaluation,
        new_callbacks(run),
        batch=run.dataset.batch if run.dataset.name == "xor" else None,
        shuffle=run.dataset.shuffle,
        drop_last=run.dataset.drop_last,
    )


def new_callbacks(run: Run) -> list[Callback]:
    chosen: list[Callback] = [callbacks.Checkpoints(run.saver)]
    if run.cdists is not None:
        chosen.append(callbacks.distance_recorder(run.cdists))
    if run.embedding is not None:
        chosen.append(callbacks.embedding_recorder(run.embedding))
    if run.log is not None:
        chosen.append(callbacks.Log(run.log))
    if run.decouple is not None:
        chosen.append(callbacks.Decouple(run.decouple))
    return chosen


def train(
    run: Run,
    dataset: Dataset,
    partial: Partial | None = None,
    checkpoint: int = 5000,
    restored: State | None = None,
    watch: Callable[[int], None] = lambda done: None,
) -> tuple[Trainer, State]:
    """Train a run to its end; with `partial`, from its newest checkpoint, and with one every so many epochs.

    restored: where to start if there is no newer checkpoint, from `restore`.
    Returns the trainer, and the state from which a longer run would continue as if it had never stopped.
    """
    with one_thread(), torch.autograd.set_detect_anomaly(run.detect_anomaly):
        trainer = new_trainer(run, dataset)
        state = _newest(partial) or restored
        if state is not None:
            trainer.load(state)
        watch(trainer.epoch)
        while trainer.epoch < run.epochs:
            trainer.train(min(run.epochs, trainer.epoch - trainer.epoch % checkpoint + checkpoint), watch)
            if partial is not None:
                # Two files in turn: a kill while one is being replaced leaves the other.
                slot = trainer.epoch // checkpoint % 2
                files = {f"checkpoint_{slot}.pickle": trainer.state()}
                partial.save(f"checkpoint {slot}", files, note=trainer.epoch)
        state = trainer.state()
        trainer.finish()
    return trainer, state


def _newest(partial: Partial | None) -> State | None:
    slots = [] if partial is None else [slot for slot in (0, 1) if f"checkpoint {slot}" in partial]
    if partial is None or not slots:
        return None
    newest = max(slots, key=lambda slot: partial.note(f"checkpoint {slot}"))
    return partial.load(f"checkpoint_{newest}.pickle")


def recipe(run: Run, strings: Mapping[str, torch.Tensor] | None) -> dict[str, Any]:
    """What partial work depends on besides the library: the settings, the strings, and the study's own code."""
    code = {path.name: artifacts.file_sha256(path) for path in sorted(Path(__file__).parent.glob("*.py"))}
    data = {} if strings is None else {split: part.tolist() for split, part in strings.items()}
    return {"run": asdict(run), "strings": artifacts.fingerprint(data), "code": code}


# --- run folders -------------------------------------------------------------------------------------------


def save(trainer: Trainer, state: State, run: Run, folder: Path) -> None:
    """Write, for every seed, what the callbacks kept, the last state, and the settings, as `<seed>-<model>`."""
    for number, seed in enumerate(run.seeds):
        own = folder / run.folder(seed)
        for callback in trainer.callbacks:
            callback.save(own, number)
        if run.saver.last:
            callbacks.save_checkpoint(own / LAST, state_of(state, number))
        artifacts.save_json(own / SETTINGS, {**asdict(run), "seeds": [seed]})


def restore(folder: Path, run: Run) -> State:
    """The state in which the runs of all seeds were left, from their `modellast.pt`."""
    states = [_load_state(folder / run.folder(seed) / LAST) for seed in run.seeds]
    epochs = sorted({state["epoch"] for state in states})
    if len(epochs) > 1:
        raise InputError(
            f"{folder}: the seeds stopped after {' and '.join(map(str, epochs))} epochs; restore them apart"
        )
    return stack_states(states)


def _load_state(path: Path) -> State:
    if not path.is_file():
        raise InputError(f"{path} does not exist; restore from the folder of a run that was saved with its last state")
    return torch.load(path, weights_only=True)


def is_finished(run: Run, folder: Path) -> bool:
    """Whether the folder holds the results of this very run."""
    for seed in run.seeds:
        path = folder / run.folder(seed) / SETTINGS
        if not path.is_file() or artifacts.load_json(path) != _plain({**asdict(run), "seeds": [seed]}):
            return False
    return True


def _plain(value: Any) -> Any:
    """As it reads after a way through JSON."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value

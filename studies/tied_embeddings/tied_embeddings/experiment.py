"""A run from its settings: its parts put together, trained with checkpoints, and written to a folder for every seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from linear_shortcuts.files import InputError, Partial, artifacts
from linear_shortcuts.settings import choose_device, one_thread
from tied_embeddings import callbacks
from tied_embeddings.batched import Ensemble, Models
from tied_embeddings.dataset import Dataset, Xor, bit_strings
from tied_embeddings.models import new_model
from tied_embeddings.settings import STRINGS, DatasetSettings, Run
from tied_embeddings.training import Callback, Optimizer, State, Trainer, schedule, stack_states, state_of

GENERATE = "studies/tied_embeddings/01_generate.py"
SETTINGS, LAST = "settings.json", "modellast.pt"
RESTORED = (
    "model",
    "dataset",
    "validation",
    "saver",
    "cdists",
    "log",
    "embedding",
    "decouple",
    "text",
)  # must stay as they were


def load_strings(bits: int, path: Path = STRINGS) -> dict[str, torch.Tensor]:
    """The strings that stage 01 wrote, by split; `InputError` if they have another number of bits."""
    strings = artifacts.load_mapping(path, "train", "validation", "test", made_by=GENERATE)
    found = strings["train"].shape[1]
    if found != bits:
        raise InputError(f"{path} has strings of {found} bits, but dataset.bits is {bits}; run {GENERATE} again")
    return strings


def xor(settings: DatasetSettings, strings: Mapping[str, torch.Tensor]) -> Xor:
    return Xor(settings.zero_dst, settings.one_dst, strings)


def xor_anew(settings: DatasetSettings) -> Xor:
    """With its strings made anew, where no stage has written them."""
    return xor(settings, bit_strings(settings.bits, settings.seed, settings.include_all_ones))


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
        new_callbacks(run, dataset),
        batch=run.dataset.batch if run.dataset.name == "xor" else None,
        shuffle=run.dataset.shuffle,
        drop_last=run.dataset.drop_last,
        held_out=None if run.validation is None else xor_anew(run.validation),
    )


def new_callbacks(run: Run, dataset: Dataset) -> list[Callback]:
    chosen: list[Callback] = [callbacks.Checkpoints(run.saver)]
    chosen += [callbacks.distance_recorder(one, dataset.pairs) for one in run.cdists]
    chosen += [callbacks.embedding_recorder(one) for one in run.embedding]
    chosen += [callbacks.Log(one) for one in run.log]
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


def recipe(run: Run, sequences: Mapping[str, Iterable[torch.Tensor]]) -> dict[str, Any]:
    """What partial work depends on besides code: the settings and the dataset's sequences by split, strings or
    sentences."""
    data = {split: [row.tolist() for row in part] for split, part in sequences.items()}
    return {"run": asdict(run), "sequences": artifacts.fingerprint(data)}


# --- run folders -------------------------------------------------------------------------------------------


def save(trainer: Trainer, state: State, run: Run, folder: Path) -> None:
    """Write, for every seed, what the callbacks kept, the last state, and the settings, as `<seed>-<model>`."""
    for number, seed in enumerate(run.seeds):
        own = folder / run.folder(seed)
        for callback in trainer.callbacks:
            callback.save(own, number)
        if run.saver.last:
            callbacks.save_checkpoint(own / LAST, state_of(state, number))
        artifacts.save_json(own / SETTINGS, saved_settings(run, seed))


def saved_settings(run: Run, seed: int) -> dict[str, Any]:
    """What the folder of a seed says of its run."""
    return as_config(replace(run, seeds=(seed,)))


def as_config(run: Run) -> dict[str, Any]:
    """A run as a config file has it."""
    settings: dict[str, Any] = _plain(asdict(run))
    for name in ("text", "validation"):
        if settings[name] is None:
            del settings[name]
    for name in ("cdists", "log", "embedding"):  # none, one, or a list, as a config file may have it
        if len(settings[name]) < 2:
            settings[name] = settings[name][0] if settings[name] else None
    return settings


def restore(folder: Path, run: Run) -> State:
    """The state in which the runs of all seeds were left, from their `modellast.pt`.

    Raises `InputError` where one of them is not the same model on the same data, or has kept other records.
    """
    states = []
    for seed in run.seeds:
        states.append(load_state(folder / run.folder(seed)))
        check_restored(folder / run.folder(seed), run)
    epochs = sorted({state["epoch"] for state in states})
    if len(epochs) > 1:
        raise InputError(
            f"{folder}: the seeds stopped after {' and '.join(map(str, epochs))} epochs; restore them apart"
        )
    return stack_states(states)


def check_restored(folder: Path, run: Run) -> None:
    """Raise `InputError` unless the run of a seed's folder can be continued as this run."""
    saved, own = artifacts.load_json(folder / SETTINGS), saved_settings(run, run.seeds[0])
    for settings in (saved, own):
        settings["dataset"]["device"] = None  # which may be another one
    for key in RESTORED:
        there, here = saved.get(key), own.get(key)
        if there != here:
            if isinstance(there, dict) and isinstance(here, dict):
                name = next(name for name in here if there.get(name) != here[name])
                key, there, here = f"{key}.{name}", there.get(name), here[name]
            raise InputError(f"{folder}: {key} is {there} there and {here} in this run; restore with the same {key}")


def load_state(folder: Path) -> State:
    """The state in which the run of a seed's folder was left."""
    path = folder / LAST
    if not path.is_file():
        raise InputError(f"{path} does not exist; restore from the folder of a run that was saved with its last state")
    return torch.load(path, weights_only=True)


def is_finished(run: Run, folder: Path) -> bool:
    """Whether the folder holds the results of this very run."""
    return all(_holds(run, seed, folder) for seed in run.seeds)


def check_free(run: Run, folder: Path) -> None:
    """Raise `InputError` if the folder holds results of another run, some of which would stay beside the new ones."""
    for seed in run.seeds:
        if _holds(run, seed, folder) is False:
            raise InputError(
                f"{folder / run.folder(seed)} holds a run of other settings; give another --out, or delete it"
            )


def _holds(run: Run, seed: int, folder: Path) -> bool | None:
    """Whether the seed's folder is of this very run; None: it is of none."""
    path = folder / run.folder(seed) / SETTINGS
    return artifacts.load_json(path) == saved_settings(run, seed) if path.is_file() else None


def _plain(value: Any) -> Any:
    """As it reads after a way through JSON."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value

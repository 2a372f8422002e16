"""What the trained models of an experiment show, as flat records: one row is one seed, or one point of a curve."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from linear_shortcuts.settings import one_thread
from tied_embeddings import experiment
from tied_embeddings.batched import Models
from tied_embeddings.dataset import IGNORED, Xor
from tied_embeddings.models import EmbeddingModel
from tied_embeddings.settings import Pair, Run
from tied_embeddings.training import EVALUATIONS, State, schedule

Table = list[dict[str, Any]]
Runs = Mapping[str, tuple[Run, Path]]  # variant -> what was run, and the folder of its seeds
CHUNK = 16384  # sequences at once


def measure(runs: Runs, dataset: Xor, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Everything the report needs of one experiment.

    optima: accuracy and cross-entropy of the true posterior on each evaluation set, `published` with as many ones as
    zeros, and the best accuracy without parity. scores: of every seed, over all examples that can be drawn, each with
    its probability. distances: of every pair and seed, before and after, and when it had halved. decay: the share of a
    distance that weight decay alone would leave. curves: means over seeds with 95 % bands.
    """
    optima = {name: dataset.optimum(split) for name, split in EVALUATIONS.items()}
    return {
        "steps": {variant: run.epochs for variant, (run, _) in runs.items()},
        "optima": {**optima, "published": dataset.optimum(), "without_parity": without_parity(dataset)},
        "scores": [row for variant in runs for row in scores(variant, *runs[variant], dataset)],
        "distances": [row for variant in runs for row in distances(variant, *runs[variant], pairs)],
        "decay": decay_alone(runs["untied"][0]),
        "curves": [
            row
            for variant in runs
            for row in (*distance_curves(variant, *runs[variant], pairs), *accuracy_curves(variant, *runs[variant]))
        ],
    }


def without_parity(dataset: Xor) -> float:
    """The accuracy of guessing the commonest symbol, with as many ones as zeros."""
    return max(p / 2 for probabilities in dataset.distributions for p in probabilities)


def mean_score(found: Mapping[str, Any], variant: str, name: str = "train-fresh", key: str = "accuracy") -> float:
    return float(np.mean([row[key] for row in found["scores"] if (row["variant"], row["set"]) == (variant, name)]))


# --- scores ------------------------------------------------------------------------------------------------


def scores(variant: str, run: Run, folder: Path, dataset: Xor) -> Iterator[dict[str, Any]]:
    """Expected accuracy and cross-entropy of every seed's last model; solved: nearer the optimum than a guess."""
    solved = (dataset.optimum()["accuracy"] + without_parity(dataset)) / 2
    for seed, model in zip(run.seeds, load_models(run, folder, dataset), strict=True):
        for name, split in EVALUATIONS.items():
            found = expected_scores(model, dataset, split)
            yield {"variant": variant, "seed": seed, "set": name, **found, "solved": found["accuracy"] > solved}


def load_models(run: Run, folder: Path, dataset: Xor) -> list[EmbeddingModel]:
    """The last models of all seeds, in evaluation mode."""
    return models_of(run, experiment.restore(folder, run), dataset)


def models_of(run: Run, state: State, dataset: Xor) -> list[EmbeddingModel]:
    """The models of a saved state, in evaluation mode."""
    trainer = experiment.new_trainer(run, dataset)
    trainer.load(state)
    models: Models = trainer.models
    return [models.one(number) for number in range(len(run.seeds))]


@torch.no_grad()
def expected_scores(model: torch.nn.Module, dataset: Xor, split: str) -> dict[str, float]:
    """Accuracy and cross-entropy (nats) over everything that can be drawn, which no sampling error blurs.

    model: ids (n, N) to logits (n, N, V).
    """
    (ids, targets), weights = dataset.enumerate(split)
    correct, surprisal = [], []
    with one_thread():
        for rows, answers in zip(ids.split(CHUNK), targets.split(CHUNK), strict=True):
            places = answers != IGNORED
            logits = model(rows)[places].double()
            answer = answers[places]
            correct.append((logits.argmax(-1) == answer).double())
            surprisal.append(logits.logsumexp(-1) - logits.gather(1, answer[:, None]).squeeze(1))
    return {
        "accuracy": float(torch.cat(correct) @ weights),
        "cross_entropy": float(torch.cat(surprisal) @ weights),
    }


# --- distances and curves ----------------------------------------------------------------------------------


def load_distances(run: Run, folder: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Steps (T,), and the recorded distances of all seeds (R, T, V, V), by side: `tied`, or `input` and `output`."""
    kept = run.cdists[0]
    sides = {"tied": kept.input} if run.model.tied else {"input": kept.input, "output": kept.output}
    found = {
        side: np.stack([np.load(folder / run.folder(seed) / name) for seed in run.seeds])
        for side, name in sides.items()
    }
    return recorded_steps(run, folder / run.folder(run.seeds[0]), next(iter(found.values())).shape[1]), found


def recorded_steps(run: Run, folder: Path, records: int) -> np.ndarray:
    """The steps (T,) of the records of distances in a seed's folder: every so many-th, and the last."""
    kept = run.cdists[0]
    every = kept.every if kept.split == "train" else run.evaluation.every
    return np.minimum(np.arange(records) * every, experiment.load_state(folder)["steps"])


def distances(variant: str, run: Run, folder: Path, pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    """Of every pair and seed: the distance before the first step and at the last record.

    halved: the step of the first record at which no more than half of the first distance was left, or None.
    """
    steps, found = load_distances(run, folder)
    for side, values in found.items():
        for pair in pairs:
            own = values[:, :, pair.symbols[0], pair.symbols[1]]
            for seed, line in zip(run.seeds, own, strict=True):
                yield {
                    "variant": variant, "side": side, "pair": label(pair), "violates": pair.violates, "seed": seed,
                    "start": float(line[0]), "end": float(line[-1]), "step": int(steps[-1]),
                    "halved": next((int(step) for step in steps[line <= line[0] / 2]), None),
                }  # fmt: skip


def decay_alone(run: Run) -> float | None:
    """The share of a distance that a run's weight decay alone leaves: the product of 1 - learning rate x decay.

    None for Adam, whose decay goes through the moments.
    """
    if run.optimizer.name != "adamw":
        return None
    rate = schedule(run.scheduler, run.optimizer.learning_rate)
    return math.prod(1 - rate(step) * run.optimizer.weight_decay for step in range(run.epochs))


def label(pair: Pair) -> str:
    return f"{pair.symbols[0]}–{pair.symbols[1]}"


def distance_curves(variant: str, run: Run, folder: Path, pairs: Sequence[Pair]) -> Iterator[dict[str, Any]]:
    steps, found = load_distances(run, folder)
    for side, values in found.items():
        for pair in pairs:
            about = {"variant": variant, "curve": side, "pair": label(pair), "violates": pair.violates}
            yield from curve(about, steps, values[:, :, pair.symbols[0], pair.symbols[1]])


def accuracy_curves(variant: str, run: Run, folder: Path) -> Iterator[dict[str, Any]]:
    """Accuracy at every evaluation but the last, as the original has it, on both sets."""
    logs = [read_log(folder / run.folder(seed) / run.log[0].validation_epoch) for seed in run.seeds]
    for name in EVALUATIONS:
        own = [[line for line in log if line["set"] == name][:-1] for log in logs]
        steps = np.array([line["epoch"] for line in own[0]])
        values = np.array([[line["accuracy"] for line in lines] for lines in own])
        yield from curve({"variant": variant, "curve": name, "pair": "", "violates": False}, steps, values)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The messages of a log."""
    return [json.loads(line)["message"] for line in path.read_text(encoding="utf-8").splitlines()]


FEW_SEEDS = 5  # so many lines can be told apart in a figure


def curve(about: Mapping[str, Any], steps: np.ndarray, values: np.ndarray) -> Iterator[dict[str, Any]]:
    """Mean over seeds of values (R, T), with the 95 % interval of the mean by Student's t; of few seeds also each."""
    means = values.mean(0)
    half = interval(len(values)) * values.std(0, ddof=1) if len(values) > 1 else np.zeros_like(means)
    for step, mean, width, own in zip(steps, means, half, values.T, strict=True):
        yield {
            **about, "step": int(step), "value": float(mean), "low": float(mean - width), "high": float(mean + width),
            "seeds": own.tolist() if len(own) <= FEW_SEEDS else [],
        }  # fmt: skip


def interval(number: int) -> float:
    """Half the width of a 95 % interval of the mean of so many values, in their standard deviations."""
    from scipy.stats import t

    return float(t.ppf(0.975, number - 1) / math.sqrt(number))

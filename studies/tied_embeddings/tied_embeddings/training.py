"""A trainer set up from its parts: models, data, optimizer, schedule, callbacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from linear_shortcuts.files import derive
from tied_embeddings.batched import INPUT, OUTPUT, Models
from tied_embeddings.dataset import Batch, Dataset
from tied_embeddings.settings import EvaluationSettings, OptimizerSettings, SchedulerSettings

Schedule = Callable[[int], float]  # the number of a step, from 0, to its learning rate
State = dict[str, Any]  # tensors and plain containers
EACH = ("model", "optimizer", "generator", "records")  # parts of a state whose tensors have a first axis for the models
EVALUATIONS = {"train-fresh": "train", "held-out": "validation"}  # evaluation set -> split that it draws from


# --- parts -------------------------------------------------------------------------------------------------


class Optimizer:
    """Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter 2019) for stacked parameters.

    Both treat every number by itself, so stacking changes nothing. The kernel is the one of
    `torch.optim.AdamW(fused=True)`, called directly: sorting parameters by device and type takes that longer than the
    arithmetic on a few thousand numbers.
    """

    def __init__(self, parameters: Mapping[str, Tensor], settings: OptimizerSettings) -> None:
        self.parameters, self.settings = dict(parameters), settings
        self.moments = {
            kind: {name: torch.zeros_like(p, requires_grad=False) for name, p in parameters.items()}
            for kind in ("exp_avg", "exp_avg_sq")
        }
        self.steps = torch.zeros((), device=next(iter(parameters.values())).device)

    def step(self, gradients: Sequence[Tensor], learning_rate: float) -> None:
        self.steps += 1  # the kernel reads it and leaves it
        settings = self.settings
        kernel = torch._fused_adamw_ if settings.name == "adamw" else torch._fused_adam_
        kernel(
            [parameter.detach() for parameter in self.parameters.values()],
            [gradient.contiguous() for gradient in gradients],  # the kernel takes their layout for the parameters'
            list(self.moments["exp_avg"].values()),
            list(self.moments["exp_avg_sq"].values()),
            [],
            [self.steps] * len(gradients),
            lr=learning_rate,
            beta1=settings.beta1,
            beta2=settings.beta2,
            weight_decay=settings.weight_decay,
            eps=settings.epsilon,
            amsgrad=False,
            maximize=False,
        )

    def copy(self, source: str, target: str, parameter: Tensor) -> None:
        """Take a new parameter in, with the moments of another."""
        self.parameters[target] = parameter
        for moments in self.moments.values():
            moments[target] = moments[source].clone()


def schedule(settings: SchedulerSettings, learning_rate: float) -> Schedule:
    """A cosine without end, a linear rise to the learning rate, or the same learning rate always."""
    if settings.name == "cosine":
        low, span = settings.lowest, learning_rate - settings.lowest
        return lambda step: low + span * (1 + math.cos(math.pi * step / settings.half_period)) / 2
    if settings.name == "warm-up":
        return lambda step: learning_rate * min(1.0, (step + 1) / settings.warm_up)
    return lambda step: learning_rate


class Callback(Protocol):
    """Something to do, or to keep and write, during training.

    state: what makes it survive a stop: tensors with a first axis for the models, and what all models have in common.
    save: write what was kept of one model.
    """

    def before_step(self, trainer: Trainer) -> None: ...
    def after_step(self, trainer: Trainer, loss: Tensor, accuracy: Tensor) -> None: ...
    def after_epoch(self, trainer: Trainer) -> None: ...
    def evaluated(self, trainer: Trainer, found: Mapping[str, tuple[Tensor, Tensor]]) -> None: ...
    def finished(self, trainer: Trainer) -> None: ...
    def state(self) -> tuple[State, State]: ...
    def load(self, own: State, shared: State) -> None: ...
    def save(self, folder: Path, number: int) -> None: ...


# --- the trainer -------------------------------------------------------------------------------------------


class Trainer:
    """Trains R models at once, each on draws from a generator of its own.

    batch: sequences a step; a dataset's draw that has more is cut, shuffled first if `shuffle`; what is left over makes
    a smaller step unless `drop_last`. An epoch is one draw.
    held_out: what the held-out sequences are drawn from; None: from the dataset, as those trained on.
    callbacks: told before every step, after every step and epoch, after every evaluation, and at the end.
    """

    def __init__(
        self,
        models: Models,
        dataset: Dataset,
        seeds: Sequence[int],
        optimizer: Optimizer,
        schedule: Schedule,
        evaluation: EvaluationSettings,
        callbacks: Sequence[Callback] = (),
        batch: int | None = None,
        shuffle: bool = True,
        drop_last: bool = False,
        held_out: Dataset | None = None,
    ) -> None:
        self.held_out = dataset if held_out is None else held_out
        self.models, self.dataset, self.seeds = models, dataset, tuple(seeds)
        self.optimizer, self.schedule, self.evaluation = optimizer, schedule, evaluation
        self.callbacks = tuple(callbacks)
        drawn = None if batch is None else len(dataset.batch("train", torch.Generator()).ids)
        self.batch = None if drawn is not None and batch is not None and batch >= drawn else batch
        self.shuffle, self.drop_last = shuffle, drop_last
        self.generators = [torch.Generator().manual_seed(derive(seed, "data") % 2**63) for seed in seeds]
        self.epoch = self.steps = 0  # done
        self.device = models.input_embeddings.device

    def train(self, epochs: int, watch: Callable[[int], None] = lambda done: None) -> None:
        """Train until so many epochs are done in all; watch: told how many are."""
        while self.epoch < epochs:
            if self.epoch % self.evaluation.every == 0:
                self._evaluate()
            number = min(
                # The orders come from the same generators, so that draws cannot be made far in advance.
                self.dataset.draws_at_once if self.batch is None else 1,
                epochs - self.epoch,
                self.evaluation.every - self.epoch % self.evaluation.every,
            )
            for minibatches in self._draw(number):
                for examples in minibatches:
                    self.step(examples)
                self.epoch += 1
                for callback in self.callbacks:
                    callback.after_epoch(self)
            watch(self.epoch)

    def finish(self) -> None:
        """Evaluate what training has ended with, and let the callbacks see it."""
        self._evaluate()
        for callback in self.callbacks:
            callback.finished(self)

    def step(self, examples: Any) -> None:
        for callback in self.callbacks:
            callback.before_step(self)
        loss, accuracy, gradients = self.models.gradients(examples)
        self.optimizer.step(gradients, self.schedule(self.steps))
        self.steps += 1
        for callback in self.callbacks:
            callback.after_step(self, loss, accuracy)

    def evaluate(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Loss and accuracy of every model, (R,) each, on both evaluation sets.

        The draws follow from the epoch and a seed of their own: the same for all models, and none of those trained on.
        """
        found = {}
        for name, split in EVALUATIONS.items():
            seed = derive(self.evaluation.seed, "evaluation", name, self.epoch) % 2**63
            dataset = self.held_out if name == "held-out" else self.dataset
            drawn = dataset.batches(split, torch.Generator().manual_seed(seed), self.evaluation.draws)
            every = (part.flatten(0, 1).to(self.device) for part in drawn)
            shared = Batch(*(part.expand(1, len(self.seeds), -1, -1) for part in every))
            [examples] = self.models.examples(shared)
            found[name] = self.models.evaluate(examples)
        return found

    def _evaluate(self) -> None:
        found = self.evaluate()
        for callback in self.callbacks:
            callback.evaluated(self, found)

    def _draw(self, epochs: int) -> Iterator[list[Any]]:
        """The steps of each of the next epochs."""
        drawn = [self.dataset.batches("train", generator, epochs) for generator in self.generators]
        ids, targets = (
            torch.stack(parts, 1).to(self.device) for parts in zip(*drawn, strict=True)
        )  # (epochs, R, n, N)
        if self.batch is None:  # one step an epoch, whose order does not matter
            yield from ([examples] for examples in self.models.examples(Batch(ids, targets)))
            return
        for epoch in range(epochs):
            yield self._cut(Batch(ids[epoch], targets[epoch]))

    def _cut(self, drawn: Batch) -> list[Any]:
        assert self.batch is not None
        models, sequences, _ = drawn.ids.shape
        order = torch.arange(sequences).expand(models, -1)
        if self.shuffle:
            order = torch.stack([torch.randperm(sequences, generator=generator) for generator in self.generators])
        rows, order = torch.arange(models)[:, None], order.to(self.device)
        parts = [part for part in order.split(self.batch, 1) if part.shape[1] == self.batch or not self.drop_last]
        cut = [Batch(*(tensor[rows, part][None] for tensor in drawn)) for part in parts]
        return [examples for batch in cut for examples in self.models.examples(batch)]

    def untie(self) -> None:
        """Give the output embeddings of tied models a copy of their own, with the input's moments."""
        self.models.untie()
        self.optimizer.copy(INPUT, OUTPUT, self.models.parameters[OUTPUT])

    # --- stop and continue ---------------------------------------------------------------------------------

    def state(self) -> State:
        """All that the next step depends on, and what the callbacks keep."""
        kept = [callback.state() for callback in self.callbacks]
        return {**self.bare_state(), "records": [own for own, _ in kept], "rows": [shared for _, shared in kept]}

    def bare_state(self) -> State:
        return {
            "model": {name: p.detach().clone() for name, p in self.models.parameters.items()},
            "optimizer": {
                kind: {name: values.clone() for name, values in moments.items()}
                for kind, moments in self.optimizer.moments.items()
            },
            "generator": torch.stack([generator.get_state() for generator in self.generators]),
            "epoch": self.epoch,
            "steps": self.steps,
            "scheduler": {"next_learning_rate": self.schedule(self.steps)},
            "rng": torch.get_rng_state(),  # of dropout
        }

    def load(self, state: State) -> None:
        """Continue from a state of the same run."""
        if OUTPUT in state["model"] and OUTPUT not in self.models.parameters:
            self.untie()
        with torch.no_grad():
            for name, values in state["model"].items():
                self.models.parameters[name].copy_(values)
        for kind, moments in state["optimizer"].items():
            for name, values in moments.items():
                self.optimizer.moments[kind][name].copy_(values)
        for generator, values in zip(self.generators, state["generator"], strict=True):
            generator.set_state(values.clone())
        self.epoch, self.steps = state["epoch"], state["steps"]
        self.optimizer.steps.fill_(self.steps)
        torch.set_rng_state(state["rng"].clone())
        for callback, own, shared in zip(self.callbacks, state["records"], state["rows"], strict=True):
            callback.load(own, shared)


def map_tensors(function: Callable[..., Any], *trees: Any) -> Any:
    """Apply a function to the tensors that stand at the same place of equal nested dicts and lists."""
    first = trees[0]
    if isinstance(first, dict):
        return {key: map_tensors(function, *(tree[key] for tree in trees)) for key in first}
    if isinstance(first, (list, tuple)):
        return [map_tensors(function, *parts) for parts in zip(*trees, strict=True)]
    return function(*trees)


def state_of(state: State, number: int) -> State:
    """The part of one model."""
    return {
        key: map_tensors(lambda tensor: tensor[number].clone(), part) if key in EACH else part
        for key, part in state.items()
    }


def stack_states(states: Sequence[State]) -> State:
    """The whole again, from the parts of all models."""
    return {
        key: map_tensors(lambda *tensors: torch.stack(tensors), *(state[key] for state in states))
        if key in EACH
        else part
        for key, part in states[0].items()
    }

"""Training without a loader: all pairs lie on the device, and an epoch is one shuffle by index."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from character_embeddings.network import CharacterModel, closed_form
from character_embeddings.settings import Training
from character_embeddings.vocabulary import Pairs
from linear_shortcuts.files import Partial, derive
from linear_shortcuts.settings import choose_device, one_thread

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (n, V) and targets (n,) to their mean
Backward = Callable[[Tensor, Tensor], Tensor]  # contexts and targets to the loss, gradients left in `.grad`
Callback = Callable[[int, float], None]  # the number of steps done, and the loss of the last


class Trainer:
    """Trains any model of contexts with any optimizer, loss and schedule.

    scheduler: stepped after every batch. callbacks: called after every step with the number of steps done and the
    loss. backward: how gradients are found; by default autograd.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss = F.cross_entropy,
        scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        callbacks: Sequence[Callback] = (),
        device: torch.device | str = "cpu",
        backward: Backward | None = None,
    ) -> None:
        self.model, self.optimizer, self.loss, self.scheduler = model.to(device), optimizer, loss, scheduler
        self.callbacks, self.device = callbacks, torch.device(device)
        self.backward = backward or self._autograd
        self.steps = 0

    def __call__(self, contexts: Tensor) -> Tensor:
        """The model's logits, on its device."""
        return self.model(contexts.to(self.device))

    def predict(self, contexts: Tensor) -> Tensor:
        """Logits in evaluation mode, without gradients."""
        with evaluating(self.model), torch.inference_mode():
            return self(contexts)

    def evaluate(self, pairs: Pairs, batch: int = 8192) -> float:
        """The mean loss over all pairs, which does not depend on the batch size."""
        total = 0.0
        for contexts, targets in zip(pairs.contexts.split(batch), pairs.targets.split(batch), strict=True):
            total += float(self.loss(self.predict(contexts), targets.to(self.device))) * len(targets)
        return total / len(pairs.targets)

    def epoch(self, pairs: Pairs, batch: int, order: Tensor) -> list[float]:
        """Train once on every pair, in the given order (n,); return the loss of every step."""
        # Shuffled once and cut into views: nothing is gathered, copied or collated within the loop.
        contexts, targets = pairs.contexts[order].split(batch), pairs.targets[order].split(batch)
        self.model.train()
        return [self.step(*one) for one in zip(contexts, targets, strict=True)]

    def step(self, contexts: Tensor, targets: Tensor) -> float:
        """One step of the optimizer, and of the schedule; the loss before it."""
        loss = self.backward(contexts, targets).item()
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.steps += 1
        for callback in self.callbacks:
            callback(self.steps, loss)
        return loss

    def _autograd(self, contexts: Tensor, targets: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        loss = self.loss(self.model(contexts), targets)
        loss.backward()
        return loss.detach()


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, whatever mode the model was in before outside, also after an exception."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


# --- parts -------------------------------------------------------------------------------------------------


def parameter_groups(model: nn.Module, decay: str, weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimizer: everything decays (`all`), or only the weights of linear layers (`weights-only`).

    Decay draws towards zero, which makes a linear layer smoother but says nothing sensible about where a character
    or an offset should lie.
    """
    if decay == "all":
        return [{"params": list(model.parameters()), "weight_decay": weight_decay}]
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Linear)]
    others = [p for p in model.parameters() if all(p is not weight for weight in weights)]
    return [{"params": weights, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def flatten(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """Make parameters, and their gradients, views of one vector, which is returned.

    An optimizer that treats every number by itself, as Adam and SGD do, then gives the same result in one call instead
    of one a parameter. Later gradients must be written into `.grad`, not put in its place.
    """
    flat = nn.Parameter(nn.utils.parameters_to_vector(parameters).detach().clone())
    flat.grad = torch.zeros_like(flat)
    sizes = [parameter.numel() for parameter in parameters]
    pieces = zip(parameters, flat.detach().split(sizes), flat.grad.split(sizes), strict=True)
    for parameter, values, gradient in pieces:
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return flat


class OneVectorAdamW(torch.optim.AdamW):
    """AdamW (Loshchilov and Hutter 2019) of one parameter a group, as `flatten` makes it.

    The kernel is the one of `AdamW(fused=True)`, called directly: sorting parameters by device and type, which there is
    no need for here, takes that longer than the arithmetic on a few thousand numbers.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, lr=lr, fused=True)
        if any(len(group["params"]) != 1 for group in self.param_groups):
            raise ValueError("a group has more than one parameter; flatten each group first")

    def step(self, closure: Any = None) -> Any:
        if closure is not None or not self.state:  # the first step makes the state
            return super().step(closure)
        for group in self.param_groups:
            [parameter] = group["params"]
            state, (beta1, beta2) = self.state[parameter], group["betas"]
            state["step"] += 1  # the kernel reads it and leaves it
            torch._fused_adamw_(
                [parameter.detach()],
                [parameter.grad],
                [state["exp_avg"]],
                [state["exp_avg_sq"]],
                [],
                [state["step"]],
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )
        return None


def running_mean(losses: Sequence[float], steps_per_epoch: int, share: float) -> list[float]:
    """For each step, the mean of the last ⌊share · steps_per_epoch⌋ losses (at least 1), or of those there are."""
    window = max(1, math.floor(share * steps_per_epoch))
    sums = torch.tensor([0.0, *losses], dtype=torch.float64).cumsum(0)
    ends = torch.arange(1, len(sums))
    starts = (ends - window).clamp(min=0)
    return ((sums[ends] - sums[starts]) / (ends - starts)).tolist()


def shuffled(number: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch, from seed and epoch alone, so that a killed training continues as it would have."""
    return torch.randperm(number, generator=torch.Generator().manual_seed(derive(seed, "epoch", epoch) % 2**63))


# --- the study's training ----------------------------------------------------------------------------------


def device_of(name: str) -> torch.device:
    """`auto` is the CPU here: launching work on a GPU takes longer than a step of so small a network."""
    return torch.device("cpu") if name == "auto" else choose_device(name)


def steps_per_epoch(pairs: Pairs, settings: Training) -> int:
    return math.ceil(len(pairs.targets) / settings.batch)


@dataclass(frozen=True)
class Record:
    """losses: of every step; epochs: for each, `epoch`, `train` (running mean at its end) and `validation`."""

    losses: list[float]
    epochs: list[dict[str, float]]


def new_trainer(
    model: CharacterModel, settings: Training, steps: int, device: torch.device, callbacks: Sequence[Callback] = ()
) -> Trainer:
    """AdamW on the one-cycle schedule (Smith and Topin 2017), with gradients in closed form."""
    model.to(device)
    groups = [
        {**group, "params": [flatten(group["params"])]}
        for group in parameter_groups(model, settings.decay, settings.weight_decay)
    ]
    optimizer = OneVectorAdamW(groups, lr=settings.learning_rate)
    peak = settings.max_learning_rate
    scheduler = None if peak is None else torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=peak, total_steps=steps)
    return Trainer(
        model, optimizer, scheduler=scheduler, callbacks=callbacks, device=device, backward=closed_form(model)
    )


@one_thread()
def train(
    model: CharacterModel,
    train_pairs: Pairs,
    validation_pairs: Pairs,
    settings: Training,
    seed: int,
    device: torch.device | None = None,
    partial: Partial | None = None,
    callbacks: Sequence[Callback] = (),
    on_epoch: Callable[[dict[str, float]], None] = lambda line: None,
) -> Record:
    """Train a fresh network in place; with `partial`, from its newest checkpoint.

    callbacks: as in `Trainer`. on_epoch: called after every epoch that is trained now, with its record.
    """
    device = device or torch.device("cpu")
    train_pairs, validation_pairs = train_pairs.to(device), validation_pairs.to(device)
    steps = steps_per_epoch(train_pairs, settings)
    trainer = new_trainer(model, settings, settings.epochs * steps, device, callbacks)
    record = _restore(trainer, partial)
    for epoch in range(len(record.epochs), settings.epochs):
        order = shuffled(len(train_pairs.targets), seed, epoch).to(device)
        record.losses.extend(trainer.epoch(train_pairs, settings.batch, order))
        line = {
            "epoch": epoch + 1,
            "steps": trainer.steps,
            "train": running_mean(record.losses, steps, settings.running_share)[-1],
            "validation": trainer.evaluate(validation_pairs),
        }
        record.epochs.append(line)
        on_epoch(line)
        if partial is not None:
            _save(trainer, record, partial)
    return record


def _save(trainer: Trainer, record: Record, partial: Partial) -> None:
    state = {
        "model": dict(trainer.model.state_dict()),
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": None if trainer.scheduler is None else trainer.scheduler.state_dict(),
        "losses": torch.tensor(record.losses, dtype=torch.float64),
        "epochs": record.epochs,
    }
    # Two files in turn: a kill while one is being replaced leaves the other.
    slot = len(record.epochs) % 2
    partial.save(f"checkpoint {slot}", {f"checkpoint_{slot}.pickle": state}, note=len(record.epochs))


def _restore(trainer: Trainer, partial: Partial | None) -> Record:
    slots = [] if partial is None else [slot for slot in (0, 1) if f"checkpoint {slot}" in partial]
    if partial is None or not slots:
        return Record([], [])
    newest = max(slots, key=lambda slot: partial.note(f"checkpoint {slot}"))
    state = partial.load(f"checkpoint_{newest}.pickle")
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    if trainer.scheduler is not None:
        trainer.scheduler.load_state_dict(state["scheduler"])
    trainer.steps = len(state["losses"])
    return Record(state["losses"].tolist(), state["epochs"])

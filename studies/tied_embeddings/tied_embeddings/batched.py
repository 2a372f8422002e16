"""Many models of one shape, trained together.

Models this small spend their time on starting operations, not on arithmetic. An `Ensemble` stacks the parameters of R
models so that one operation does the work of R. Every model still sees its own data only, and its numbers are those it
would have alone, up to rounding. `Models` is the same for all other cases, one model after the other.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tied_embeddings import lstm, mixer, transformer
from tied_embeddings.dataset import IGNORED, Batch
from tied_embeddings.models import EmbeddingModel

INPUT, OUTPUT = "input_embeddings.weight", "output_embeddings.weight"


class Models:
    """R models of one shape, trained one after the other.

    parameters: the stacked leaves, (R, ...) each, by their names in the ordinary module. If the embeddings are tied
    there is only the input's.
    """

    def __init__(self, models: Sequence[EmbeddingModel], device: torch.device | str = "cpu") -> None:
        self.module = models[0].to(device)
        self.settings, self.length = self.module.settings, self.module.length
        self.vocabulary = self.module.input_embeddings.num_embeddings
        named = [dict(model.named_parameters()) for model in models]  # a tied parameter once
        self.parameters = {
            name: torch.stack([one[name].detach().to(device) for one in named]).requires_grad_() for name in named[0]
        }

    @property
    def input_embeddings(self) -> Tensor:
        """(R, V, d)."""
        return self.parameters[INPUT]

    @property
    def output_embeddings(self) -> Tensor:
        """(R, V, d); the same object as the input's where they are tied."""
        return self.parameters.get(OUTPUT, self.input_embeddings)

    def untie(self) -> None:
        """Give the output embeddings a copy of their own."""
        self.parameters[OUTPUT] = self.input_embeddings.detach().clone().requires_grad_()
        self.module.output_embeddings = copy.deepcopy(self.module.input_embeddings)

    def examples(self, batches: Batch) -> list[Any]:
        """Batches (b, R, n, N) as a list of what `losses` takes.

        What does not depend on weights is done here, for all at once.
        """
        return [Batch(ids, targets) for ids, targets in zip(*batches, strict=True)]

    def losses(self, examples: Any) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy (nats) and share of correct guesses of every model, (R,) each."""
        losses, accuracies = [], []
        for number, (ids, targets) in enumerate(zip(*examples, strict=True)):
            where = targets != IGNORED
            own = {name: parameter[number] for name, parameter in self.parameters.items()}
            logits = torch.func.functional_call(self.module, own, (ids, where))
            losses.append(F.cross_entropy(logits, targets[where]))
            accuracies.append((logits.argmax(-1) == targets[where]).float().mean())
        return torch.stack(losses), torch.stack(accuracies)

    def gradients(self, examples: Any) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Losses and accuracies, and the gradient of every parameter for the loss of its own model."""
        self.module.train()
        losses, accuracies = self.losses(examples)
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        return losses.detach(), accuracies, gradients

    @torch.no_grad()
    def evaluate(self, examples: Any) -> tuple[Tensor, Tensor]:
        """Losses and accuracies in evaluation mode."""
        self.module.eval()
        return self.losses(examples)

    def one(self, number: int) -> EmbeddingModel:
        """One of the models as an ordinary module, in evaluation mode."""
        model = copy.deepcopy(self.module).cpu()
        model.load_state_dict({name: own[number] for name, own in self.parameters.items()}, strict=False)
        return model.eval()


@dataclass(frozen=True)
class Examples:
    """A batch as an ensemble reads it.

    ids: (R, n, N). places: (R, n), what is to be guessed. answers: (R, 1, n), the symbols there.
    counts: for a transformer, see `transformer.counted`.
    """

    ids: Tensor
    places: Tensor
    answers: Tensor
    counts: Tensor | None


class Ensemble(Models):
    """R models as one computation: without dropout, for sequences of one length with one symbol to guess in each."""

    def __init__(self, models: Sequence[EmbeddingModel], mask: int, device: torch.device | str = "cpu") -> None:
        super().__init__(models, device)
        self.mask = mask

    def examples(self, batches: Batch) -> list[Any]:
        ids, targets = batches
        answers, places = targets.max(-1)  # all others are negative
        counts = transformer.counted(ids, self.vocabulary) if self.settings.name == "transformer" else None
        return [
            Examples(ids[b], places[b], answers[b, :, None], None if counts is None else counts[b])
            for b in range(len(ids))
        ]

    def losses(self, examples: Any) -> tuple[Tensor, Tensor]:
        return _score(torch.bmm(self.output_embeddings, self._hidden(examples)).log_softmax(1), examples.answers)

    def _hidden(self, examples: Examples) -> Tensor:
        """What is read out, (R, d, n)."""
        settings, p, table = self.settings, self.parameters, self.input_embeddings
        if settings.name == "transformer":
            assert examples.counts is not None
            return transformer.forward(settings, p, table, examples.counts, self.mask)[-1].output.squeeze(2)
        if examples.ids.shape[-1] != self.length:
            raise ValueError(f"sequences have {examples.ids.shape[-1]} symbols; these models are for {self.length}")
        forward = {"lstm": lstm.forward, "mlp": mixer.forward}[settings.name]
        return forward(settings, p, table, examples.ids, examples.places)

    def gradients(self, examples: Any) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        if self.settings.name != "transformer":
            return super().gradients(examples)
        with torch.no_grad():
            return self._closed_form(examples)

    def _closed_form(self, examples: Examples) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        assert examples.counts is not None
        table, readout = self.input_embeddings, self.output_embeddings
        layers = transformer.forward(self.settings, self.parameters, table, examples.counts, self.mask)
        hidden = layers[-1].output.squeeze(2)
        logs = torch.bmm(readout, hidden).log_softmax(1)
        losses, accuracies = _score(logs, examples.answers)
        ones = torch.full_like(examples.answers, -1, dtype=logs.dtype)
        to_logits = logs.exp().scatter_add_(1, examples.answers, ones).div_(logs.shape[2])
        to_input, gradients = transformer.backward(
            self.settings, self.parameters, layers, torch.bmm(readout.mT, to_logits)
        )
        to_output = torch.bmm(to_logits, hidden.mT)
        if OUTPUT in self.parameters:
            gradients |= {INPUT: to_input, OUTPUT: to_output}
        else:
            gradients[INPUT] = to_input + to_output
        return losses, accuracies, tuple(gradients[name] for name in self.parameters)


def _score(logs: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy and accuracy (R,) of log probabilities (R, V, n)."""
    given = logs.gather(1, answers)
    # Along the last axis of contiguous numbers, since along another it takes six times as long.
    correct = logs.detach().mT.contiguous().argmax(2) == answers.squeeze(1)
    return -given.mean((1, 2)), correct.to(logs.dtype).mean(1)

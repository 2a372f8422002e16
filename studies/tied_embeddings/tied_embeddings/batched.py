"""Many models of one shape as one computation.

Models this small spend their time on starting operations, not on arithmetic. An `Ensemble` stacks the parameters of R
models, so that one operation does the work of R. Every model still sees its own data only, and its numbers are those it
would have alone, up to rounding.

Vectors are columns here: (R, d, ..., n) with the n sequences on the last axis, so that norms, softmax and the cells of the
LSTM run over n neighbouring numbers instead of d, which may be 4.

Two more savings are exact. A sequence has one symbol to guess, so the last layer of a transformer and of the mixer is
worked out there only. And a transformer without positions cannot tell apart equal symbols of a sequence: attention to a
symbol that occurs c times is attention to one with log c added to its score. So with a vocabulary no larger than a
sequence it works on symbols and their counts, and the first layer's keys and values are the same for all sequences.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tied_embeddings.dataset import IGNORED, Batch
from tied_embeddings.models import ACTIVATIONS, EmbeddingModel
from tied_embeddings.settings import ModelSettings

Parameters = Mapping[str, Tensor]  # by the names of the ordinary module, each with a first axis for the models
INPUT, OUTPUT = "input_embeddings.weight", "output_embeddings.weight"
EPSILON = 1e-5  # of PyTorch's layer norm


@dataclass(frozen=True)
class Examples:
    """Batches as an ensemble reads them. A further axis, of several batches, may come before all others.

    ids: (R, n, N). targets: (R, n, N), `IGNORED` where nothing is to be guessed.
    scores: (R, 1, S, 1, n) to be added to every score of attention.
    places: (R, n) the slot to guess. answers: (R, n) its symbol.
    """

    ids: Tensor
    targets: Tensor
    scores: Tensor | None = None
    places: Tensor | None = None
    answers: Tensor | None = None

    def __getitem__(self, number: int) -> Examples:
        """One of several batches."""
        parts = (self.ids, self.targets, self.scores, self.places, self.answers)
        return Examples(*(None if part is None else part[number] for part in parts))  # type: ignore[arg-type]


class Models:
    """R models of one shape, trained one after the other.

    parameters: the stacked leaves, (R, ...) each, by their names in the ordinary module. If the embeddings are tied
    there is only the input's.
    """

    def __init__(self, models: Sequence[EmbeddingModel]) -> None:
        self.module = models[0]
        self.settings, self.length = self.module.settings, self.module.length
        self.vocabulary = self.module.input_embeddings.num_embeddings
        named = [dict(model.named_parameters()) for model in models]  # a tied parameter once
        self.parameters = {
            name: torch.stack([one[name].detach() for one in named]).requires_grad_() for name in named[0]
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

    def examples(self, batch: Batch) -> Examples:
        """Make a batch, (..., R, n, N) each, ready for `losses`; what does not depend on weights is done here."""
        return Examples(*batch)

    def losses(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Mean cross-entropy and share of correct guesses of every model, (R,) each."""
        losses, accuracies = [], []
        for number, (ids, targets) in enumerate(zip(examples.ids, examples.targets, strict=True)):
            where = targets != IGNORED
            own = {name: parameter[number] for name, parameter in self.parameters.items()}
            logits = torch.func.functional_call(self.module, own, (ids, where))
            losses.append(F.cross_entropy(logits, targets[where]))
            accuracies.append((logits.argmax(-1) == targets[where]).float().mean())
        return torch.stack(losses), torch.stack(accuracies)

    def gradients(self, examples: Examples) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Losses and accuracies, and the gradient of every parameter for the loss of its own model."""
        self.module.train()
        losses, accuracies = self.losses(examples)
        gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
        return losses.detach(), accuracies, gradients

    @torch.no_grad()
    def evaluate(self, examples: Examples) -> tuple[Tensor, Tensor]:
        """Losses and accuracies in evaluation mode."""
        self.module.eval()
        return self.losses(examples)

    def one(self, number: int) -> EmbeddingModel:
        """One of the models as an ordinary module, in evaluation mode."""
        model = copy.deepcopy(self.module)
        model.load_state_dict({name: own[number] for name, own in self.parameters.items()}, strict=False)
        return model.eval()


class Ensemble(Models):
    """R models as one computation: without dropout, for sequences of one length with one symbol to guess in each."""

    @property
    def counts(self) -> bool:
        """Whether slots are symbols, of which only the number matters."""
        return self.settings.name == "transformer" and self.vocabulary <= (self.length or 0)

    def examples(self, batch: Batch) -> Examples:
        ids, targets = batch
        answers, places = targets.max(-1)  # all others are negative
        if not self.counts:
            return Examples(ids, targets, None, places, answers)
        counts = ids.new_zeros(*ids.shape[:-1], self.vocabulary).scatter_add_(-1, ids, torch.ones_like(ids))
        scores = counts.float().log().mT.contiguous()[..., None, :, None, :]
        return Examples(ids, targets, scores, ids.gather(-1, places[..., None]).squeeze(-1), answers)

    def logits(self, examples: Examples) -> Tensor:
        """Of the symbol to guess: (R, V, n)."""
        return torch.bmm(self.output_embeddings, BODIES[self.settings.name](self, examples))

    def losses(self, examples: Examples) -> tuple[Tensor, Tensor]:
        assert examples.answers is not None
        logits = self.logits(examples)
        loss = F.cross_entropy(logits, examples.answers, reduction="none").mean(1)
        with torch.no_grad():  # argmax takes twenty times as long as the largest value
            correct = logits.gather(1, examples.answers[:, None]) == logits.amax(1, keepdim=True)
        return loss, correct.float().mean((1, 2))

    def vectors(self, ids: Tensor) -> Tensor:
        """Input embeddings of ids (R, n, N) as columns (R, d, N, n)."""
        return columns(self.input_embeddings.mT, ids)

    def part(self, prefix: str) -> Parameters:
        """The parameters of one module of the body, without its prefix."""
        start = f"body.{prefix}"
        return {name[len(start) :]: value for name, value in self.parameters.items() if name.startswith(start)}


def columns(table: Tensor, ids: Tensor) -> Tensor:
    """The columns of tables (R, d, V) that ids (R, n, N) name: (R, d, N, n)."""
    index = ids.mT.flatten(1)[:, None].expand(-1, table.shape[1], -1)
    return table.gather(2, index).unflatten(2, ids.mT.shape[1:])


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Columns x (R, i, ...) through R linear layers with weight (R, o, i) and bias (R, o)."""
    return torch.baddbmm(bias[..., None], weight, x.flatten(2)).unflatten(2, x.shape[2:])


def select(x: Tensor, places: Tensor) -> Tensor:
    """x (R, d, S, n or 1) at slots (R, n): (R, d, n)."""
    index = places[:, None, None].expand(-1, x.shape[1], 1, -1)
    return x.expand(*x.shape[:3], places.shape[1]).gather(2, index).squeeze(2)


class LayerNorm(torch.autograd.Function):
    """Layer norm over axis 1 of x (R, d, m), with weight and bias (R, d). Means are products with a small matrix, which
    for columns is faster than a reduction."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        models, d, _ = x.shape
        mean = x.new_full((models, d, d), 1 / d)
        centred = torch.baddbmm(x, mean, x, alpha=-1)
        scale = torch.bmm(mean[:, :1], centred * centred).add_(EPSILON).rsqrt_()
        normed = centred.mul_(scale)
        ctx.save_for_backward(normed, scale, weight)
        return torch.addcmul(bias[..., None], normed, weight[..., None])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        normed, scale, weight = ctx.saved_tensors
        models, d, _ = normed.shape
        mean = scale.new_full((models, d, d), 1 / d)
        inner = gradient * weight[..., None]
        along = torch.bmm(mean, inner * normed)
        inner = torch.baddbmm(inner, mean, inner, alpha=-1).addcmul_(normed, along, value=-1).mul_(scale)
        return inner, (gradient * normed).sum(2), gradient.sum(2)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Columns x (R, d, ...) through R layer norms with weight and bias (R, d)."""
    return LayerNorm.apply(x.flatten(2), weight, bias).unflatten(2, x.shape[2:])


# --- transformer -------------------------------------------------------------------------------------------


def transformer(ensemble: Ensemble, examples: Examples) -> Tensor:
    x = ensemble.input_embeddings.mT[..., None] if ensemble.counts else ensemble.vectors(examples.ids)
    last = ensemble.settings.layers - 1
    for number in range(last):
        x = _encoder_layer(ensemble.settings, ensemble.part(f"{number}."), x, x, examples.scores)
    queries = select(x, examples.places).unsqueeze(2)
    return _encoder_layer(ensemble.settings, ensemble.part(f"{last}."), x, queries, examples.scores).squeeze(2)


def _encoder_layer(settings: ModelSettings, p: Parameters, x: Tensor, queries: Tensor, scores: Tensor | None) -> Tensor:
    """Queries (R, d, Q, n or 1) attend to x (R, d, S, n or 1); the layer's result is (R, d, Q, n)."""
    d, heads = settings.embedding, settings.heads or 1
    weight, bias = p["self_attn.in_proj_weight"], p["self_attn.in_proj_bias"]
    q = linear(queries, weight[:, :d], bias[:, :d]) * (d // heads) ** -0.5
    k, v = linear(x, weight[:, d:], bias[:, d:]).chunk(2, 1)
    q, k, v = (part.unflatten(1, (heads, -1)) for part in (q, k, v))  # (R, heads, d/heads, slots, n or 1)
    if k.shape[-1] == 1:
        own = (k.squeeze(-1).mT @ q.flatten(3)).unflatten(3, q.shape[3:])
    else:
        own = (k[..., None, :] * q[:, :, :, None]).sum(2)
    attention = (own if scores is None else own + scores).softmax(2)  # (R, heads, S, Q, n)
    if v.shape[-1] == 1:
        attended = (v.squeeze(-1) @ attention.flatten(3)).unflatten(3, attention.shape[3:])
    else:
        attended = (v[..., None, :] * attention[:, :, None]).sum(3)
    y = queries + linear(attended.flatten(1, 2), p["self_attn.out_proj.weight"], p["self_attn.out_proj.bias"])
    y = layer_norm(y, p["norm1.weight"], p["norm1.bias"])
    inner = ACTIVATIONS[settings.activation](linear(y, p["linear1.weight"], p["linear1.bias"]))
    y = y + linear(inner, p["linear2.weight"], p["linear2.bias"])
    return layer_norm(y, p["norm2.weight"], p["norm2.bias"])


# --- LSTM --------------------------------------------------------------------------------------------------


def lstm(ensemble: Ensemble, examples: Examples) -> Tensor:
    p, ids = ensemble.part("lstm."), examples.ids
    x = None
    for layer in range(ensemble.settings.layers):
        both = []
        for suffix in (f"l{layer}", f"l{layer}_reverse"):
            weight, bias = p[f"weight_ih_{suffix}"], p[f"bias_ih_{suffix}"] + p[f"bias_hh_{suffix}"]
            if x is None:  # what the first layer reads depends on the symbol alone
                both.append(columns(linear(ensemble.input_embeddings.mT, weight, bias), ids))
            else:
                both.append(linear(x, weight, bias))
        gates = torch.cat([both[0], both[1].flip(2)])  # (2R, 4h, N, n), both directions from their first symbol on
        recurrent = torch.cat([p[f"weight_hh_l{layer}"], p[f"weight_hh_l{layer}_reverse"]])
        forwards, backwards = Recurrence.apply(gates, recurrent).chunk(2)
        x = torch.cat([forwards, backwards.flip(2)], 1)  # (R, 2h, N, n)
    assert x is not None
    last = ensemble.part("linear.")
    return linear(select(x, examples.places), last["weight"], last["bias"])


class Recurrence(torch.autograd.Function):
    """The states (R, h, N, n) of LSTMs, each from what its input gives the gates i, f, g, o, (R, 4h, N, n), and from its
    recurrent weight (R, 4h, h); with backpropagation through time written out."""

    @staticmethod
    def forward(ctx: Any, gates: Tensor, recurrent: Tensor) -> Tensor:
        models, _, length, n = gates.shape
        width = recurrent.shape[-1]
        opened = gates.permute(2, 0, 1, 3).contiguous()  # (N, R, 4h, n); a step is a block
        cells = gates.new_zeros(length + 1, models, width, n)
        states = torch.zeros_like(cells)
        bounded = torch.empty_like(cells)  # tanh of the cells
        for t in range(length):
            now = opened[t] if t == 0 else opened[t].baddbmm_(recurrent, states[t])
            now[:, : 2 * width].sigmoid_()
            now[:, 2 * width : 3 * width].tanh_()
            now[:, 3 * width :].sigmoid_()
            i, f, g, o = now.chunk(4, 1)
            torch.mul(i, g, out=cells[t + 1]).addcmul_(f, cells[t])
            torch.tanh(cells[t + 1], out=bounded[t + 1])
            torch.mul(o, bounded[t + 1], out=states[t + 1])
        ctx.save_for_backward(opened, cells, bounded, states, recurrent)
        return states[1:].permute(1, 2, 0, 3)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        opened, cells, bounded, states, recurrent = ctx.saved_tensors
        length, models, width = len(opened), opened.shape[1], recurrent.shape[-1]
        gradient = gradient.permute(2, 0, 1, 3)  # (N, R, h, n)
        i, f, g, o = opened.chunk(4, 2)
        # All that does not run through time, for all steps at once.
        before = torch.empty_like(opened)  # d gate / d what enters its sigmoid or tanh, times what it multiplies
        torch.mul(g, i * (1 - i), out=before[:, :, :width])
        torch.mul(cells[:-1], f * (1 - f), out=before[:, :, width : 2 * width])
        torch.mul(i, 1 - g * g, out=before[:, :, 2 * width : 3 * width])
        torch.mul(bounded[1:], o * (1 - o), out=before[:, :, 3 * width :])
        through = o * (1 - bounded[1:] * bounded[1:])
        carried = None
        for t in range(length - 1, -1, -1):
            state = gradient[t] if carried is None else gradient[t] + torch.bmm(recurrent.mT, before[t + 1])
            cell = state * through[t]
            if carried is not None:
                cell.addcmul_(carried, f[t + 1])
            carried = cell
            now = before[t].unflatten(1, (4, width))
            now[:, :3].mul_(cell[:, None])
            now[:, 3].mul_(state)
        flat = before.permute(1, 2, 0, 3)  # (R, 4h, N, n)
        to_weight = torch.bmm(flat.flatten(2), states[:-1].permute(1, 2, 0, 3).flatten(2).mT)
        return flat, to_weight


# --- MLP-mixer ---------------------------------------------------------------------------------------------


def mixer(ensemble: Ensemble, examples: Examples) -> Tensor:
    x, activation = ensemble.vectors(examples.ids), ACTIVATIONS[ensemble.settings.activation]
    for number in range(ensemble.settings.layers):
        p = ensemble.part(f"{number}.")
        normed = layer_norm(x, p["norm1.weight"], p["norm1.bias"]).transpose(1, 2)  # (R, N, d, n)
        inner = activation(linear(normed, p["token1.weight"], p["token1.bias"]))
        x = x + linear(inner, p["token2.weight"], p["token2.bias"]).transpose(1, 2)
        if number == ensemble.settings.layers - 1:
            x = select(x, examples.places)
        normed = layer_norm(x, p["norm2.weight"], p["norm2.bias"])
        inner = activation(linear(normed, p["channel1.weight"], p["channel1.bias"]))
        x = x + linear(inner, p["channel2.weight"], p["channel2.bias"])
    return x


BODIES = {"transformer": transformer, "lstm": lstm, "mlp": mixer}

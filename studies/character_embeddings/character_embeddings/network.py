"""The network: a vector for each character of the context, concatenated, and two layers (Bengio et al. 2003)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from character_embeddings.settings import Network
from character_embeddings.vocabulary import Vocabulary
from linear_shortcuts.files import InputError, derive


class CharacterModel(nn.Module):
    """ids (B, T) -> vectors (B, T, emb) -> concatenated (B, T * emb) -> Linear -> ReLU -> Linear -> logits (B, V)."""

    def __init__(self, vocabulary: int, block_size: int, embedding: int, width: int) -> None:
        super().__init__()
        self.block_size = block_size
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.concatenation = nn.Flatten()
        self.hidden = nn.Linear(block_size * embedding, width)
        self.activation = nn.ReLU()
        self.readout = nn.Linear(width, vocabulary)

    def concatenate(self, contexts: Tensor) -> Tensor:
        """The vectors of contexts (B, T) side by side in order, (B, T * emb)."""
        if contexts.shape[-1] != self.block_size:
            raise ValueError(
                f"contexts have {contexts.shape[-1]} characters but this network reads {self.block_size}; "
                "make the pairs with its block size"
            )
        return self.concatenation(self.embedding(contexts))

    def forward(self, contexts: Tensor) -> Tensor:
        return self.readout(self.activation(self.hidden(self.concatenate(contexts))))


def new_network(vocabulary: int, block_size: int, settings: Network, seed: int) -> CharacterModel:
    """An untrained network with PyTorch's own initial weights, from a seed and no global state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "weights") % 2**63)
        return CharacterModel(vocabulary, block_size, settings.embedding, settings.width)


def check_vocabulary(network: CharacterModel, vocabulary: Vocabulary) -> None:
    """Raise `InputError` unless the network has a vector for each character and no more."""
    if network.embedding.num_embeddings != len(vocabulary):
        raise InputError(
            f"the network has {network.embedding.num_embeddings} characters but the vocabulary {len(vocabulary)}; "
            "train on the names the vocabulary was made from"
        )


def closed_form(network: CharacterModel) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of contexts (B, T) and targets (B,) that puts the gradients of the mean cross-entropy into `.grad`.

    It returns the loss. The same numbers as `loss.backward()` up to rounding, without building a graph, which at this
    size costs more than the arithmetic. With P = softmax(logits) and Δ the one-hot targets, column by column:

        D = (P − Δ) / B,   dW2 = D Hᵀ,   dA = W2ᵀ D where H > 0,   dW1 = dA Xᵀ,   dX = W1ᵀ dA,
        dC = Σ over places (b, t) of dX at the row of the character there (see gradient.py).

    Columns are examples here: products with the batch as the last axis are the faster ones for matrices this thin.
    """
    vectors, hidden, readout = network.embedding, network.hidden, network.readout
    # The tensors themselves, looked up once: attributes of modules cost microseconds.
    c, w1, b1, w2, b2 = (p.detach() for p in (vectors.weight, hidden.weight, hidden.bias, readout.weight, readout.bias))
    grads = [_gradient(p) for p in (vectors.weight, hidden.weight, hidden.bias, readout.weight, readout.bias)]
    d_c, d_w1, d_b1, d_w2, d_b2 = grads
    emb = c.shape[1]
    minus_one = c.new_empty((1, 0))  # as long as the largest batch so far

    @torch.inference_mode()
    def backward(contexts: Tensor, targets: Tensor) -> Tensor:
        nonlocal minus_one
        n = len(contexts)
        if n > minus_one.shape[1]:
            minus_one = c.new_full((1, n), -1)
        x = F.embedding(contexts, c).view(n, -1)
        h = torch.addmm(b1[:, None], w1, x.t()).relu_()
        log_p = torch.addmm(b2[:, None], w2, h).log_softmax(0)
        loss = F.nll_loss(log_p.t(), targets)
        d = log_p.exp_()
        d.scatter_add_(0, targets[None], minus_one[:, :n]).div_(n)
        torch.sum(d, 1, out=d_b2)
        torch.mm(d, h.t(), out=d_w2)
        d_a = torch.ops.aten.threshold_backward(torch.mm(w2.t(), d), h, 0)  # zero where the ReLU is
        torch.sum(d_a, 1, out=d_b1)
        d_w1.t().copy_(torch.mm(x.t(), d_a.t()))
        d_x = torch.mm(w1.t(), d_a).t().reshape(-1, emb)
        d_c.zero_().index_add_(0, contexts.reshape(-1), d_x)
        return loss

    return backward


def _gradient(parameter: Tensor) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


# --- summary -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    name: str
    shape: tuple[int, ...]  # of the output
    parameters: int


@dataclass(frozen=True)
class Summary:
    """What a network is made of, for one batch; sizes in bytes, as torchinfo counts them.

    size: of the parameters. input_size: of the ids. pass_size: of what layers with parameters put out, and of its
    gradients.
    """

    layers: list[Layer]
    batch: int
    trainable: int
    frozen: int
    size: int
    input_size: int
    pass_size: int

    @property
    def parameters(self) -> int:
        return self.trainable + self.frozen

    @property
    def multiply_adds(self) -> int:
        """Every parameter once a row, as torchinfo counts the layers that occur here (a look-up counted too)."""
        return self.batch * self.parameters

    def __str__(self) -> str:
        rows = [("layer", "output shape", "parameters")]
        rows += [(layer.name, " × ".join(map(str, layer.shape)), f"{layer.parameters:,}") for layer in self.layers]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        rule = "-" * len(lines[0])
        return "\n".join(
            [
                lines[0], rule, *lines[1:], rule,
                f"parameters {self.parameters:,}: {self.trainable:,} trainable, {self.frozen:,} not",
                f"multiply-adds for a batch of {self.batch}: {self.multiply_adds / 1e6:.2f} M",
                f"size of the input: {self.input_size / 1e6:.2f} MB",
                f"size of the forward and backward pass: {self.pass_size / 1e6:.2f} MB",
                f"size of the parameters: {self.size / 1e6:.2f} MB",
                f"size in all: {(self.input_size + self.pass_size + self.size) / 1e6:.2f} MB",
            ]
        )  # fmt: skip


def summarize(network: CharacterModel, batch: int = 32) -> Summary:
    """Run a batch through the network and record what each layer puts out."""
    layers: list[Layer] = []
    outputs: list[int] = []

    def record(name: str, module: nn.Module, output: Tensor) -> None:
        layers.append(Layer(f"{name} ({type(module).__name__})", tuple(output.shape), _count(module)))
        outputs.append(output.nbytes if _count(module) else 0)

    hooks = [
        module.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
        for name, module in network.named_children()
    ]
    ids = torch.zeros(batch, network.block_size, dtype=torch.int64)
    try:
        with torch.inference_mode():
            network(ids)
    finally:
        for hook in hooks:
            hook.remove()
    parameters = list(network.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    size = sum(p.numel() * p.element_size() for p in parameters)
    return Summary(layers, batch, trainable, _count(network) - trainable, size, ids.nbytes, 2 * sum(outputs))


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())

"""The gradient of an embedding layer, worked out by hand and held against automatic differentiation.

A look-up is a product with one-hot rows: X̄ = Δ C. Hence dC = Δᵀ G' with G' = ∂loss/∂X̄: each row of dC adds up the
gradients of all places where that character stands, over time and batch, since they share the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Demonstration:
    """ids (B, T); one_hot Δ (B * T, V); upstream G' (B * T, emb); by_hand and automatic: dC, (V, emb).

    concatenated: the gradient of the concatenation, (B, T * emb), found by automatic differentiation.
    """

    ids: Tensor
    one_hot: Tensor
    upstream: Tensor
    by_hand: Tensor
    automatic: Tensor
    concatenated: Tensor

    @property
    def max_difference(self) -> float:
        return float((self.by_hand - self.automatic).abs().max())

    @property
    def equal(self) -> bool:
        return torch.equal(self.by_hand, self.automatic)


def demonstrate(
    seed: int, *, batch: int = 4, block_size: int = 3, vocabulary: int = 28, embedding: int = 10, outputs: int = 4
) -> Demonstration:
    """A random embedding C under a linear layer, with loss = mean over the batch of Σ Y², Y = X̄_cat W + b."""
    generator = torch.Generator().manual_seed(seed)
    c = torch.randn(vocabulary, embedding, generator=generator, requires_grad=True)
    w = torch.randn(block_size * embedding, outputs, generator=generator)
    b = torch.randn(outputs, generator=generator)
    ids = torch.randint(vocabulary, (batch, block_size), generator=generator)
    vectors = F.embedding(ids, c)
    concatenated = vectors.flatten(1)
    loss = (concatenated @ w + b).square().sum(1).mean()
    automatic, of_vectors, of_concatenated = torch.autograd.grad(loss, (c, vectors, concatenated))
    one_hot = F.one_hot(ids.flatten(), vocabulary).to(c.dtype)
    upstream = of_vectors.reshape(-1, embedding)
    return Demonstration(ids, one_hot, upstream, one_hot.T @ upstream, automatic, of_concatenated)

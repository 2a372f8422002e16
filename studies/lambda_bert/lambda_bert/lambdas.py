"""The content lambdas of sentences as an array, and what can be said of them as matrices.

A content lambda is the same for every query and whatever the order of a layer's inputs. It is no constant: it is a sum
over the tokens of the sentence, and `shared` says how much of it is common to all sentences.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from linear_shortcuts.text import encode

PER_BATCH = 4096  # tokens of one forward pass


@dataclass(frozen=True)
class Export:
    """What is kept of n sentences.

    lambdas: (n, L, k, v) float32. pooled: (n, L + 1, H), the mean over a sentence's tokens of h_0 to h_L.
    ids: the token ids of each sentence, special tokens included.
    """

    lambdas: np.ndarray
    pooled: np.ndarray
    ids: list[Tensor]

    def part(self, first: int) -> Export:
        """All sentences but the first ones."""
        return Export(self.lambdas[first:], self.pooled[first:], self.ids[first:])

    @property
    def lengths(self) -> np.ndarray:
        """(n,) tokens of each sentence."""
        return np.array([len(ids) for ids in self.ids])


@torch.inference_mode()
def export(model: Any, tokenizer: Any, sentences: Sequence[str]) -> Export:
    """Run a LambdaBERT, with or without head, on sentences; those too long for it are cut.

    Sentences of one length share a batch, so that padding changes nothing whatever the model makes of it.
    """
    config = model.config
    ids = encode(tokenizer, sentences, truncation=True, max_length=config.max_position_embeddings)["input_ids"]
    shape = (config.num_hidden_layers, config.key_depth, config.value_depth)
    lambdas = np.empty((len(ids), *shape), dtype=np.float32)
    pooled = np.empty((len(ids), shape[0] + 1, config.hidden_size), dtype=np.float32)
    for rows, batch in batches(ids):
        found = model.base_model(batch.to(model.device), output_hidden_states=True, output_lambda_params=True)
        lambdas[rows] = torch.stack(found.lambda_params, dim=1).float().cpu()
        pooled[rows] = torch.stack([states.mean(1) for states in found.hidden_states], dim=1).float().cpu()
    return Export(lambdas, pooled, [torch.tensor(sentence) for sentence in ids])


def batches(ids: Sequence[Sequence[int]]) -> list[tuple[list[int], Tensor]]:
    """Sentences of one length together: the rows of a batch, and its token ids (batch, tokens)."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for row, sentence in enumerate(ids):
        by_length[len(sentence)].append(row)
    made = []
    for length, rows in sorted(by_length.items()):
        for first in range(0, len(rows), max(1, PER_BATCH // length)):
            chosen = rows[first : first + max(1, PER_BATCH // length)]
            made.append((chosen, torch.tensor([list(ids[row]) for row in chosen])))
    return made


def singular_values(lambdas: np.ndarray) -> np.ndarray:
    """(n, L, k, v) -> (n, L, min(k, v)), the largest first."""
    return np.linalg.svd(lambdas, compute_uv=False)


def effective_rank(lambdas: np.ndarray) -> np.ndarray:
    """(n, L, k, v) -> (n, L): exp of the entropy of the singular values as shares of their sum (Roy & Vetterli, 2007).

    1 for a matrix of rank one, min(k, v) for an orthogonal one.
    """
    values = singular_values(lambdas)
    shares = values / values.sum(-1, keepdims=True).clip(1e-30)
    return np.exp(-(shares * np.log(shares.clip(1e-30))).sum(-1))


def cosines(lambdas: np.ndarray) -> np.ndarray:
    """(n, L, k, v) -> (L, n, n): between the lambdas of every two sentences, as vectors, in each layer."""
    units = _units(lambdas)
    return np.einsum("ilf,jlf->lij", units, units)


def mean_cosine(lambdas: np.ndarray) -> np.ndarray:
    """(n, L, k, v) -> (L,): of two different sentences, on average over all pairs."""
    units = _units(lambdas)
    n = len(units)
    return (np.square(units.sum(0)).sum(-1) - n) / (n * (n - 1))


def shared(lambdas: np.ndarray) -> np.ndarray:
    """(n, L, k, v) -> (L,): the squared norm of the mean lambda over the mean squared norm of a lambda.

    1: the lambda is a constant of the model; 0: nothing is common to all sentences.
    """
    return np.square(lambdas.mean(0)).sum((-2, -1)) / np.square(lambdas).sum((-2, -1)).mean(0)


def cka(lambdas: np.ndarray) -> np.ndarray:
    """(n, L, k, v) -> (L, L): linear CKA of the lambdas of two layers (Kornblith et al., 2019).

    1 where the lambdas of one layer place the sentences as those of the other do, up to rotation and scale.
    """
    flat = lambdas.reshape(*lambdas.shape[:2], -1).astype(np.float64)
    flat = flat - flat.mean(0)
    grams = np.einsum("ilf,jlf->lij", flat, flat).reshape(flat.shape[1], -1)
    grams /= np.linalg.norm(grams, axis=1, keepdims=True)
    return grams @ grams.T


def _units(lambdas: np.ndarray) -> np.ndarray:
    flat = lambdas.reshape(*lambdas.shape[:2], -1).astype(np.float64)
    return flat / np.linalg.norm(flat, axis=-1, keepdims=True).clip(1e-30)

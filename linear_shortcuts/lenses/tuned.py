"""The tuned lens (arXiv 2303.08112): an affine map trained to make the head say what it says of the last layer.

Minimises the mean of KL(full model || lens) by Adam, started from a lens that is already there, `affine`, and keeps the
best moment on vectors that it does not train on: so it never ends behind its start there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from linear_shortcuts.files import derive
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.models import LanguageModel

CHECKS = 8  # times the held-out KL is looked at, evenly over the training


@dataclass(frozen=True)
class Recipe:
    """How a lens is tuned. tokens: vectors seen, the same again and again where there are fewer; learning_rate: of
    Adam at the start, falling linearly to 0; held_out: the share of the vectors, the last ones, that choose the moment.
    """

    tokens: int
    batch: int
    learning_rate: float
    held_out: float
    seed: int


def tune(
    model: LanguageModel,
    start: Lens,
    states: Tensor,
    target: Tensor,
    recipe: Recipe,
    tell: Callable[[int], None] = lambda tokens: None,
) -> tuple[Lens, dict[str, float]]:
    """The lens `tuned` from one with a matrix, and its held-out KL in nats: `kl_start`, `kl`, at `tokens` seen.

    states, target: (n, d), h of the lens's source and of the last layer, of the same tokens. tell: is given the tokens
    of every step. What is trained is a matrix on the states divided by their standard deviations, whose outcome is
    multiplied by those of the target: a few coordinates of real states are thousands of times larger than the rest.
    """
    train = len(states) - max(1, round(recipe.held_out * len(states)))
    if start.matrix is None or start.bias is None:
        raise ValueError(f"the lens {start.name} has no matrix or no bias to start from")
    matrix, bias = start.matrix.to(states), start.bias.to(states)
    mean, spread, size = states.mean(0), _deviation(states), _deviation(target)
    change = torch.zeros_like(matrix, requires_grad=True)
    offset = torch.zeros_like(bias, requires_grad=True)

    def moved(rows: Tensor) -> Tensor:
        return rows @ matrix.T + bias + ((rows - mean) / spread @ change.T + offset) * size

    def held_out() -> float:
        with torch.no_grad():
            parts = zip(states[train:].split(recipe.batch), target[train:].split(recipe.batch), strict=True)
            return sum(float(_kl(model, moved(rows), goal).sum()) for rows, goal in parts) / (len(states) - train)

    optimizer = torch.optim.Adam([change, offset], lr=recipe.learning_rate)
    steps = -(-recipe.tokens // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / max(1, steps))
    generator = torch.Generator().manual_seed(derive(recipe.seed, "tuned", start.source) % 2**63)
    first = held_out()
    best, kept = (first, 0), (change.detach().clone(), offset.detach().clone())
    for step in range(1, steps + 1):
        chosen = torch.randint(train, (recipe.batch,), generator=generator).to(states.device)
        optimizer.zero_grad()
        _kl(model, moved(states[chosen]), target[chosen]).mean().backward()
        optimizer.step()
        schedule.step()
        tell(recipe.batch)
        if step % max(1, steps // CHECKS) == 0 or step == steps:
            now = held_out()
            if now < best[0]:
                best, kept = (now, step), (change.detach().clone(), offset.detach().clone())
    change, offset = kept
    slope = size[:, None] * change / spread
    lens = replace(start, name="tuned", factors=(matrix + slope,), bias=bias + size * offset - slope @ mean)
    return lens, {"kl_start": first, "kl": best[0], "tokens": best[1] * recipe.batch}


def _deviation(rows: Tensor) -> Tensor:
    deviation = rows.std(0)
    return torch.where(deviation > 0, deviation, torch.ones_like(deviation))


def _kl(model: LanguageModel, guess: Tensor, target: Tensor) -> Tensor:
    """KL(full || lens) in nats of each of (n, d) and (n, d), both read by the model's head, (n,)."""
    with torch.no_grad():
        full = model.decode(target).float().log_softmax(-1)
    return (full.exp() * (full - model.decode(guess).float().log_softmax(-1))).sum(-1)

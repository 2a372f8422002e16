"""The Jacobian lens: how much a change of a state moves the states that it leads to, on average.

J_i = mean over rows of text and source positions t of the sum over target positions t' of d h_target[t'] / d h_i[t]
(arXiv 2607.15495). In a causal model the terms of t' < t are zero; a masked model looks both ways, and all count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.lenses.lens_set import LensSet
from linear_shortcuts.models import LanguageModel, Watcher

COPIES = 8  # of a row in one pass, each with a cotangent of its own: 1,024 tokens, what a CPU's cache holds


class _Leaf(Watcher):
    """Keeps the states of all layers; derivatives are taken from h_0 on, since the weights are frozen."""

    def __init__(self) -> None:
        self.states: list[Tensor] = []

    def state(self, layer: int, states: Tensor) -> None:
        self.states.append(states.requires_grad_() if layer == 0 else states)


def row_jacobians(
    model: LanguageModel,
    ids: Tensor,
    positions: slice,
    target: int,
    *,
    copies: int = COPIES,
    tell: Callable[[int], None] = lambda done: None,
) -> Tensor:
    """J_i of one row of text for the layers before `target`, (target, d, d) float32, to be applied as `J @ h`.

    ids: (T,). positions: of the row, those that count, as sources and as targets alike. tell: is given the number of
    output dimensions done, after each of the d / copies backward passes.
    """
    row = ids.to(model.device).expand(copies, -1)
    watcher = _Leaf()
    with torch.enable_grad(), model.watch(watcher):
        model.encode(row, None)
    sources, reached = watcher.states[:target], watcher.states[target]
    width = reached.shape[-1]
    found = torch.empty(target, width, width)
    for first in range(0, width, copies):
        dimensions = torch.arange(first, min(first + copies, width))
        cotangent = torch.zeros_like(reached)
        for copy, dimension in enumerate(dimensions.tolist()):
            cotangent[copy, positions, dimension] = 1
        for source, slope in enumerate(torch.autograd.grad(reached, sources, cotangent, retain_graph=True)):
            found[source, dimensions] = slope[: len(dimensions), positions].float().mean(1).cpu()
        tell(len(dimensions))
    return found


def lens_set(rows: Sequence[Tensor], name: str, target: int, card: Mapping[str, Any]) -> LensSet:
    """The lens from the Jacobians of some rows of text, (target, d, d) each, all of one target.

    Its card gains `rows` and `convergence`: by layer, by how much the mean of the first half of the rows differs from
    the mean of all, relative to it (Frobenius norms); null for fewer than two rows.
    """
    total = _mean(rows)
    convergence = None
    if len(rows) > 1:
        half = _mean(rows[: len(rows) // 2])
        norms = total.flatten(1).norm(dim=1)
        convergence = [float(share) for share in (half - total).flatten(1).norm(dim=1) / norms]
    known = {**card, "fit": {**card["fit"], "rows": len(rows), "convergence": convergence}}
    lenses = {i: Lens(name, i, target, (matrix,), card=known) for i, matrix in enumerate(total.float())}
    return LensSet(lenses, known)


def _mean(rows: Sequence[Tensor]) -> Tensor:
    total = torch.zeros_like(rows[0], dtype=torch.float64)
    for row in rows:
        total += row
    return total / len(rows)

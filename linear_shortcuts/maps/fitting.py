"""The study's maps from recorded hidden states: which sources, which targets, in how many passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from linear_shortcuts.maps.regression import Gram, Moments, WhitenedMoments, columns
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.states import Shard

ROWS_OF_A_PRODUCT = 768  # a product in float32 loses digits with its rows; sums over parts are float64


def layer_targets(source: int, layers: int, targets: str) -> range:
    """The layers that `source` is mapped to: all later ones, or only the last (layers = L)."""
    return range(source + 1, layers + 1) if targets == "all" else range(layers, layers + 1)


def layer_moments(
    sources: Sequence[int], shards: Iterable[Shard], layers: int, targets: str, device: torch.device
) -> dict[int, WhitenedMoments]:
    """The moments of some source layers against their target layers, in two passes over the shards.

    shards: the same in every iteration; a generator, which can be read only once, will not do.
    """
    grams: dict[int, Gram] = {}
    rows = 0
    for shard in shards:
        rows += shard.hidden_states.shape[1]
        for source in sources:
            states = shard.hidden_states[source].to(device)
            grams.setdefault(source, Gram(states.shape[-1], device)).update(states)
    moments: dict[int, WhitenedMoments] = {}
    for shard in shards:
        rows -= shard.hidden_states.shape[1]
        for states in shard.hidden_states.to(device).split(ROWS_OF_A_PRODUCT, dim=1):
            first = layer_targets(min(sources), layers, targets).start
            packed = dict(enumerate(map(columns, states[first:]), first))
            for source in sources:
                to = [packed[j] for j in layer_targets(source, layers, targets)]
                if source not in moments:
                    moments[source] = WhitenedMoments(grams.pop(source).whitening(), len(to), states.shape[-1])
                moments[source].update(states[source], to)
    if rows:
        raise ValueError("the second pass over the shards saw other rows than the first; give a list, not a generator")
    return moments


@torch.inference_mode()
def submodule_moments(model: LanguageModel, blocks: Sequence[int], shards: Iterable[Shard]) -> dict[int, list[Moments]]:
    """For each block, the moments of its sub-steps, each site made against the site read, in one pass."""
    moments = {block: [Moments(model.width, device=model.device) for _ in model.family.steps] for block in blocks}
    for shard in shards:
        for block in blocks:
            recorded = shard.attention_outputs[block].to(model.device)
            sites = model.sites(block, shard.hidden_states[block].to(model.device), _constant(recorded))
            sites = [site.to(model.device) for site in sites]  # blocks may lie on several devices
            for step, source in enumerate(model.family.sources):
                moments[block][step].update(sites[source], sites[step + 1])
    return moments


def _constant(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda states: value


def passes(matrices: Mapping[int, int], width: int, budget_gib: float) -> list[list[int]]:
    """Group units of work so that the float64 matrices (width, width) of a group stay within a memory budget.

    matrices: unit -> how many matrices it needs. A group holds at least one unit, whatever the budget.
    """
    groups: list[list[int]] = []
    room = 0.0
    for unit, number in matrices.items():
        need = 8.0 * width * width * number
        if not groups or need > room:
            groups.append([])
            room = budget_gib * 2**30
        groups[-1].append(unit)
        room -= need
    return groups

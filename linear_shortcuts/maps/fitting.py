"""The study's maps from recorded hidden states: which sources, which targets, in how many passes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from linear_shortcuts.files import InputError, check_kind
from linear_shortcuts.maps.linear_maps import LayerMaps
from linear_shortcuts.maps.regression import Gram, Moments, Solution, WhitenedMoments, columns
from linear_shortcuts.models import LanguageModel, arithmetic
from linear_shortcuts.states import Shard

MEMORY_GIB = 2.0  # of float64 matrices that `fit_maps` holds at a time
ROWS_OF_A_PRODUCT = 768  # a product in float32 loses digits with its rows; sums over parts are float64


def fit_maps(states: Tensor) -> LayerMaps:
    """For every pair of layers i < j the matrix A, (d, d) float32, for which A @ h_i comes closest to h_j.

    states: (L + 1, n, d), h_0..h_L of n tokens, as `hidden_states` gives them; n must be d at least.

    Least squares without intercept, in float64; of a source that lacks rank, the smallest matrix that fits best.
    """
    check_kind("states", states, Tensor, "give what hidden_states makes of texts, or torch.from_numpy of an array")
    if states.ndim != 3 or len(states) < 2 or not states.is_floating_point():
        raise InputError(
            f"states are {states.dtype} of shape {tuple(states.shape)}; they must be real and (layers + 1, tokens, d)"
        )
    layers, (rows, width) = len(states) - 1, states.shape[1:]
    if rows < width:
        raise InputError(
            f"{rows:,} tokens cannot determine maps of width {width:,}; give the states of {width:,} or more"
        )
    if not torch.isfinite(states).all():
        raise InputError("states have values that are not finite; no map can be fitted on them")
    shards = [Shard(states, states.new_empty(0, rows, width))]
    found: dict[tuple[int, int], Tensor] = {}
    for i, solution in fit_layers(range(layers), shards, layers, "all", states.device, width=width):
        matrices = solution.matrices.float().cpu()
        found |= {(i, j): matrix for j, matrix in zip(layer_targets(i, layers, "all"), matrices, strict=True)}
    return LayerMaps.of(found)


def fit_layers(
    sources: Sequence[int],
    shards: Iterable[Shard],
    layers: int,
    targets: str,
    device: torch.device,
    *,
    width: int,
    memory_gib: float = MEMORY_GIB,
) -> Iterator[tuple[int, Solution]]:
    """The solution of each source layer, from as many at a time as memory holds; see `layer_moments`."""
    for group in passes({i: 1 + len(layer_targets(i, layers, targets)) for i in sources}, width, memory_gib):
        moments = layer_moments(group, shards, layers, targets, device)
        for source in group:
            yield source, moments.pop(source).solve()


def fit_parts(
    model: LanguageModel, blocks: Sequence[int], shards: Iterable[Shard], precision: str, memory_gib: float = MEMORY_GIB
) -> Iterator[tuple[int, list[Solution]]]:
    """The solutions of the sub-steps of each block, from as many blocks at a time as memory holds.

    precision: of the model's own arithmetic, see `models.arithmetic`.
    """
    for group in passes(dict.fromkeys(blocks, 2 * len(model.family.steps)), model.width, memory_gib):
        with arithmetic(precision, model.device):
            moments = submodule_moments(model, group, shards)
        for block in group:
            yield block, [moment.solve() for moment in moments.pop(block)]


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

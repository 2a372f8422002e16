"""What early exit needs of a layer, by least squares with intercept: the map to h_L, and what fills later caches.

A block makes keys and values of the state that enters it and of nothing else; so recorded states are enough to fit
what they are before any norm of keys and the rotation by position, and no text is read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from linear_shortcuts.decoding.projections import Projections
from linear_shortcuts.decoding.shortcuts import Shortcuts, stack_of
from linear_shortcuts.decoding.stack import Affine
from linear_shortcuts.files import InputError, Partial
from linear_shortcuts.maps.regression import Moments
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.states.shards import HiddenStates
from linear_shortcuts.text import Tokens
from linear_shortcuts.text.tokens import most_frequent

FITTED_FILLS = ("map", "kv_map")


class AffineFit:
    """Least squares with intercept of some targets on sources that stand one after the other, `width` in all."""

    def __init__(self, width: int) -> None:
        self.width, self.sizes = width, list[int]()
        self.moments: Moments | None = None

    def update(self, sources: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """Fold in rows (m, …) of the same tokens."""
        self.sizes = [target.shape[1] for target in targets]
        if self.moments is None:
            self.moments = Moments(self.width + 1, sum(self.sizes), device=sources[0].device)
        source = torch.cat([*sources, torch.ones_like(sources[0][:, :1])], dim=1)
        self.moments.update(source.float(), torch.cat([*targets], dim=1).float())

    def solve(self) -> list[Affine]:
        """The map to each target."""
        assert self.moments is not None
        matrices = self.moments.solve().matrices[0].float().split(self.sizes)
        return [Affine(matrix[:, :-1].contiguous(), matrix[:, -1].contiguous()) for matrix in matrices]


class ExitFit:
    """The maps of one layer that may be left at, of a network of `layers` blocks and `width` numbers a state.

    fills: of `map` and `kv_map` those that are fitted, see `filling`.
    """

    def __init__(self, layer: int, layers: int, width: int, fills: Sequence[str]) -> None:
        self.layer, self.layers, self.fills = layer, layers, fills
        self.fit = AffineFit(width)
        self.parts: list[int] = []  # of every block that is not reached, how many modules make its keys and values

    def update(self, states: Sequence[Tensor], made: Sequence[Sequence[Tensor]]) -> None:
        """Fold in h_0..h_L of some tokens, (m, d) each, and what the projections of every block made of them.

        made: as `Projections.found` has the modules, (m, e) each; of blocks that are reached, and without `kv_map`,
            nothing is asked.
        """
        later = states[self.layer + 1 :] if "map" in self.fills else states[-1:]
        keys_values = made[self.layer :] if "kv_map" in self.fills else []
        self.parts = [len(parts) for parts in keys_values]
        self.fit.update([states[self.layer]], [*later, *(part for parts in keys_values for part in parts)])

    def maps(self) -> dict[str, Affine]:
        """By name, as `Shortcuts` has them."""
        solved = iter(self.fit.solve())
        maps = {}
        for target in range(self.layer + 1 if "map" in self.fills else self.layers, self.layers):
            maps[f"map.{self.layer}.{target}"] = next(solved)
        maps[f"exit.{self.layer}"] = next(solved)
        for block, parts in enumerate(self.parts, self.layer):
            maps[f"kv_map.{self.layer}.{block}"] = _one_after_the_other([next(solved) for _ in range(parts)])
        return maps


def fit_exits(
    model: LanguageModel,
    states: HiddenStates,
    tokens: Tokens,
    partial: Partial,
    *,
    exits: Sequence[int] | None = None,
    fills: Sequence[str] = ("kv_map",),
    short_list: int = 8192,
    bar: Callable[..., Any] = tqdm,
) -> Shortcuts:
    """Shortcuts for early exit, without drafts, from recorded states and the tokens that these were recorded of.

    partial: where every exit is kept as soon as it is fitted. exits: None: as `spread_exits` has them.
    fills: of `map` and `kv_map`, what is fitted for blocks that a token does not reach.
    short_list: how many tokens an exit chooses among, the most frequent of all.

    Raises `InputError` for a model that is not causal, for a layer that cannot be left at, and for fewer tokens than
    the maps have columns.
    """
    exits = spread_exits(model.layers) if exits is None else sorted(set(exits))
    check_exits(exits, model)
    fitted_on = check_ordinary(tokens, states.card["positions"], model.width)
    todo = [layer for layer in exits if layer not in partial]
    for layer in bar(todo, desc=f"{model.name}: fit exits", unit=" exits", disable=None):
        maps = fit_exit(model, layer, ordinary(states, tokens), fills)
        partial.save(layer, {f"{layer}.pickle": {name: vars(affine) for name, affine in maps.items()}})
    kept = [partial.load(f"{layer}.pickle") for layer in exits]
    maps = {name: Affine(**affine) for some in kept for name, affine in some.items()}
    told = {key: states.card[key] for key in ("corpus", "tokens_sha256")}
    on = {"states": states.fingerprint, **told, "vectors": fitted_on}
    return Shortcuts.of(model, maps, most_frequent(tokens.counts(model.vocabulary), short_list), on)


@torch.inference_mode()
def fit_exit(
    model: LanguageModel, layer: int, states: Iterable[Tensor], fills: Sequence[str] = ("kv_map",)
) -> dict[str, Affine]:
    """The maps of one layer that may be left at, by name as `Shortcuts` has them.

    layer: in 1..L-1. states: h_0..h_L of some tokens, (L + 1, m, d), batch after batch; see `ordinary`.
    fills: of `map` and `kv_map`, what is fitted for blocks that a token does not reach.

    Raises `InputError` for a layer that cannot be left at, and for fewer tokens than the maps have columns.
    """
    stack = stack_of(model)
    check_exits([layer], model)
    projections = Projections(stack) if "kv_map" in fills else None
    fit, rows = ExitFit(layer, stack.layers, model.width, fills), 0
    for batch in states:
        batch = batch.to(model.device, model.network.dtype)
        made: list[list[Tensor]] = [[] for _ in range(stack.layers)]
        if projections is not None:
            calls = stack.prepare(torch.zeros(batch.shape[1], 1, dtype=torch.int64, device=model.device), 0)
            for block in range(layer, stack.layers):
                made[block] = projections.made_of(stack, calls, batch[block], block)
        fit.update(list(batch), made)
        rows += batch.shape[1]
    if rows <= model.width:
        raise InputError(f"{rows:,} tokens cannot determine maps from layer {layer}; give {model.width + 1:,} or more")
    return fit.maps()


def ordinary(states: HiddenStates, tokens: Tokens) -> Iterator[Tensor]:
    """The recorded states of all tokens but the first of each sentence, (L + 1, m, d), shard after shard.

    A first token has states like no others, thousands of times larger, which one map for all would be bent to; and
    while text is generated none is met.
    """
    kept = _is_ordinary(tokens, states.card["positions"])
    first = 0
    for shard in states:
        last = first + shard.hidden_states.shape[1]
        yield shard.hidden_states[:, kept[first:last]]
        first = last


def check_ordinary(tokens: Tokens, positions: str, width: int) -> int:
    """How many tokens `ordinary` keeps; `InputError` if they are too few for the maps of a model of this width.

    positions: which tokens of a sentence are recorded, as `extract` in params.yaml has it.
    """
    kept = int(_is_ordinary(tokens, positions).sum())
    if kept <= width:
        raise InputError(
            f"{kept:,} recorded tokens that come first in no sentence cannot determine exits of a model of width "
            f"{width:,}; take more sentences, for {width + 1:,} such tokens"
        )
    return kept


def _is_ordinary(tokens: Tokens, positions: str) -> Tensor:
    places = tokens.positions
    if positions == "all":
        places = torch.cat([torch.arange(length) for length in tokens.lengths.tolist()])
    return places > 0


def spread_exits(layers: int) -> list[int]:
    """Three layers of L, evenly spaced, where a network can be left if nothing else is said; fewer if L < 4."""
    return sorted({layers * part // 4 for part in (1, 2, 3)} - {0})


def check_exits(exits: Sequence[int], model: LanguageModel) -> None:
    """Raise `InputError` for a model that is not causal, and for a layer that is not between its first and last."""
    if not model.family.causal:
        raise InputError(f"{model.name} is a masked model, which generates nothing; name a causal one")
    for layer in exits:
        if not 0 < layer < model.layers:
            raise InputError(f"exits name layer {layer}; {model.name} can be left at the layers 1..{model.layers - 1}")


def _one_after_the_other(parts: Sequence[Affine]) -> Affine:
    biases = [part.bias for part in parts if part.bias is not None]
    return Affine(torch.cat([part.weight for part in parts]), torch.cat(biases))

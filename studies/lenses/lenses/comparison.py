"""All lenses of a model held against each other: at a layer, on the prompts, and in what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lenses.fitted import HALVES
from lenses.text import Validation, states_of
from linear_shortcuts.files import artifacts
from linear_shortcuts.lenses import LensSet
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.scores.agreement import agreement
from linear_shortcuts.scores.latent import Item, ranks
from linear_shortcuts.scores.measures import r2


def fingerprints(lenses: Mapping[str, LensSet]) -> dict[str, str]:
    """What the lenses are known by; how long a fit took is no part of it."""
    return {name: artifacts.fingerprint(own.card.get("files", {})) for name, own in lenses.items()}


def at_layer(model: LanguageModel, lenses: Mapping[str, LensSet], layer: int, read: Validation) -> dict[str, Any]:
    """`values` by lens and measure, (n,) each; `r2` by lens; `cosines` of two fits on other text, by lens."""
    own = {name: lens_set[layer] for name, lens_set in lenses.items() if layer in lens_set}
    states, last = read.states[layer].to(model.device), read.states[-1].to(model.device)
    values = agreement(model, own, states, last, read.truth)
    explained = {name: r2(last, lens.transport(states)) for name, lens in own.items() if lens.target == model.layers}
    cosines = {}
    for name, halves in HALVES.items():
        if set(halves) <= set(own):
            first, second = (own[half].factors[0].flatten().double() for half in halves)
            cosines[name] = float(torch.nn.functional.cosine_similarity(first, second, dim=0))
    return {"values": values, "r2": explained, "cosines": cosines}


def costs(lenses: Mapping[str, LensSet]) -> dict[str, dict[str, Any]]:
    """By lens: processor seconds and peak memory (GiB) of the fit, what it saw, all its parameters, FLOPs a vector."""
    return {
        name: {
            **{key: own.card["fit"].get(key) for key in ("seconds", "peak_gib", "vectors", "convergence", "layers")},
            "rows": own.card["fit"].get("rows", own.card["fit"].get("text", {}).get("rows")),
            "parameters": own.parameters,
            "flops": max(lens.flops for lens in own.values()),
        }
        for name, own in lenses.items()
    }


@torch.inference_mode()
def prompt_states(model: LanguageModel, items: Sequence[Item], layers: Sequence[int]) -> Tensor:
    """(layers, items, d): h of the chosen layers where each prompt is read."""
    rows = [states_of(model, item.ids[None])[list(layers), 0, item.position] for item in items]
    return torch.stack(rows, dim=1).to(model.device)


def word_ranks(
    model: LanguageModel, lenses: Mapping[str, LensSet], items: Sequence[Item], layers: Sequence[int]
) -> dict[str, Tensor]:
    """By lens, the rank of every word at every layer, (layers, words); layers: those that all lenses read."""
    states = prompt_states(model, items, layers)
    found = [
        ranks(model, {name: own[layer] for name, own in lenses.items()}, states[place], items)
        for place, layer in enumerate(layers)
    ]
    return {name: torch.stack([at_layer[name] for at_layer in found]) for name in lenses}

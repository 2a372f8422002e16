"""Transfer: what maps that were fitted on one corpus are worth on the states of another.

Three maps from each layer to the last are read out of the same states: the corpus's own (`own`), those of the other one
(`other`), and a refit on every second train row (`half`), which says what fitting on less costs by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import derive
from linear_shortcuts.maps import LayerMaps
from linear_shortcuts.maps.fitting import layer_moments
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.scores.exits import score_exits
from linear_shortcuts.scores.measures import bootstrap_interval, in_top
from linear_shortcuts.scores.tables import KL, Table, markdown, precision_panel
from linear_shortcuts.settings import Bootstrap
from linear_shortcuts.states import Shard

OWN, OTHER, HALF = "own", "other", "half"
MEAN = None  # in place of a layer: over all of them


class _EverySecond:
    """Every second row of some shards, again each time that they are read."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.shards = shards

    def __iter__(self) -> Iterator[Shard]:
        for shard in self.shards:
            yield Shard(shard.hidden_states[:, ::2], shard.attention_outputs[:, :0])


def refit_on_half(shards: Iterable[Shard], layers: int, device: torch.device) -> LayerMaps:
    """The maps from every layer to the last, fitted on every second row; shards: the same in every iteration."""
    moments = layer_moments(range(layers), _EverySecond(shards), layers, "last", device)
    return LayerMaps.of({(i, layers): own.solve().matrices[0].float().cpu() for i, own in moments.items()})


def score_maps(
    model: LanguageModel, states: Tensor, maps: Mapping[str, LayerMaps], layers: Sequence[int]
) -> list[dict[str, Any]]:
    """One record per kind of maps and exit layer, of n samples: `maps`, `layer`, `correct` (n,), whether the exit's
    token is the full model's, and `kl` (n,) in nats.

    states: (L + 1, n, d), of the corpus that the maps are tried on.
    """
    last = len(states) - 1
    guesses = {
        name: torch.stack([own.jump(states[layer], layer, last) for layer in layers]) for name, own in maps.items()
    }
    readouts = score_exits(model, states, guesses, dict.fromkeys(maps, layers))
    full = next(own for (_, layer), own in readouts.items() if layer == last)
    return [
        {"maps": name, "layer": layer, "correct": in_top(full.top_ids, own.top_ids[:, 0], 1), "kl": own.kl}
        for (name, layer), own in readouts.items()
        if layer < last
    ]


def transfer_table(records: Mapping[str, Sequence[Mapping[str, Any]]], bootstrap: Bootstrap, seed: int) -> Table:
    """One record per quantity (`panel`), corpus of the states, maps and layer; the mean over layers has no layer.

    records: corpus of the states -> what `score_maps` found. Of the means stand beside the three kinds of maps the
    differences `other-own` and `half-own`, taken sentence by sentence.
    """
    table: Table = []
    for corpus, found in records.items():
        for panel, key in ((precision_panel(1), "correct"), (KL, "kl")):
            values: dict[tuple[str, int | None], Tensor] = {
                (record["maps"], record["layer"]): record[key].double() for record in found
            }
            layers = sorted({record["layer"] for record in found})
            for name in (OWN, OTHER, HALF):
                values[name, MEAN] = torch.stack([values[name, layer] for layer in layers]).mean(0)
            for name in (OTHER, HALF):
                values[f"{name}-own", MEAN] = values[name, MEAN] - values[OWN, MEAN]
            low, high = bootstrap_interval(
                torch.stack(list(values.values())), bootstrap.resamples, bootstrap.confidence, derive(seed, "bootstrap")
            )
            for ((name, layer), own), *ends in zip(values.items(), low, high, strict=True):
                numbers = [float(own.nanmean()), *map(float, ends)]
                shown = dict(zip(("value", "low", "high"), numbers, strict=True))
                where = {"panel": panel, "series": f"{name} maps on {corpus}", "corpus": corpus}
                table.append({**where, "maps": name, "layer": layer, **shown})
    return table


def by_maps(table: Table, panel: str) -> str:
    """One row per corpus of the states: the means over layers of the three kinds of maps, and the differences."""
    rows = [record for record in table if record["panel"] == panel and record["layer"] == MEAN]
    names = list(dict.fromkeys(record["maps"] for record in rows))
    cells = {(r["corpus"], r["maps"]): f"{r['value']:.3f} ({r['low']:.3f} to {r['high']:.3f})" for r in rows}
    corpora = dict.fromkeys(record["corpus"] for record in rows)
    return markdown(["states of", *names], [[corpus, *(cells[corpus, name] for name in names)] for corpus in corpora])

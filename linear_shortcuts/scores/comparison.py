"""Two runs side by side: other models, corpora, revisions or settings, read at the same share of the depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError
from linear_shortcuts.scores.measures import bootstrap_interval, in_top
from linear_shortcuts.scores.tables import Table, of_embeddings

DEPTHS = (0.0, 0.25, 0.5, 0.75)  # shares of the layers at which runs of different depth are compared
RESAMPLES, CONFIDENCE = 1000, 0.95


@dataclass(frozen=True)
class Run:
    """The fixed exits of one run: `records` and `card` as `records.load_fixed` gives them."""

    records: Sequence[Mapping[str, Any]]
    card: Mapping[str, Any]

    @property
    def layers(self) -> int:
        """L, the layer that is the model itself."""
        return self.card["made_from"]["layers"]

    @property
    def mappings(self) -> list[str]:
        """The mappings that were read at every layer."""
        return list(dict.fromkeys(record["mapping"] for record in self.records))

    def hits(self, mapping: str, layer: int) -> Tensor | None:
        """Whether each sentence's exit names the full model's own token, (n,) of 0 and 1; None where none was read."""
        own = {(record["mapping"], record["layer"]): record["top_ids"] for record in self.records}
        if (mapping, layer) not in own:
            return None
        found = own[mapping, layer]
        return in_top(own["id", self.layers][: len(found)], found[:, 0], 1)


def paired(a: Run, b: Run) -> bool:
    """Whether the runs were scored on the same sentences, one by one."""
    ours, theirs = (run.card["made_from"] for run in (a, b))
    same_text = ours["corpus"]["sentences_sha256"] == theirs["corpus"]["sentences_sha256"] is not None
    same_tokens = ours["tokens_sha256"] == theirs["tokens_sha256"]
    return (same_text or same_tokens) and ours["split"] == theirs["split"] and ours["sentences"] == theirs["sentences"]


def compare(a: Run, b: Run, seed: int = 0) -> Table:
    """Precision@1 of both runs and its difference, b − a, by mapping and depth, with intervals of 95 %.

    On the same sentences the difference is taken sentence by sentence, which narrows its interval; otherwise both
    are resampled on their own. Raises `InputError` for runs of sentence encoders, which name no token.
    """
    if any(of_embeddings(run.records) for run in (a, b)):
        raise InputError("a sentence encoder names no token, so there is no Precision@1 to compare; give other runs")
    together, table = paired(a, b), []
    for mapping in (name for name in a.mappings if name in b.mappings):
        layers = range(a.layers) if a.layers == b.layers else None
        for place in layers if layers is not None else DEPTHS:
            at = [place if layers is not None else round(place * run.layers) for run in (a, b)]
            one, two = a.hits(mapping, int(at[0])), b.hits(mapping, int(at[1]))
            if one is None or two is None:
                continue
            low, high = _interval(one, two, together and len(one) == len(two), seed)
            table.append(
                {
                    "mapping": mapping,
                    "layer_a": int(at[0]),
                    "layer_b": int(at[1]),
                    "a": float(one.double().mean()),
                    "b": float(two.double().mean()),
                    "difference": float(two.double().mean() - one.double().mean()),
                    "low": low,
                    "high": high,
                }
            )
    return table


def _interval(one: Tensor, two: Tensor, together: bool, seed: int) -> tuple[float, float]:
    if together:
        low, high = bootstrap_interval(two - one, RESAMPLES, CONFIDENCE, seed)
        return float(low), float(high)
    means = []
    for number, values in enumerate((one, two)):
        generator = torch.Generator().manual_seed(2 * seed + number)
        n = len(values)
        means.append(values[torch.randint(n, (RESAMPLES, n), generator=generator)].double().mean(1))
    tail = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    low, high = torch.quantile(means[1] - means[0], tail).tolist()
    return low, high

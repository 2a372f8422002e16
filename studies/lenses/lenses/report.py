"""What was found, as tables: a record per model, lens, layer and measure, with what is decided and what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lenses.fitted import CONTROLS, HALVES, RANDOM, SHUFFLED
from lenses.settings import DRAWN_ANEW, Folders, Settings
from linear_shortcuts.files import artifacts, derive
from linear_shortcuts.scores import Table, bootstrap_interval, resampled_means
from linear_shortcuts.scores.agreement import CROSS_ENTROPY, KL, MEASURES, bits_per_byte
from linear_shortcuts.scores.latent import passes

MEAN = "mean"  # in place of a layer: of every sentence, the mean over the layers
PASS_AT = (1, 5, 10)
LATENT = "pass@5"  # over all layers and all sets of prompts
BASES = ("mat", "id")
LATENT_PARTS = ("ranks", "words", "left_out", "layers")


class Found:
    """The scores of one model; `agreement` (layers, n) by lens and measure, `latent` (items,) by set, lens and k."""

    def __init__(self, settings: Settings, model: str) -> None:
        folders = Folders(model, settings.corpus)
        stored = artifacts.load_mapping(folders.agreement, "values", "costs", made_by="05_score_agreement.py")
        self.model, self.settings, self.costs, self.card = model, settings, stored["costs"], stored["card"]
        values = stored["values"]
        self.layers = sorted(values)
        self.lenses = [name for name in self.costs if all(name in values[i]["values"] for i in self.layers)]
        self.r2 = {(name, i): values[i]["r2"].get(name) for name in self.lenses for i in self.layers}
        self.cosines = {i: values[i]["cosines"] for i in self.layers}
        self.agreement: dict[tuple[str, str], Tensor] = {}
        for name in self.lenses:
            for measure in MEASURES:
                rows = [values[i]["values"][name][measure] for i in self.layers]
                self.agreement[name, measure] = torch.stack(rows).double()
            nats = self.agreement[name, CROSS_ENTROPY]
            known = ~nats[0].isnan()
            if known.any():
                self.agreement[name, "cross_entropy_bits"] = bits_per_byte(nats, stored["bytes"])
                kl = torch.where(known, self.agreement[name, KL], torch.nan)
                self.agreement[name, "kl_bits"] = bits_per_byte(kl, stored["bytes"])
        self.measures = list(dict.fromkeys(measure for _, measure in self.agreement))
        latent = artifacts.load_mapping(folders.latent, *LATENT_PARTS, made_by="06_score_latent.py")
        self.latent = {
            (kind, name, k): torch.stack([passes(r, latent["words"][kind], k) for r in (*own, own.amin(0))])
            for kind, by_lens in latent["ranks"].items()
            for name, own in by_lens.items()
            for k in PASS_AT
        }
        self.latent_layers, self.words, self.left_out = latent["layers"], latent["words"], latent["left_out"]

    def intervals(self, values: Tensor) -> list[dict[str, float]]:
        """Mean and bootstrap interval of each row (r, n); the same draws for all, so differences are paired."""
        bootstrap = self.settings.bootstrap
        seed = derive(self.settings.seed, "bootstrap")
        low, high = bootstrap_interval(values, bootstrap.resamples, bootstrap.confidence, seed)
        numbers = zip(values.nanmean(1).tolist(), low.tolist(), high.tolist(), strict=True)
        return [dict(zip(("value", "low", "high"), own, strict=True)) for own in numbers]

    def interval(self, values: Tensor) -> dict[str, float]:
        """The same of one row (n,)."""
        return self.intervals(values[None])[0]

    def difference(self, lens: str, other: str, measure: str) -> dict[str, float]:
        """Of the mean over layers, lens minus other, paired by sentence."""
        return self.interval((self.agreement[lens, measure] - self.agreement[other, measure]).mean(0))

    def ratio(self, part: Tensor, whole: Tensor) -> dict[str, float]:
        """The mean of one row (n,) over that of another, and its interval, both resampled together."""
        bootstrap = self.settings.bootstrap
        seed = derive(self.settings.seed, "bootstrap")
        means = resampled_means(torch.stack([part, whole]), bootstrap.resamples, seed)
        tail = (1 - bootstrap.confidence) / 2
        low, high = torch.quantile(means[0] / means[1], torch.tensor([tail, 1 - tail])).tolist()
        return {"value": float(part.mean() / whole.mean()), "low": low, "high": high}

    def pooled(self, lens: str) -> Tensor:
        """(items,) of all sets of prompts together, pass@5 over all layers."""
        return torch.cat([self.latent[kind, lens, 5][-1] for kind in self.sets])

    @property
    def sets(self) -> list[str]:
        """The sets of prompts that were asked."""
        return list(dict.fromkeys(kind for kind, _, _ in self.latent))

    def beats_controls(self, lens: str) -> bool:
        """Whether its KL is below that of shuffled targets and of a random direction, by intervals without 0."""
        return all(self.difference(lens, control, KL)["high"] < 0 for control in (SHUFFLED, RANDOM))

    def finds_more(self, lens: str) -> bool:
        """Whether it finds more of the words than shuffled targets and a random direction do, decidedly."""
        return all(self.interval(self.pooled(lens) - self.pooled(control))["low"] > 0 for control in (SHUFFLED, RANDOM))


def agreement_table(found: Found) -> Table:
    """A record per lens, layer (or `mean` over all) and measure, with its paired differences to `mat` and to `id`."""
    table = []
    for (lens, measure), values in found.agreement.items():
        if values[0].isnan().all():
            continue
        rows = torch.cat([values, values.mean(0, keepdim=True)])
        apart = [
            rows - torch.cat([own, own.mean(0, keepdim=True)]) for own in (found.agreement[b, measure] for b in BASES)
        ]
        numbers = found.intervals(torch.cat([rows, *apart]))
        for place, layer in enumerate([*found.layers, MEAN]):
            value, *differences = numbers[place :: len(rows)]
            table.append(
                {
                    "model": found.model,
                    "lens": lens,
                    "layer": layer,
                    "measure": measure,
                    **value,
                    **_against(differences),
                }
            )
    for lens in found.lenses:
        explained = {layer: found.r2[lens, layer] for layer in found.layers}
        if None not in explained.values():  # a lens to the last layer
            known = {"model": found.model, "lens": lens, "measure": "r2"}
            by_layer = {**explained, MEAN: sum(explained.values()) / len(explained)}
            table += [{**known, "layer": layer, "value": value} for layer, value in by_layer.items()]
    return table


def _against(differences: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The differences to each of `BASES`, as `minus_BASE` with its `_low` and `_high`."""
    suffixes = {"value": "", "low": "_low", "high": "_high"}
    named = zip(BASES, differences, strict=True)
    return {f"minus_{base}{suffixes[key]}": number for base, own in named for key, number in own.items()}


def latent_table(found: Found) -> Table:
    """A record per set of prompts, lens, k and layer (or `any`: the best rank over all)."""
    table = []
    for (kind, lens, k), values in found.latent.items():
        numbers = found.intervals(torch.cat([values, *(values - found.latent[kind, base, k] for base in BASES)]))
        for place, layer in enumerate((*found.latent_layers, "any")):
            value, *differences = numbers[place :: len(values)]
            own = {"model": found.model, "set": kind, "lens": lens, "layer": layer, "k": k}
            table.append({**own, **value, **_against(differences)})
    return table


def pooled_table(found: Found) -> Table:
    """A record per lens: pass@5 of all sets of prompts together, and whether it beats the controls."""
    return [
        {
            "model": found.model,
            "lens": lens,
            **found.interval(found.pooled(lens)),
            "beats_controls": None if lens in CONTROLS else found.finds_more(lens),
        }
        for lens in dict.fromkeys(lens for _, lens, _ in found.latent)
    ]


def runs_table(found: Found) -> Table:
    """One record: on what the model was read, and how much of it; `of`: the model whose weights it has drawn anew."""
    prompts = {kind: len(words) for kind, words in found.words.items()}
    words = {kind: sum(own) for kind, own in found.words.items()}
    sentences = found.agreement["id", KL].shape[1]
    path = Path(found.settings.registered(found.model).path)
    of = path.name if path.is_relative_to(DRAWN_ANEW) else None
    known = {"model": found.model, "of": of, "type": found.card["type"], "corpus": found.settings.corpus}
    counted = {"sentences": sentences, "layers": found.layers, "prompts": prompts, "words": words}
    return [{**known, **counted, "left_out": dict(found.left_out), "transfer": found.settings.transfer.corpus}]


def pairs_table(found: Found) -> Table:
    """A record per ordered pair of lenses: mean KL of the first minus that of the second, paired by sentence."""
    means = torch.stack([found.agreement[lens, KL].mean(0) for lens in found.lenses])
    return [
        {"model": found.model, "lens": lens, "minus": other, **own}
        for lens, mean in zip(found.lenses, means, strict=True)
        for other, own in zip(found.lenses, found.intervals(mean - means), strict=True)
    ]


def costs_table(found: Found) -> Table:
    """A record per lens: what its fit and its use cost, beside what it reaches."""
    return [
        {
            "model": found.model,
            "lens": lens,
            "seconds": cost["seconds"],
            "peak_gib": cost["peak_gib"],
            "saw": _saw(cost),
            "parameters": cost["parameters"],
            "flops": cost["flops"],
            **found.interval(found.agreement[lens, KL].mean(0)),
            "beats_controls": None if lens in CONTROLS else found.beats_controls(lens),
        }
        for lens, cost in ((lens, found.costs[lens]) for lens in found.lenses)
    ]


def _saw(cost: Mapping[str, Any]) -> str:
    if cost["rows"] is not None:
        return f"{cost['rows']:,} rows"
    return "nothing" if cost["vectors"] is None else f"{cost['vectors']:,} vectors"


def floor_table(found: Found) -> Table:
    """A record per lens that was fitted twice, and layer: how alike the two fits are, and how far apart their KL."""
    table = []
    for lens, (first, second) in HALVES.items():
        if first in found.lenses:
            apart = found.intervals(found.agreement[first, KL] - found.agreement[second, KL])
            for layer, own in zip(found.layers, apart, strict=True):
                known = {"model": found.model, "lens": lens, "layer": layer}
                table.append({**known, "cosine": found.cosines[layer][lens], **own})
    return table


def convergence_table(found: Found) -> Table:
    """A record per layer read: the change of the Jacobian lens from half to all of its rows, relative to it."""
    changes = found.costs.get("jacobian", {}).get("convergence")
    kept = found.layers if changes else []
    return [{"model": found.model, "layer": layer, "change": changes[layer]} for layer in kept]


MAKERS: dict[str, Callable[[Found], Table]] = {
    "agreement": agreement_table,
    "latent": latent_table,
    "pooled": pooled_table,
    "pairs": pairs_table,
    "costs": costs_table,
    "floor": floor_table,
    "convergence": convergence_table,
    "runs": runs_table,
}


def metrics(made: Mapping[str, Table], models: Sequence[str]) -> dict[str, Any]:
    """By model and lens, means over layers of KL and Precision@1, to the digits that sentences can tell."""
    chosen = [r for r in made["agreement"] if r["layer"] == MEAN and r["measure"] in (KL, "p1")]
    return {
        model: {
            lens: {r["measure"]: round(r["value"], 2) for r in chosen if (r["model"], r["lens"]) == (model, lens)}
            for lens in dict.fromkeys(r["lens"] for r in chosen if r["model"] == model)
        }
        for model in models
    }

"""The study's questions as comparisons of one lens with another, and what came out of each for one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lenses.fitted import HALVES
from lenses.report import LATENT, Found
from linear_shortcuts.scores import Table
from linear_shortcuts.scores.agreement import KL

ORDERED = (("tuned", "affine"), ("jacobian", "mat"))  # does their order hold where both were fitted on other text?
KEPT = "kept"  # in place of what is subtracted: the share of what `mat` gains over `id` that a lens gains too


@dataclass(frozen=True)
class Comparison:
    """What `lens` has of `measure` minus what another has, or the share of `mat`'s gain that it keeps."""

    question: int
    lens: str
    minus: str
    measure: str

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return -1 if self.measure == KL and self.minus != KEPT else 1


def asked(found: Found) -> list[Comparison]:
    """All comparisons of lenses that were fitted for this model, by the question that each is asked for."""
    other = found.settings.transfer.corpus
    low_rank = [lens for lens in found.lenses if lens.startswith("low_rank") and "@" not in lens]
    wanted = [
        *(Comparison(1, "tuned", "affine", measure) for measure in (KL, "p1")),
        *(Comparison(2, "jacobian", minus, LATENT) for minus in ("mat", "id")),
        *(Comparison(2, "jacobian", minus, measure) for minus in ("mat", "id") for measure in (KL, "p1")),
        *(Comparison(2, "jacobian_penultimate", "jacobian", measure) for measure in (KL, "p1")),
        *(Comparison(3, "future", "jacobian", measure) for measure in (LATENT, KL, "p1")),
        *(Comparison(4, lens, KEPT, measure) for lens in low_rank for measure in (KL, "p1")),
        *(Comparison(5, f"{lens}@{other}", lens, KL) for lens in found.lenses),
        *(Comparison(5, f"{lens}@{other}", f"{minus}@{other}", KL) for lens, minus in ORDERED),
        *(Comparison(5, *halves, measure) for halves in HALVES.values() for measure in (KL, LATENT)),
    ]
    there = set(found.lenses)
    return [
        one
        for one in wanted
        if {one.lens, "mat" if one.minus == KEPT else one.minus} <= there and (one.measure != LATENT or found.latent)
    ]


def answers_table(found: Found) -> Table:
    """A record per comparison: its value and interval, the number of samples, at how many layers it is decided."""
    return [_record(found, comparison) for comparison in asked(found)]


def _record(found: Found, comparison: Comparison) -> dict[str, Any]:
    known = {"model": found.model, **vars(comparison)}
    if comparison.measure == LATENT:
        apart = found.pooled(comparison.lens) - found.pooled(comparison.minus)
        return {**known, **found.interval(apart), "n": len(apart)}
    values = {lens: found.agreement[lens, comparison.measure] for lens in found.lenses}
    if comparison.minus == KEPT:
        gains = values[comparison.lens] - values["id"], values["mat"] - values["id"]
        return {**known, **found.ratio(*(gain.mean(0) for gain in gains)), "n": len(gains[0][0])}
    apart = values[comparison.lens] - values[comparison.minus]
    layers = [decided(record, comparison.sign) for record in found.intervals(apart)]
    return {
        **known,
        **found.interval(apart.mean(0)),
        "n": apart.shape[1],
        "better": layers.count(1),
        "worse": layers.count(-1),
        "layers": len(layers),
    }


def decided(record: Mapping[str, Any], sign: int) -> int:
    """1 where the interval says better, -1 where it says worse, 0 where it holds 0."""
    return sign * (int(record["low"] > 0) - int(record["high"] < 0))

"""The study's tables as parts of its README, made from the numbers that git tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lambda_bert.comparison import NAMES
from lambda_bert.seeds import EARLY_STEPS, verdict
from lambda_bert.settings import KEPT, Settings
from linear_shortcuts.files import artifacts
from linear_shortcuts.scores import tables

Rows = Sequence[Mapping[str, Any]]


def parts(settings: Settings) -> dict[str, str]:
    """Every part of the README, by name."""
    folders = settings.folders
    ablation, kept = artifacts.load_json(folders.ablation_metrics), artifacts.load_json(KEPT)
    pretraining = artifacts.load_json(folders.pretraining_metrics)
    return {
        "cost": cost(kept["cost"]),
        "pretraining": pretraining_table(pretraining["models"], kept["speed"]["tokens_per_second"]),
        "ablation": ablation_table(ablation["means"]),
        "contrasts": contrasts(ablation["differences"]),
        "start": start(kept["start"]),
    }


def cost(kept: Mapping[str, Any]) -> str:
    """Time and memory of a layer by the length of the sentence, and the powers of it by which they grow."""
    lengths = kept["tokens"]
    rows = [[row["layer"], row["unit"], *map(_short, row["values"]), f"{row['exponent']:.2f}"] for row in kept["rows"]]
    return tables.markdown(["layer", "", *(f"{length:,}" for length in lengths), "exponent"], rows)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def pretraining_table(rows: Rows, speeds: Mapping[str, float]) -> str:
    """A row a model, and before them a guess without context and the commoner label."""
    header = ["model", "parameters", "MLM loss", "perplexity", "loss at `[MASK]`", "loss in sight", "pairs right"]
    made: list[list[Any]] = []
    for row in rows:
        name = row["model"]
        size = f"{row['parameters']:,}" if "parameters" in row else ""
        scores = [f"{row['mlm_loss']:.3f}", f"{row['perplexity']:.0f}"]
        scores += [f"{row[key]:.3f}" for key in ("mask_loss", "visible_loss", "pair_accuracy")]
        own = [f"{row['kept_bytes'] / 2**20:.0f} MiB", f"{speeds[name]:,.0f}"] if name in speeds else ["", ""]
        made.append([NAMES.get(name, name), size, *scores, *own])
    return tables.markdown([*header, "kept for the backward pass", "tokens a second"], made)


def ablation_table(means: Rows) -> str:
    """A row a variant: its seeds, its loss at [MASK] early on and at the end, with an interval, and its pairs."""
    steps = [f"{step:,} steps" for step in EARLY_STEPS]
    header = ["variant", "seeds", *steps, "at the end", "95% interval", "pairs right"]
    rows = []
    for row in means:
        early = [f"{row[f'mask_loss_{step}']:.3f}" for step in EARLY_STEPS]
        reach = _interval(row["mask_loss_low"], row["mask_loss_high"])
        own = [f"{row['mask_loss']:.3f}", reach, f"{row['pair_accuracy']:.3f}"]
        rows.append([row["about"], row["seeds"], *early, *own])
    return tables.markdown(header, rows)


def contrasts(differences: Rows) -> str:
    """By how much more each variant loses at [MASK] than the first, seed by seed, and whether that is decided."""
    header = ["variant", "seeds", "loses more, by (nats)", "95% interval", ""]
    rows = [
        [row["about"], row["seeds"], f"{row['difference']:+.3f}", _interval(row["low"], row["high"]), verdict(row)]
        for row in differences
    ]
    return tables.markdown(header, rows)


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def start(kept: Rows) -> str:
    """What the first weights of the lambda layers do, in trainings of their own."""
    header = ["start of the lambda layers", "share of the stream", "loss at `[MASK]`", "loss in sight"]
    rows = [[row["start"], row["share"], f"{row['mask_loss']:.3f}", f"{row['visible_loss']:.3f}"] for row in kept]
    return tables.markdown(header, rows)

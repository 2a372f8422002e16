"""The study's tables as parts of its README, made from the numbers that git tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lambda_bert.comparison import NAMES
from lambda_bert.figures import name_of
from lambda_bert.seeds import EARLY_STEPS, verdict
from lambda_bert.settings import KEPT, Settings
from linear_shortcuts.files import artifacts
from linear_shortcuts.scores import tables

Rows = Sequence[Mapping[str, Any]]


def parts(settings: Settings) -> dict[str, str]:
    """Every part of the README, by name."""
    folders = settings.folders
    ablation, kept = artifacts.load_json(folders.ablation_metrics), artifacts.load_json(KEPT)
    pretraining, found = artifacts.load_json(folders.pretraining_metrics), artifacts.load_json(folders.metrics)
    return {
        "cost": cost(kept["cost"]),
        "pretraining": pretraining_table(pretraining["models"], kept["speed"]["tokens_per_second"]),
        "ablation": ablation_table(ablation["means"]),
        "contrasts": contrasts(ablation["differences"]),
        "start": start(kept["start"]),
        "shortcuts": shortcut_table(found["shortcuts"], settings.shortcuts.equal),
        "lambdas": lambda_table(found["spectra"]),
        "probes": probe_table(found["probes"]),
        "soundness": soundness_table(found["soundness"]),
        "keys": token_table(found["keys"], "key"),
        "columns": token_table(found["columns"], "column"),
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


def shortcut_table(found: Mapping[str, Mapping[str, float]], equal: Sequence[Sequence[str]]) -> str:
    """A row a model, those of equal loss one below the other."""
    columns = {
        "loss at `[MASK]`": "loss",
        "layer maps, r²": "mat_r2",
        "token kept from half way, `mat`": "mat_half_way",
        "the same, `id`": "id_half_way",
        "r² of attention's stand-in": "attention_r2",
        "token kept, attention a matrix in the last 4 blocks": "mat_attn_late",
        "… nothing in its place": "no_attn_late",
        "… a matrix in all blocks": "mat_attn_precision",
    }
    rows = [[name_of(name), *(found[name][key] for key in columns.values())] for pair in equal for name in pair]
    return tables.markdown(["model", *columns], rows)


def lambda_table(spectra: Rows) -> str:
    """A row a layer: how much of a content lambda all sentences share, and how many directions it has."""
    header = ["layer", "the mean's share", "untrained", "cosine of two", "less the mean", "effective rank", "untrained"]
    by_model = {name: [row for row in spectra if row["model"] == name] for name in ("trained", "untrained")}
    rows = []
    for own, new in zip(by_model["trained"], by_model["untrained"], strict=True):
        shares = [f"{row['shared']:.0%}" for row in (own, new)]
        cosines = [f"{own[key]:.2f}" for key in ("cosine", "centred_cosine")]
        ranks = [f"{row['effective_rank']:.1f}" for row in (own, new)]
        rows.append([own["layer"], *shares, *(cosine.replace("-0.00", "0.00") for cosine in cosines), *ranks])
    return tables.markdown(header, rows)


QUESTIONS = {"length": "length", "word": "which word", "order": "two swapped"}


def probe_table(probes: Rows) -> str:
    """A row a question and kind of vector: the accuracy of its probe, layer by layer."""
    layers = sorted({row["layer"] for row in probes if row["vector"] == "mean state"})
    rows = []
    for task, question in QUESTIONS.items():
        asked = [row for row in probes if row["task"] == task]
        for vector in ("content lambda", "mean state"):
            for model in ("trained", "untrained"):
                own = {row["layer"]: row for row in asked if (row["model"], row["vector"]) == (model, vector)}
                rows.append([question, f"{vector}, {model}", *(f"{own[layer]['accuracy']:.2f}" for layer in layers)])
        for vector, name in (("bag of embeddings", "bag of word embeddings"), ("commonest", "the commonest answer")):
            [level] = [row["accuracy"] for row in asked if (row["model"], row["vector"]) == ("trained", vector)]
            rows.append([question, name, f"{level:.2f}", *[""] * (len(layers) - 1)])
    return tables.markdown(["question", "probe of", *(f"layer {layer}" for layer in layers)], rows)


def soundness_table(rows: Rows) -> str:
    """A row a way to read, a column a layer: by how many percentiles a sentence's own tokens stand above another's."""
    layers = sorted({row["layer"] for row in rows})
    found = {(row["way"], row["layer"]): 100 * (row["own"] - row["others"]) for row in rows}
    made = [
        [way, *(f"{found[way, layer]:+.1f}" for layer in layers)] for way in dict.fromkeys(row["way"] for row in rows)
    ]
    return tables.markdown(["rows read", *(f"layer {layer}" for layer in layers)], made)


def token_table(rows: Rows, what: str) -> str:
    """A row a layer: the tokens of its strongest key or column."""
    made = [[row["layer"], " ".join(f"`{token}`" for token in row["tokens"])] for row in rows]
    return tables.markdown(["layer", f"tokens of the strongest {what}"], made)

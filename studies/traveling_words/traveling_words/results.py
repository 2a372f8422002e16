"""The study's tables as parts of its README, made from the numbers that git tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from linear_shortcuts.files import artifacts
from linear_shortcuts.scores import tables
from traveling_words.settings import FOLLOWED, Folders

MODELS = {  # of the README, as it calls them
    "tiny-gpt2": "tiny-gpt2",
    "smollm2-135m-instruct-q4": "SmolLM2-135M",
    "stories260k": "stories260k",
    "names-gpt2": "names-gpt2",
    "tiny-gpt2-random": "tiny-gpt2 of random weights",
}
STUDIED = ("tiny-gpt2", "smollm2-135m-instruct-q4")  # in full; the others in their phrases alone

ROTARY = "smollm2-135m-instruct-q4"

Metrics = Mapping[str, Mapping[str, Any]]  # by model
Rows = Sequence[Mapping[str, Any]]


def load() -> tuple[Metrics, Rows, Rows]:
    """The tracked numbers: those of each studied model, of phrases, and of one model at several distances."""
    metrics = {name: artifacts.load_json(Folders(name).metrics) for name in STUDIED}
    return metrics, artifacts.load_json(FOLLOWED), artifacts.load_json(Folders(ROTARY).distances)


def parts(metrics: Metrics, phrases: Rows, distances: Rows) -> dict[str, str]:
    """Every part of the README, by name."""
    return {
        "phrases": phrase_table(phrases),
        "transforms": transform_table(metrics),
        "nouns": noun_table(metrics),
        "ranks": rank_table(metrics),
        "distances": distance_table(distances),
    }


def gain(row: Mapping[str, Any]) -> float:
    """By how much more the cosine to the word rose, from first to last layer, than the mean one to all words."""
    first, last = row["first"], row["last"]
    return (last["cosine"] - last["mean_cosine"]) - (first["cosine"] - first["mean_cosine"])


def phrase_table(phrases: Rows) -> str:
    """A row a phrase: where its last token stands at the first layer and at the last."""
    header = ["model, phrase", "to", "rank by logit", "cosine", "gain over the mean", "distance"]
    rows: list[list[Any]] = []
    for row in phrases:
        first, last = row["first"], row["last"]
        moved = [f"{first[key]:{form}} → {last[key]:{form}}" for key, form in (("rank", ","), ("cosine", ".2f"))]
        far = f"{first['distance']:.1f} → {last['distance']:.1f}"
        what = f"{MODELS[row['model']]}, *{row['phrase']}*"
        rows.append([what, f"`{row['to'].replace(' ', '␣')}`", *moved, f"{gain(row):.3f}", far])
    return tables.markdown(header, rows).replace("-0.", "−0.")


def transform_table(metrics: Metrics) -> str:
    """A row a transform of word vectors: how far they are from their normalised selves, and at what angle."""
    header = ["word vectors", *(f"{MODELS[name]}, {what}" for name in metrics for what in ("L2", "1 − cosine"))]
    kept = {name: found["embeddings"] for name, found in metrics.items()}
    transforms = next(iter(kept.values()))["l2"]
    rows = [
        [to, *(_short(found[kind][to]) for found in kept.values() for kind in ("l2", "cosine"))] for to in transforms
    ]
    return tables.markdown(header, rows)


def noun_table(metrics: Metrics) -> str:
    """A row a probed block: how often a noun is its own nearest token, and how large what heads add to it is."""
    header = ["model", "block", "nearest key", "after one head", "after all heads", "norm of an update", "of a word"]
    rows: list[list[Any]] = []
    for name, found in metrics.items():
        word = f"{found['embeddings']['mean_norm']:.2f}"
        for block, row in blocks(found["nouns"]).items():
            shares = [_percent(row[key]) for key in ("key_is_noun", "value_is_noun", "sum_is_noun")]
            rows.append([MODELS[name], block, *shares, f"{row['mean_update_norm']:.2f}", word])
    return tables.markdown(header, rows)


def rank_table(metrics: Metrics) -> str:
    """A row a probed block: the share of its singular values that make up 99 % of their sum, mean over heads."""
    header = ["model", "block", "W_QK", "W_VO"]
    rows: list[list[Any]] = []
    for name, found in metrics.items():
        shares = {matrix: blocks(row) for matrix, row in found["share_for_99_percent"].items()}
        rows += [
            [MODELS[name], block, *(_percent(shares[matrix][block]) for matrix in ("qk", "vo"))]
            for block in shares["qk"]
        ]
    return tables.markdown(header, rows)


def distance_table(rows: Rows) -> str:
    """A row a block, a column a distance: the share of nearest keys that stay."""
    distances = list(dict.fromkeys(row["distance"] for row in rows))
    shares = {(row["block"], row["distance"]): row["shared"] for row in rows}
    header = ["block", *(f"{distance} token{'s' * (distance > 1)} back" for distance in distances)]
    return tables.markdown(
        header,
        [
            [block, *(_percent(shares[block, distance]) for distance in distances)]
            for block in dict.fromkeys(row["block"] for row in rows)
        ],
    )


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"  # what is left of an angle of 0 is rounding


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def blocks(found: Mapping[str, Any]) -> dict[int, Any]:
    """What metrics call `block_B`, by B."""
    return {int(key.removeprefix("block_")): value for key, value in found.items() if key.startswith("block_")}

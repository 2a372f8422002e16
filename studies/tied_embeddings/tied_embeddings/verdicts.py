"""What the seeds decide: paired tests of tied against untied models, and of distances against weight decay alone.

A tied and an untied model of one seed start from the same numbers and see the same draws, so that they are a pair; and
the same seeds serve every experiment, so that runs of different experiments are not independent either. Every verdict
names its test, its n, and an interval or a p-value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tied_embeddings.settings import VARIANTS

Rows = Sequence[Mapping[str, Any]]
SCORES = {"accuracy": "accuracy", "cross_entropy": "cross-entropy (nats)"}


def verdicts(scores: Rows, distances: Rows, decay: float | None) -> list[dict[str, Any]]:
    """Every verdict on one experiment; a row names the question, the test, n, the estimate and what it is worth.

    scores, distances: rows of `measures`. decay: the share of a distance that weight decay alone would leave.
    """
    return [learnt(scores), *(score_difference(scores, key) for key in SCORES), *halved(distances)] + (
        [] if decay is None else [pulled(distances, decay)]
    )


def learnt(scores: Rows) -> dict[str, Any]:
    """Whether untied models learn parity more often: McNemar's exact test of the seeds in which one of a pair does.

    estimate: seeds in which the untied model alone learns it, minus those in which the tied one alone does.
    """
    solved = _by_seed(scores, "solved")
    untied, tied = (solved[variant] for variant in VARIANTS)
    alone, other = int((untied & ~tied).sum()), int((tied & ~untied).sum())
    return {
        **_row("parity learnt, untied − tied (seeds)", "McNemar, exact", len(untied), alone - other),
        "detail": f"untied {int(untied.sum())}, tied {int(tied.sum())}; discordant {alone} : {other}",
        "p": sign_test(alone, other),
    }


def score_difference(scores: Rows, key: str) -> dict[str, Any]:
    """Untied minus tied, on train strings with fresh draws: the mean over seeds of the difference of a pair."""
    found = _by_seed(scores, key)
    return paired(f"{SCORES[key]}, untied − tied", found["untied"].astype(float) - found["tied"].astype(float))


def halved(distances: Rows) -> list[dict[str, Any]]:
    """Of every pair of equal contexts: in how many seeds its tied distance has halved before its untied output has.

    A sign test, since a distance that never halves has no step to take a mean of; seeds in which both halve at the same
    record, or neither does, do not count.
    """
    rows = []
    for pair in dict.fromkeys(row["pair"] for row in distances if not row["violates"]):
        step: dict[str, dict[int, float]] = {"tied": {}, "output": {}}
        for row in distances:
            if row["pair"] == pair and row["side"] in step:
                step[row["side"]][row["seed"]] = math.inf if row["halved"] is None else row["halved"]
        both = [(step["tied"][seed], step["output"][seed]) for seed in step["tied"]]
        first, later = sum(tied < output for tied, output in both), sum(tied > output for tied, output in both)
        rows.append(
            {
                **_row(f"{pair} halves first, tied − untied output (seeds)", "sign test", len(both), first - later),
                "detail": f"tied first in {first}, untied output in {later}",
                "p": sign_test(first, later),
            }
        )
    return rows


def pulled(distances: Rows, decay: float) -> dict[str, Any]:
    """Untied inputs against decay alone: the mean over seeds of log(share left / share that decay would leave).

    Below 0 the loss has pulled the inputs together as well; at 0 decay did it all. A seed's pairs are averaged first.
    """
    logs: dict[int, list[float]] = {}
    for row in distances:
        if row["side"] == "input":
            logs.setdefault(row["seed"], []).append(math.log(row["end"] / row["start"] / decay))
    below = sum(log < 0 for own in logs.values() for log in own)
    found = paired("untied inputs left, log of times decay alone", np.array([np.mean(own) for own in logs.values()]))
    return {**found, "detail": f"decay alone leaves {decay:.2%}; below it {below} of {sum(map(len, logs.values()))}"}


def pooled(scores: Mapping[str, Rows]) -> dict[str, Any]:
    """Whether untied models learn parity more often, over experiments that share their seeds.

    Of every seed, how many experiments its untied model learns and its tied one does not, minus the reverse: a
    permutation test that swaps tied and untied within a seed, since experiments of one seed are no independent trials.
    """
    solved = [_by_seed(rows, "solved") for rows in scores.values()]
    differences = np.sum([own["untied"].astype(int) - own["tied"].astype(int) for own in solved], axis=0)
    total = {variant: int(sum(own[variant].sum() for own in solved)) for variant in VARIANTS}
    return {
        **_row(
            "parity learnt, untied − tied (seeds × experiments)", "permutation of pairs within seeds",
            len(differences), int(differences.sum()),
        ),
        "detail": f"untied {total['untied']}, tied {total['tied']} of {len(differences) * len(solved)}",
        "p": permutation_test(differences),
    }  # fmt: skip


# --- tests -------------------------------------------------------------------------------------------------


def sign_test(one: int, other: int) -> float:
    """Two-sided p of so many against so many, by the binomial distribution; 1 if there are none."""
    from scipy.stats import binomtest

    return float(binomtest(one, one + other).pvalue) if one + other else 1.0


def permutation_test(differences: np.ndarray) -> float:
    """Two-sided p of the sum of integers whose signs are exchangeable: the exact distribution of the sum."""
    chances = {0: 1.0}
    for size in np.abs(differences).tolist():
        spread: dict[int, float] = {}
        for total, chance in chances.items():
            for sign in (-1, 1):
                spread[total + sign * size] = spread.get(total + sign * size, 0.0) + chance / 2
        chances = spread
    seen = abs(int(differences.sum()))
    return min(1.0, sum(chance for total, chance in chances.items() if abs(total) >= seen))


def paired(question: str, differences: np.ndarray) -> dict[str, Any]:
    """Mean with its 95 % interval and p, by Student's t."""
    from scipy.stats import ttest_1samp

    row = _row(question, "paired t", len(differences), float(differences.mean()))
    if len(differences) < 2 or not np.ptp(differences):
        return row
    test = ttest_1samp(differences, 0)
    interval = test.confidence_interval()
    return {**row, "low": float(interval.low), "high": float(interval.high), "p": float(test.pvalue)}


def _row(question: str, test: str, n: int, estimate: float) -> dict[str, Any]:
    return {
        "question": question, "test": test, "n": n, "estimate": estimate,
        "low": None, "high": None, "p": None, "detail": "",
    }  # fmt: skip


def _by_seed(scores: Rows, key: str) -> dict[str, np.ndarray]:
    """Of each variant, a value of every seed on the train strings with fresh draws, in the same order of seeds."""
    found = {
        variant: {row["seed"]: row[key] for row in scores if (row["variant"], row["set"]) == (variant, "train-fresh")}
        for variant in VARIANTS
    }
    seeds = sorted(found["untied"])
    return {variant: np.array([own[seed] for seed in seeds]) for variant, own in found.items()}

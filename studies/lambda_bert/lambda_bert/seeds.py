"""What several seeds of several variants say: means, and differences with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from lambda_bert.ablation import VARIANTS
from linear_shortcuts.figures.printing import PAGE, STYLE, label_below

Found = Mapping[tuple[str, int], Mapping[str, Any]]  # (variant, seed) -> `results` and `log` of a training
SCORES = ("mlm_loss", "mask_loss", "visible_loss", "pair_loss", "pair_accuracy")
LEVEL = 0.95  # of the intervals
EARLY_STEPS = (500, 2000)  # of which a table tells the loss besides that at the end


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's interval of the mean of some trainings, one a seed; None of a single one."""
    if len(values) < 2:
        return None
    error = float(np.std(values, ddof=1)) / len(values) ** 0.5
    reach = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    mean = float(np.mean(values))
    return mean - reach, mean + reach


def means(found: Found) -> list[dict[str, Any]]:
    """A row a variant: the mean of its scores over its seeds, and how many these are. Losses in nats."""
    rows = []
    for name in _variants(found):
        trained = [training["results"] for (variant, _), training in found.items() if variant == name]
        scores = {key: float(np.mean([results[key] for results in trained])) for key in SCORES}
        about = {"variant": name, "about": VARIANTS[name].about, "parameters": trained[0]["parameters"]}
        low, high = interval([results["mask_loss"] for results in trained]) or (None, None)
        early = {
            f"mask_loss_{step}": float(np.mean(losses))
            for step in EARLY_STEPS
            if (losses := [line["eval_mask_loss"] for line in _lines(found, name) if line["step"] == step])
        }
        rows.append({**about, "seeds": len(trained), **scores, "mask_loss_low": low, "mask_loss_high": high, **early})
    return rows


def _lines(found: Found, name: str) -> list[Mapping[str, float]]:
    """What was logged at each checkpoint of a variant's trainings."""
    return [line for (variant, _), training in found.items() if variant == name for line in training["log"]]


def differences(found: Found, beside: str) -> list[dict[str, Any]]:
    """For each other variant, by how much more (nats) it loses at [MASK] than the one it stands beside: the mean over
    the seeds that both have, since the two of a seed see the same batches, and its interval, None of one seed."""
    rows = []
    for name in _variants(found):
        seeds = [seed for variant, seed in found if variant == name and (beside, seed) in found]
        if name == beside or not seeds:
            continue
        lost = [
            found[name, seed]["results"]["mask_loss"] - found[beside, seed]["results"]["mask_loss"] for seed in seeds
        ]
        low, high = interval(lost) or (None, None)
        mean = float(np.mean(lost))
        about = {"variant": name, "about": VARIANTS[name].about, "beside": beside, "seeds": len(seeds)}
        rows.append({**about, "difference": mean, "low": low, "high": high})
    return rows


def verdict(row: Mapping[str, Any]) -> str:
    """What a difference says: nothing from one seed, nor where its interval holds 0."""
    if row["low"] is None:
        return "one seed: undecided"
    if row["low"] <= 0 <= row["high"]:
        return "undecided"
    return "loses more" if row["low"] > 0 else "loses less"


def text(rows: Sequence[Mapping[str, Any]]) -> str:
    """`means` as a table in Markdown."""
    lines = ["| variant | seeds | loss at [MASK] | 95% | in sight | pairs right |", "|---|---:|---:|---:|---:|---:|"]
    for row in rows:
        reach = "" if row["mask_loss_low"] is None else f"{row['mask_loss_low']:.3f} to {row['mask_loss_high']:.3f}"
        own = (row["about"], str(row["seeds"]), f"{row['mask_loss']:.3f}", reach)
        lines.append("| " + " | ".join([*own, f"{row['visible_loss']:.3f}", f"{row['pair_accuracy']:.3f}"]) + " |")
    return "\n".join(lines) + "\n"


def curves(found: Found) -> Figure:
    """The loss at [MASK] of held-out documents over the steps, a line a training."""
    names = _variants(found)
    colors = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(names)))
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(PAGE, 3.2))
        for name, color in zip(names, colors, strict=True):
            style = "--" if VARIANTS[name].kind == "bert" else "-"
            label: str | None = VARIANTS[name].about
            for (variant, _), training in found.items():
                if variant == name:
                    lines = [line for line in training["log"] if "eval_mask_loss" in line]
                    steps, losses = [line["step"] for line in lines], [line["eval_mask_loss"] for line in lines]
                    axis.plot(steps, losses, style, color=color, linewidth=1.2, label=label)
                    label = None
        axis.set_xlabel("steps")
        axis.set_ylabel("loss at [MASK] (nats)")
        label_below(figure, axis, 3)
    return figure


def _variants(found: Found) -> list[str]:
    return list(dict.fromkeys(variant for variant, _ in found))

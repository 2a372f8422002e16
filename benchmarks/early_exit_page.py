"""Write docs/EARLY_EXIT.md, its tables and its figure, from the numbers kept in docs/results/.

Reads   docs/results/early_exit.json    from benchmarks/early_exit.py
        docs/results/short_lists.json   from benchmarks/short_lists.py
Writes  docs/EARLY_EXIT.md, the parts between its `made:` comments; docs/figures/early_exit/times.svg

Example: python benchmarks/early_exit_page.py
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from linear_shortcuts.decoding.filling import WAYS
from linear_shortcuts.files import documents
from linear_shortcuts.scores.tables import markdown

CONFIDENCES = (0.0, 0.2, 0.4, 0.6, 0.8)  # of texts of the middle length; of the others the one in the middle
LENGTHS = (32, 128, 512)
MIDDLE = CONFIDENCES[2]
DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, PAGE, FIGURE = DOCS / "results" / "early_exit.json", DOCS / "EARLY_EXIT.md", DOCS / "figures" / "early_exit"
SWEEP = DOCS / "results" / "smollm2-135m-instruct-q4" / "wikipedia-2016.json"
LEVELS = (0.8, 0.9, 0.95)  # of cases the same
WINDOWS = ((0, 32), (32, 128), (128, 512))
RESAMPLES = 300
LISTS, SAVED = DOCS / "results" / "short_lists.json", ("mean_layers", "relative_cost")
Record = dict[str, Any]


def rounded(value: float) -> float:
    return float(f"{value:.4g}")


def measured(texts: Sequence[Record]) -> Record:
    """Of texts made in one way: the median ratio of times, the share of tokens the same, means a token."""
    tokens = sum(t["tokens"] for t in texts)
    names = ("layers", "through", "checks", "repeats")
    return {
        **{name: sum(t[name] * t["tokens"] for t in texts) / tokens for name in names},
        "same": sum(map(sum, (t["same"] for t in texts))) / tokens,
        "ratio": statistics.median(t["base"] / t["seconds"] for t in texts),
        "step": sum(t["base"] for t in texts) / tokens,
    }


def alongside(found: Record) -> list[Record]:
    """What early exit decides along the full model's own texts, as texts of the way `along`."""
    return [
        {
            "number": a["number"],
            "tokens": a["tokens"],
            "way": "along",
            "confidence": float(c),
            "same": [same],
            "layers": layers,
        }
        for a in found["along"]
        for c, (same, layers) in a["by"].items()
    ]


def agreed(texts: Sequence[Record]) -> tuple[float, float]:
    """The share of tokens the same, and mean layers."""
    tokens = sum(t["tokens"] for t in texts)
    return sum(map(sum, (t["same"] for t in texts))) / tokens, sum(t["layers"] * t["tokens"] for t in texts) / tokens


def at_threshold(texts: Sequence[Record], costs: Record, sweep: Sequence[Record]) -> Record:
    """`measured` of texts of one way and one threshold, and what bounds its ratio; texts: those of `along`, too.

    same: the share of tokens along the full model's own text that are the same. ceiling: the ratio that the layers of
    the sweep leave room for where it has as many the same: a step of a block for each of its mean layers, of the checks
    that were made, of the head for the tokens that went through, and of the rest. own: that of the layers run in fact.
    """
    ran = measured([t for t in texts if t["way"] != "along"])
    same = agreed([t for t in texts if t["way"] == "along"])[0]
    layers = at([s["precision"] for s in sweep], [s["mean_layers"] for s in sweep], same)
    besides = costs["rest"] + ran["checks"] * costs["check"] + ran["through"] * costs["head"]
    ceiling, own = (ran["step"] / (besides + number * costs["block"]) for number in (layers, ran["layers"]))
    told = {"same": same, "sweep": layers, "ceiling": ceiling, "own": own}
    return {**ran, **told, "part": ran["ratio"] / ceiling}


def at(same: Sequence[float], values: Sequence[float], level: float) -> float:
    """Where the share of tokens the same first reaches a level, what another quantity is there, linearly between."""
    (x, y), *rest = sorted(zip(same, values, strict=True), key=lambda pair: pair[0])
    for after, value in rest:
        if x >= level:
            break
        if after >= level:
            return y + (level - x) / (after - x) * (value - y)
        x, y = after, value
    return y


def spread(texts: Sequence[Record], of: Callable[[Sequence[Record]], float]) -> str:
    """A value of some texts, and its 95 % interval by bootstrap over prompts."""
    numbers = sorted({t["number"] for t in texts})
    by = {number: [t for t in texts if t["number"] == number] for number in numbers}
    drawn = torch.randint(len(numbers), (RESAMPLES, len(numbers)), generator=torch.manual_seed(0)).tolist()
    found = [of([t for place in places for t in by[numbers[place]]]) for places in drawn]
    ends = torch.tensor(found).quantile(torch.tensor([0.025, 0.975])).tolist()
    return f"{of(texts):.2f} [{ends[0]:.2f}, {ends[1]:.2f}]"


def parts(found: Record) -> dict[str, str]:
    """The tables of the page by name."""
    sweep = json.loads(SWEEP.read_text())["early"]["mat"]
    texts = [t for t in found["texts"] if t["way"] in WAYS]
    rows = []
    for tokens, way in itertools.product(LENGTHS, WAYS):
        some = [t for t in texts if (t["tokens"], t["confidence"], t["way"]) == (tokens, MIDDLE, way)]
        rows.append([
            str(tokens), str(len(some)), way, f"{measured(some)['layers']:.1f}",
            spread(some, lambda some: measured(some)["same"]), spread(some, lambda some: measured(some)["ratio"]),
            f"{statistics.mean(t['as_full'] for t in some):.0f}",
        ])  # fmt: skip
    header = ["tokens", "texts", "filling", "mean layers", "same", "times as fast", "as `full` for"]
    made = {"fillings": markdown(header, rows), "thresholds": thresholds(found), "windows": by_window(found)}
    bounds = []
    for confidence, way in itertools.product(CONFIDENCES[2:], WAYS):
        some = [t for t in (*texts, *alongside(found)) if t["way"] in (way, "along") and t["tokens"] == LENGTHS[1]]
        some = [t for t in some if t["confidence"] == confidence]
        point = at_threshold(some, found["seconds"], sweep)
        shown = (
            spread(some, lambda some, name=name: at_threshold(some, found["seconds"], sweep)[name])
            for name in ("ratio", "part")
        )
        bounds.append([str(confidence), way, f"{point['same']:.2f}", f"{point['sweep']:.1f}", f"{point['layers']:.1f}",
                       f"{point['ceiling']:.2f}", f"{point['own']:.2f}", *shown])  # fmt: skip
    names = ["lambda", "filling", "same, along", "layers, sweep", "layers, run", "ceiling", "that of its own layers"]
    return {**made, "bounds": markdown([*names, "times as fast", "part of the ceiling"], bounds)}


def thresholds(found: Record) -> str:
    """By lambda: what early exit decides along the full model's own text, and what it makes of its own."""
    rows = []
    for confidence in CONFIDENCES:
        some = [t for t in (*found["texts"], *alongside(found)) if t["tokens"] == LENGTHS[1]]
        some = [t for t in some if t["confidence"] == confidence]
        own = {way: [t for t in some if t["way"] == way] for way in ("along", *WAYS)}
        rows.append([
            str(confidence), spread(own["along"], lambda some: agreed(some)[0]), f"{agreed(own['along'])[1]:.1f}",
            *(f"{m['same']:.2f} ({m['layers']:.1f}, {m['repeats']:.2f})" for m in map(measured, map(own.get, WAYS))),
        ])  # fmt: skip
    return markdown(["lambda", "same, along", "layers, along", *(f"same, {way}" for way in WAYS)], rows)


def lists(found: Record) -> str:
    """What early exit saves by the tokens that exits choose among, see benchmarks/short_lists.py."""
    rows = []
    for name, own in found.items():
        for size, row in own["sizes"].items():
            layers, operations = ([row["saving"][key][str(level)] for level in LEVELS] for key in SAVED)
            precision = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in row["precision"].values()]
            shown = [" / ".join("–" if v is None else f"{v:.1%}" for v in values) for values in (layers, operations)]
            rows.append([name, f"{int(size):,}", f"{row['listed']:.3f}", f"{row['check']:.2f}", *precision, *shown])
    at = ["a quarter", "half", "three quarters"]
    levels = " / ".join(f"{level:.0%}" for level in LEVELS)
    header = ["model", "tokens", "full model's listed", "check, in blocks", *(f"P@1 at {where}" for where in at)]
    return markdown([*header, f"layers saved at {levels}", f"operations saved at {levels}"], rows)


def write() -> None:
    """Write the page and the figure from what is kept."""
    found, listed = (json.loads(path.read_text()) for path in (KEPT, LISTS))
    documents.fill(PAGE, parts(found) | {"lists": lists(listed)})
    draw(found)


def by_window(found: Record) -> str:
    """Whether errors add up: by window of a long text the share of tokens the same, and KL."""
    rows = []
    for way in WAYS:
        chosen = [
            [t for t in found[kind] if (t["way"], t["tokens"]) == (way, LENGTHS[-1])]
            for kind in ("texts", "divergences")
        ]
        row = [way]
        for number, (first, last) in enumerate(WINDOWS):
            row.append(
                spread(
                    chosen[0], lambda some, n=number, w=last - first: sum(t["same"][n] for t in some) / len(some) / w
                )
            )
        for number in range(len(WINDOWS)):
            row.append(
                spread(chosen[1], lambda some, n=number: statistics.mean(t["kl"][n] for t in some))
                if chosen[1]
                else "–"
            )
        rows.append(row)
    spans = [f"{first + 1} to {last}" for first, last in WINDOWS]
    return markdown(["filling", *(f"same, {span}" for span in spans), *(f"KL, {span}" for span in spans)], rows)


def draw(found: Record) -> None:
    """Times as fast by the share of tokens the same, a line a filling, and the ceiling."""
    import matplotlib.pyplot as plt

    from linear_shortcuts.figures.printing import (
        BLUE,
        COLUMN,
        GREEN,
        ORANGE,
        STYLE,
        VERMILLION,
        label_below,
        save,
    )

    sweep = [s for s in json.loads(SWEEP.read_text())["early"]["mat"] if s["precision"] < 1]
    looks = dict(zip(WAYS, ((ORANGE, "o"), (VERMILLION, "s"), (BLUE, "^"), (GREEN, "D")), strict=True))
    some = [t for t in found["texts"] if t["tokens"] == LENGTHS[1] and t["way"] in WAYS]
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 3.2))
        known = [t for t in alongside(found) if t["tokens"] == LENGTHS[1]]
        along = [agreed([t for t in known if t["confidence"] == c])[0] for c in CONFIDENCES]
        for way, (color, mark) in looks.items():
            points = [measured([t for t in some if (t["way"], t["confidence"]) == (way, c)]) for c in CONFIDENCES]
            axis.plot(along, [p["ratio"] for p in points], color=color, marker=mark, label=way)
        ceilings = [
            at_threshold([t for t in (*some, *known) if t["way"] in (WAYS[-1], "along") and t["confidence"] == c],
                         found["seconds"], sweep)["ceiling"]
            for c in CONFIDENCES
        ]  # fmt: skip
        axis.plot(along, ceilings, color="black", linestyle="--", label=f"ceiling ({WAYS[-1]})")
        axis.axhline(1, color="black", linewidth=0.6)
        axis.set_ylim(0.8, 3.6)  # a ceiling where nearly all are wrong is no news
        axis.set(
            xlabel="tokens the same along the full model's own text",
            ylabel="times as fast",
            title="SmolLM2-135M, 128 new tokens",
        )
        label_below(figure, axis, 3)
        FIGURE.mkdir(parents=True, exist_ok=True)
        save(figure, {"svg": FIGURE}, "times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    write()


if __name__ == "__main__":
    main()

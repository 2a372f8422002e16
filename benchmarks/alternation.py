"""Alternation, with one map for all positions and with maps of their own for ordinary ones: docs/ALTERNATION.md.

Reads   data/MODEL/CORPUS/schedules.pickle   what stages/11_score_schedules.py found, with --keep
Writes  docs/results/alternation.json        the numbers
        docs/figures/MODEL/CORPUS/           the figures of the stage, with --keep
        docs/ALTERNATION.md                  the tables between its `made:` comments

Keep a run with `schedules.ordinary_sentences: null`, the study's way, and one with the number: the page compares them.

Example: python benchmarks/alternation.py --keep tiny-bert docstrings
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from linear_shortcuts.files import documents
from linear_shortcuts.scores.tables import KL, markdown
from linear_shortcuts.settings import Folders, run

DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, PAGE = DOCS / "results" / "alternation.json", DOCS / "ALTERNATION.md"
TOGETHER, APART = "together", "apart"
WAYS = {TOGETHER: "one map", APART: "maps apart"}
SHOWN = (("best", TOGETHER), ("best", APART), ("greedy", APART), ("final", TOGETHER), ("final", APART),
         ("chance", APART), ("attention", TOGETHER), ("attention", APART), ("attention", "dropped"))  # fmt: skip
Found = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", nargs=2, metavar=("MODEL", "CORPUS"), help="take that run of the stage first")
    args = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if args.keep:
        keep(kept, Folders(*args.keep))
        KEPT.write_text(json.dumps(kept, sort_keys=True, separators=(",", ":")).replace("},", "},\n") + "\n")
    made = parts(kept)
    documents.fill(PAGE, made)
    print(f"{len(made)} parts of {PAGE}")


def keep(kept: dict[str, Any], folders: Folders) -> None:
    """Add a run of the stage to what is kept: its table, and differences taken sentence by sentence."""
    from linear_shortcuts.files import artifacts
    from linear_shortcuts.scores import tables
    from linear_shortcuts.settings import Bootstrap

    found = artifacts.load(folders.schedules)
    way = APART if found["settings"]["ordinary_sentences"] else TOGETHER
    bootstrap = Bootstrap(resamples=1000, confidence=0.95)
    own: dict[str, Any] = {"sentences": len(found["records"][0]["kl"])}
    for row in tables.schedules_table(found["records"], bootstrap, 0):
        values = [rounded(row[key]) for key in ("value", "low", "high")]
        own.setdefault(row["panel"], {}).setdefault(row["series"], {})[str(row["blocks"])] = values
    own["schedules"] = {
        str(record["blocks"]): record["schedule"]
        for record in found["records"]
        if record["kind"] == "best" and record["mapped"]
    }
    own["less"] = differences(found["records"], bootstrap)
    kept.setdefault(f"{folders.model} {folders.corpus}", {})[way] = own
    if way == APART:
        for figure in (folders.plots / "schedules_figures").glob("*.svg"):
            to = DOCS / "figures" / folders.model / folders.corpus / figure.name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(figure, to)


def differences(records: Iterable[Mapping[str, Any]], bootstrap: Any) -> dict[str, dict[str, list[Any]]]:
    """KL of one series minus that of another, by blocks run, with an interval, paired over sentences."""
    import torch

    from linear_shortcuts.scores import bootstrap_interval

    grouped: dict[tuple[str, bool, int], list[torch.Tensor]] = {}
    for record in records:
        key = (record["kind"], record["mapped"], record["blocks"] - len(record["without_attention"]))
        grouped.setdefault(key, []).append(record["kl"])
    kl = {key: torch.stack(own).nanmean(0) for key, own in grouped.items()}
    pairs = {
        "best - final": (("best", True), ("final", True)),
        "greedy - final": (("greedy", True), ("final", True)),
        "best - chance": (("best", True), ("chance", True)),
        "best mapped - dropped": (("best", True), ("best", False)),
        "attention mapped - dropped": (("attention", True), ("attention", False)),
    }
    made: dict[str, dict[str, list[Any]]] = {}
    for name, (one, other) in pairs.items():
        for blocks in sorted({n for kind, mapped, n in kl if (kind, mapped) == one}):
            less = kl[(*one, blocks)] - kl[(*other, blocks)]
            low, high = bootstrap_interval(less[None], bootstrap.resamples, bootstrap.confidence, 0)
            made.setdefault(name, {})[str(blocks)] = [rounded(less.nanmean()), rounded(low[0]), rounded(high[0])]
    return made


def rounded(value: Any) -> Any:
    return None if value is None or value != value else float(f"{float(value):.4g}")


# --- parts of the page -----------------------------------------------------------------------------------------


def parts(kept: Mapping[str, Mapping[str, Found]]) -> dict[str, str]:
    """A table of KL and one of claims for each model and corpus."""
    made = {}
    for name, ways in sorted(kept.items()):
        made[f"{name.replace(' ', '-')}-alternation"] = table(ways)
        made[f"{name.replace(' ', '-')}-alternation-claims"] = claims(ways)
    return made


def table(ways: Mapping[str, Found]) -> str:
    """KL by blocks run: how schedules are chosen, and what stands in the place of the other blocks."""

    def cell(kind: str, how: str, blocks: str) -> str:
        series = f"{kind} dropped" if how == "dropped" else f"{kind} mapped"
        found = ways[APART if how == "dropped" else how][KL].get(series, {}).get(blocks)
        return "–" if found is None or found[0] is None else "{:.2f} ({:.2f} to {:.2f})".format(*found)

    numbers = sorted({int(n) for kind, _ in SHOWN for n in ways[APART][KL].get(f"{kind} mapped", {})})
    shown = [(kind, how) for kind, how in SHOWN if how in ways or how == "dropped"]
    rows = [[str(n), *(cell(kind, how, str(n)) for kind, how in shown)] for n in numbers]
    names = {"final": "one final jump", "best": "best by r2", "greedy": "greedy by KL", "chance": "by chance"}
    header = ["blocks", *(f"{names.get(kind, kind)}, {WAYS.get(how, how)}" for kind, how in shown)]
    words = (
        f"KL to the full model in nats, {ways[APART]['sentences']:,} validation sentences, with 95 % intervals, by "
        "blocks run; of attention, blocks with their own."
    )
    return f"{words}\n\n{markdown(header, rows)}"


def claims(ways: Mapping[str, Found]) -> str:
    """What holds, in how many of the numbers of blocks, with one map for all positions and with maps apart."""
    rows = []
    for what, pair in (
        ("best by r2 ahead of one final jump", "best - final"),
        ("greedy by KL ahead of one final jump", "greedy - final"),
        ("best by r2 ahead of chance", "best - chance"),
        ("best by r2 mapped ahead of dropped", "best mapped - dropped"),
        ("attention mapped ahead of dropped", "attention mapped - dropped"),
    ):
        rows.append([what, *(told(ways[way]["less"].get(pair, {})) if way in ways else "–" for way in WAYS)])
    header = ["KL, paired over sentences", "one map for all positions", "maps apart"]
    return markdown(header, rows)


def told(less: Mapping[str, list[Any]]) -> str:
    """At how many numbers of blocks a difference is below 0, how often with its interval, and where it is above."""
    known = {n: own for n, own in less.items() if own[0] is not None and own[0] != 0}
    ahead = [n for n, own in known.items() if own[0] < 0]
    sure = [n for n, own in known.items() if own[2] < 0]
    behind = [n for n, own in known.items() if own[1] > 0]
    text = f"{len(ahead)} of {len(known)} ({len(sure)} with the interval)"
    return text + (f"; **behind** at {', '.join(behind)}" if behind else "")


if __name__ == "__main__":
    run(main)

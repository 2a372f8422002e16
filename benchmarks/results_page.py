"""Write the tables of docs/RESULTS.md from the numbers kept in docs/results/.

Reads   docs/results/MODEL/CORPUS.json   what a run found: Precision@1 and KL by mapping and layer, r2, early exit
Writes  docs/RESULTS.md, README.md       the parts between their `made:` comments

After a run of the pipeline, --keep takes its tables into docs/results/ and its figures into docs/figures/ first.

Example: python benchmarks/results_page.py --keep smollm2-135m-instruct-q4 docstrings
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from linear_shortcuts.files import documents
from linear_shortcuts.scores.tables import COSINE, EMBEDDING_PANELS, RECALL, markdown
from linear_shortcuts.settings import Folders, run

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, README, KEPT = DOCS / "RESULTS.md", DOCS.parent / "README.md", DOCS / "results"
FIGURES = ("pre", "kl", "parts_pre1", "ee_pre1", "r2_scores", "cost", "embeddings")
SMALL = (  # runs of small models, in the order of their table
    ("tiny-gpt2", "docstrings"),
    ("tiny-bert", "docstrings"),
    ("names-gpt2", "names"),
)
MAPPINGS = ("id", "mat", "mat_attn", "mat_ffn", "mat_ln1_ln2")
Found = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", nargs=2, metavar=("MODEL", "CORPUS"), help="take the tables of that run first")
    args = parser.parse_args()
    if args.keep:
        keep(*args.keep)
    for page, made in ((PAGE, parts()), (README, readme_parts())):
        documents.fill(page, made)
        print(f"{len(made)} parts of {page}")


def keep(model: str, corpus: str) -> None:
    """Take what a run found into docs/results/ and docs/figures/."""
    plots = Folders(model, corpus).plots
    names = ("precision", "surprisal", "parts", "r2", "early_exit", "embeddings")
    files = {name: plots / name / f"{name}.json" for name in names}
    tables = {name: json.loads(file.read_text()) if file.exists() else [] for name, file in files.items()}
    embeddings = tables["embeddings"]
    exits = [row for row in tables["parts"] + tables["precision"] if row["panel"] == "Precision@1"]
    last = max(row["target"] for row in tables["r2"])
    found = {
        "samples": max(row["samples"] for row in exits + embeddings),
        "metrics": json.loads((Path("metrics") / model / "metrics.json").read_text()),
        "precision": table(exits),
        "kl": table([row for row in tables["surprisal"] if row["panel"].startswith("KL")]),
        "r2": {
            name: [rounded(row["r2"]) for row in tables["r2"] if row["mapping"] == name and row["target"] == last]
            for name in ("id", "mat")
        },
        "early": {
            name: [
                {key: rounded(row[key]) for key in ("mean_layers", "relative_cost", "precision")}
                for row in tables["early_exit"]
                if row["mapping"] == name and row["exit"] == "early"
            ]
            for name in ("id", "mat")
        },
        "embeddings": {panel: table([r for r in embeddings if r["panel"] == panel]) for panel in EMBEDDING_PANELS},
    }
    path = KEPT / model / f"{corpus}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=None, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    for name in FIGURES:
        for figure in (plots / "figures").glob(f"{name}_[0-9]*.svg"):
            to = DOCS / "figures" / model / corpus / figure.name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(figure, to)


def table(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """mapping -> layer -> value, ends of its interval, and the share that diverged."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        values = [rounded(row[key]) for key in ("value", "low", "high", "diverged")]
        found.setdefault(row["mapping"], {})[str(row["layer"])] = values
    return found


def rounded(value: float | None) -> Any:
    return None if value is None else float(f"{value:.4g}")


# --- parts of the page -----------------------------------------------------------------------------------------


def parts() -> dict[str, str]:
    """Every part of the page, by name: a table of exits and one of claims for each model and corpus."""
    made = {"small": small_table()}
    for path in sorted(KEPT.glob("*/*.json")):
        found = json.loads(path.read_text())
        name = f"{path.parent.name}-{path.stem}"
        if not found["precision"]:  # an encoder
            made[f"{name}-embeddings"] = embeddings_table(found)
            continue
        made[f"{name}-exits"] = exits_table(found)
        if (path.parent.name, path.stem) not in SMALL[:2]:  # these two are compared with the paper on other text
            made[f"{name}-claims"] = claims_table(found)
    return made


def readme_parts(model: str = "smollm2-135m-instruct-q4", corpus: str = "docstrings") -> dict[str, str]:
    """The README's table: every sixth exit of the real model."""
    found = json.loads((KEPT / model / f"{corpus}.json").read_text())
    return {f"{model}-{corpus}-short": exits_table(found, every=2)}


def small_table() -> str:
    """Two rows a run of a small model: r2, Precision@1 on the way, and what early exit saves."""
    header = ["model", "corpus", "mapping", "mean r2", "P@1 at 25 %", "at 50 %", "at 75 % depth"]
    rows = []
    for model, corpus in SMALL:
        metrics = json.loads((KEPT / model / f"{corpus}.json").read_text())["metrics"]
        for mapping in ("mat", "id"):
            own = metrics[mapping]
            depths = [f"{own[f'p1_{depth}']:.2f}" for depth in (25, 50, 75)]
            saved = [percent(own[key]).replace("-", "−") for key in ("saved", "flops")]
            rows.append([model, corpus, mapping, f"{own['r2']:.3f}".replace("-", "−"), *depths, *saved])
    return markdown([*header, "layers saved at 95 % P@1", "operations saved there"], rows)


def exits_table(found: Found, every: int = 1) -> str:
    """Precision@1 of every mapping and KL of two, at every so many-th of the layers from which parts were replaced."""
    precision, kl = found["precision"], found["kl"]
    layers = sorted(map(int, precision["mat_attn"]))[:-1][::every]
    rows = []
    for layer in map(str, layers):
        row: list[str] = [layer]
        for mapping in MAPPINGS:
            value, _, _, diverged = precision[mapping][layer]
            row.append(f"{value:.3f}" + (f" ({percent(diverged)})" if diverged else ""))
        rows.append([*row, *(f"{kl[mapping][layer][0]:.2f}" for mapping in ("id", "mat"))])
    widest = max((high - low) / 2 for of in precision.values() for _, low, high, _ in of.values())
    header = ["layer", *MAPPINGS[:-1], "mat_ln1_ln2 (diverged)", "KL id", "KL mat"]
    words = (
        f"Precision@1 by exit layer, {found['samples']:,} validation sentences, 95 % intervals of at most "
        f"±{widest:.3f}; KL(full, exit) in nats."
    )
    return f"{words}\n\n{markdown(header, rows)}"


def embeddings_table(found: Found) -> str:
    """How close the embeddings of both mappings come to the whole encoder's, and what they retrieve, by layer."""
    panels = found["embeddings"]
    r2 = found["r2"]
    rows = []
    for layer in sorted(map(int, panels[COSINE]["mat"]))[:-1]:
        values = [panels[panel][mapping][str(layer)] for panel in (COSINE, RECALL) for mapping in ("id", "mat")]
        shown = [f"{value:.3f} ({low:.3f} to {high:.3f})" for value, low, high, _ in values]
        rows.append([str(layer), *(f"{r2[mapping][layer]:.2f}" for mapping in ("id", "mat")), *shown])
    header = ["layer", "r2 id", "r2 mat", "cosine id", "cosine mat", f"{RECALL} id", f"{RECALL} mat"]
    words = f"Means over {found['samples']:,} validation sentences, with 95 % intervals; r2 is of single tokens."
    return f"{words}\n\n{markdown(header, rows)}"


def claims_table(found: Found) -> str:
    """What the paper says of GPT-2 and BERT, beside what was found here."""
    precision, kl, metrics = found["precision"], found["kl"], found["metrics"]
    last = max(map(int, precision["mat"]))
    gains = {layer: precision["mat"][str(layer)][0] - precision["id"][str(layer)][0] for layer in range(last)}
    apart = sum(precision["mat"][str(layer)][1] > precision["id"][str(layer)][2] for layer in range(last))
    smaller = [kl["id"][str(layer)][0] / kl["mat"][str(layer)][0] for layer in range(last)]
    early = [precision["mat"][str(layer)][0] for layer in range(last // 2 + 1)]
    starts = [layer for layer in map(int, precision["mat_attn"]) if layer < last]
    ahead = {
        mapping: [k for k in starts if precision[mapping][str(k)][0] > precision["mat"][str(k)][0]]
        for mapping in ("mat_attn", "mat_ffn", "mat_ln1_ln2")
    }
    dynamic = {mapping: ahead_of_fixed(found, mapping) for mapping in ("mat", "id")}
    least = [k for k in starts if precision["mat_attn"][str(k)][0] == max(precision[m][str(k)][0] for m in ahead)]
    rows = [
        [
            "`mat` ahead of `id` at every layer, by more than 20 points at most of them",
            f"ahead at {sum(gain > 0 for gain in gains.values())} of {last} layers (intervals apart at {apart}), by "
            f"{100 * min(gains.values()):.0f} to {100 * max(gains.values()):.0f} points; KL {min(smaller):.0f} to "
            f"{max(smaller):.0f} times smaller",
            agrees(all(gain > 0 for gain in gains.values())),
        ],
        [
            "GPT-2 48, first half, `mat`: P@1 28–45 %",
            f"layers 0 to {last // 2}: {percent(min(early))} to {percent(max(early))}",
            agrees(0.28 <= min(early) <= max(early) <= 0.5),
        ],
        [
            "layers saved at 95 % P@1: GPT-2 24 `mat` 13.8 %, `id` 5.9 %",
            f"`mat` {percent(metrics['mat']['saved'])}, `id` {percent(metrics['id']['saved'])}; with every read-out, "
            f"{1 - metrics['mat']['flops']:.1f} and {1 - metrics['id']['flops']:.1f} times the operations of the full "
            "model",
            "agrees in layers" + (", **not in cost**" if min(metrics[m]["flops"] for m in ("mat", "id")) < 0 else ""),
        ],
        [
            "dynamic exits better than fixed ones, for both mappings",
            "; ".join(f"`{mapping}` at {of} of {asked} layers" for mapping, (of, asked) in dynamic.items()),
            agrees(all(of == asked for of, asked in dynamic.values())),
        ],
        [
            "sub-modules of GPT-2 24: all three ahead of `mat` from about layer 7",
            "; ".join(f"`{mapping}` at {listed(layers, len(starts))}" for mapping, layers in ahead.items()),
            agrees(all(len(layers) > len(starts) / 2 for layers in ahead.values())),
        ],
        [
            "replacing attention costs least of the three",
            f"least at {len(least)} of {len(starts)} layers",
            agrees(len(least) == len(starts)),
        ],
    ]
    return markdown(["the paper, of GPT-2 and BERT", "here", ""], rows)


def ahead_of_fixed(found: Found, mapping: str) -> tuple[int, int]:
    """At how many of the inner layers leaving dynamically, after as many layers on average, keeps more tokens."""
    points = sorted((row["mean_layers"], row["precision"]) for row in found["early"][mapping])
    fixed = {int(layer): values[0] for layer, values in found["precision"][mapping].items()}
    asked = [layer for layer in fixed if points[0][0] < layer < max(fixed)]  # at its first point it is fixed
    layers, kept = zip(*points, strict=True)
    return sum(float(np.interp(layer, layers, kept)) > fixed[layer] for layer in asked), len(asked)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def agrees(so: bool) -> str:
    return "agrees" if so else "**not here**"


def listed(layers: list[int], of: int) -> str:
    return f"{len(layers)} of {of} layers" + (f", from {min(layers)} on" if layers else "")


if __name__ == "__main__":
    run(main)

"""What massive activations do to r2, to the fit and to float32: the figures and tables of docs/NUMERICS.md on it.

Reads   data/MODEL/CORPUS/hidden_SPLIT/, tokens_SPLIT.pickle; linreg/MODEL/CORPUS/layers/   a run of the pipeline, here
Writes  docs/massive_activations.json                    the numbers
        docs/figures/massive_activations/*.svg           norms, the largest coordinates, r2
        docs/NUMERICS.md                                 the tables between its `made:` comments

Without MODEL and CORPUS the tables are made anew from the numbers that are kept.

Example: python benchmarks/massive_activations.py smollm2-135m-instruct-q4 docstrings
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import documents
from linear_shortcuts.scores.tables import markdown
from linear_shortcuts.settings import Folders, run

DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, FIGURES, PAGE = DOCS / "massive_activations.json", DOCS / "figures" / "massive_activations", DOCS / "NUMERICS.md"
LARGEST = (1, 3)  # coordinates, whose share of a squared norm is shown
PARTS = 6  # source layers of the tables
FIRST, OTHER = "first positions", "other positions"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a key of registry, whose run lies in this folder")
    parser.add_argument("corpus", nargs="?", help="a key of corpora")
    args = parser.parse_args()
    if args.model:
        KEPT.write_text(json.dumps(measure(Folders(args.model, args.corpus)), separators=(",", ":")) + "\n")
    found = json.loads(KEPT.read_text())
    draw(found)
    documents.fill(PAGE, parts(found))
    print(f"{KEPT}, {FIGURES} and {PAGE}")


# --- measuring -------------------------------------------------------------------------------------------------


def measure(folders: Folders) -> dict[str, Any]:
    """Every number of the page, from the states and maps of a run."""
    from linear_shortcuts.maps import LayerMaps
    from linear_shortcuts.states.shards import HiddenStates
    from linear_shortcuts.text.tokens import load_tokens

    states = {split: HiddenStates.open(folders.hidden(split)).stack() for split in ("train", "validation")}
    first = {split: load_tokens(folders.tokens(split))[0].positions == 0 for split in states}
    maps, held, is_first = LayerMaps.load(folders.layer_maps), states["validation"], first["validation"]
    last, groups = len(held) - 1, {FIRST: is_first, OTHER: ~is_first}
    sources = [round(number * last / PARTS) for number in range(PARTS)]
    found: dict[str, Any] = {
        "model": folders.model,
        "sentences": {split: len(rows) for split, rows in first.items()},
        "first": {split: int(rows.sum()) for split, rows in first.items()},
        "norms": {name: [quantiles(layer[rows].norm(dim=-1)) for layer in held] for name, rows in groups.items()},
        "share": {
            name: {str(k): [shares(layer[rows], k) for layer in held] for k in LARGEST} for name, rows in groups.items()
        },
        "r2": [],
        "fit": [],
        "float32": [],
    }
    for source, target in [*((i, last) for i in range(last)), *((i, round(0.8 * last)) for i in sources[1:5])]:
        guess = maps.jump(held[source], source, target)
        found["r2"].append({"source": source, "target": target, **scores(held[target], guess, ~is_first)})
    for source in sources:
        found["fit"].append({"source": source, **refitted(states, first, source)})
        found["float32"].append({"source": source, **rounding(states, first, source)})
    return found


def quantiles(values: Tensor) -> list[float]:
    """The 5th, 50th and 95th percentile, and the largest."""
    ends = torch.quantile(values.double(), torch.tensor([0.05, 0.5, 0.95, 1.0], dtype=torch.float64))
    return [rounded(value) for value in ends]


def shares(states: Tensor, k: int) -> float:
    """The median share of a state's squared norm that its k largest coordinates have; states (n, d)."""
    squares = states.double().square()
    return rounded((squares.topk(k, dim=-1).values.sum(-1) / squares.sum(-1)).median())


def scores(target: Tensor, guess: Tensor, ordinary: Tensor) -> dict[str, float]:
    """r2 (the mean over coordinates) and the total (their variances together), of all rows and of ordinary ones."""
    from linear_shortcuts.scores.measures import explained_pairs

    found = {}
    for name, rows in (("all", slice(None)), ("others", ordinary)):
        pair = torch.stack([guess[rows], target[rows]])
        scored = explained_pairs([pair], {"it": lambda h, i, j: h}, [(0, 1)])
        found |= {
            f"{kind}_{name}": rounded(scored[f"{key}_it"][0, 1]) for kind, key in (("r2", "score"), ("total", "total"))
        }
    return found


def refitted(states: dict[str, Tensor], first: dict[str, Tensor], source: int) -> dict[str, float]:
    """What first positions among the rows of the fit to the last layer do to the scores of the others."""
    held, ordinary = states["validation"], ~first["validation"]
    found = {}
    for name, rows in (("with", slice(None)), ("without", ~first["train"])):
        matrix = least_squares(states["train"][source][rows], states["train"][-1][rows]).float()
        scored = scores(held[-1], held[source] @ matrix.T, ordinary)
        found |= {f"{kind}_{name}": scored[f"{kind}_others"] for kind in ("r2", "total")}
    return found


def rounding(states: dict[str, Tensor], first: dict[str, Tensor], source: int) -> dict[str, float]:
    """How far a matrix stored as float32 carries states from where the float64 one does, relative to their size."""
    held, is_first = states["validation"][source], first["validation"]
    exact = least_squares(states["train"][source], states["train"][-1])
    wide = held.double() @ exact.T
    apart = (held @ exact.float().T).double() - wide
    return {
        name: rounded(apart[rows].norm() / wide[rows].norm()) for name, rows in ((FIRST, is_first), (OTHER, ~is_first))
    }


def least_squares(source: Tensor, target: Tensor) -> Tensor:
    """A (d, d), float64, by the project's own fit."""
    from linear_shortcuts.maps.regression import fit

    return fit(source.double(), target.double()).matrices[0]


def rounded(value: Any) -> float:
    return float(f"{float(value):.4g}")


# --- showing ---------------------------------------------------------------------------------------------------


def draw(found: dict[str, Any]) -> None:
    """The three figures, by layer."""
    import matplotlib.pyplot as plt

    from linear_shortcuts.figures.printing import BLUE, COLUMN, STYLE, VERMILLION, label_below, save

    looks = {FIRST: (VERMILLION, "--", "s"), OTHER: (BLUE, "-", "o")}
    layers = range(len(found["norms"][FIRST]))
    drawn = {}
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(COLUMN, 3.0))
        for name, (color, line, mark) in looks.items():
            low, middle, high, largest = zip(*found["norms"][name], strict=True)
            axis.plot(layers, middle, color=color, linestyle=line, marker=mark, label=f"{name}, median")
            axis.fill_between(layers, low, high, color=color, alpha=0.18, linewidth=0)
            axis.plot(layers, largest, color=color, linestyle=":", label=f"{name}, largest")
        axis.set(
            yscale="log", xlabel="layer", ylabel="norm of the state", title="Norms by position (bands: 90 % of states)"
        )
        drawn["norms"] = (figure, axis)
        figure, axis = plt.subplots(figsize=(COLUMN, 3.0))
        for name, (color, line, mark) in looks.items():
            for k, filled in zip(LARGEST, (color, "white"), strict=True):
                label = f"{name}, {k} largest" if k > 1 else f"{name}, the largest"
                axis.plot(
                    layers,
                    found["share"][name][str(k)],
                    color=color,
                    linestyle=line,
                    marker=mark,
                    mfc=filled,
                    label=label,
                )
        axis.set(
            xlabel="layer", ylabel="share of the squared norm (median)", ylim=(0, 1.02), title="The largest coordinates"
        )
        drawn["largest"] = (figure, axis)
        figure, axis = plt.subplots(figsize=(COLUMN, 3.0))
        to_last = [row for row in found["r2"] if row["target"] == len(layers) - 1]
        for kind, mark in (("r2", "o"), ("total", "^")):
            for name, (color, line) in {"all": (VERMILLION, "--"), "others": (BLUE, "-")}.items():
                label = (
                    f"{'mean r²' if kind == 'r2' else 'total'} of {'all' if name == 'all' else 'the other positions'}"
                )
                at, values = [row["source"] for row in to_last], [row[f"{kind}_{name}"] for row in to_last]
                axis.plot(at, values, color=color, linestyle=line, marker=mark, label=label)
        axis.set(
            xlabel="layer", ylabel="variance explained of the last layer", title="mat, with and without first positions"
        )
        axis.set_ylim(max(-1.0, axis.get_ylim()[0]), 1.02)
        drawn["r2"] = (figure, axis)
        for name, (figure, axis) in drawn.items():
            label_below(figure, axis, 2)
            save(figure, {"svg": FIGURES}, name)


def signed(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def parts(found: dict[str, Any]) -> dict[str, str]:
    """The tables of the page by name."""
    last = len(found["norms"][FIRST]) - 1
    at = [round(number * last / 10) for number in range(11)]
    norms = [[f"{what} of {name}", *(f"{found['norms'][name][layer][index]:,.3g}" for layer in at)]
             for name in (OTHER, FIRST) for what, index in (("median", 1), ("largest", 3))]  # fmt: skip
    norms += [[f"largest coordinate's share, {name}", *(f"{found['share'][name]['1'][layer]:.2f}" for layer in at)]
              for name in (OTHER, FIRST)]  # fmt: skip
    sources = {row["source"] for row in found["fit"]}
    rows = [row for row in found["r2"] if row["source"] in sources]
    keys = ("r2_all", "total_all", "r2_others", "total_others")
    r2 = [[f"{row['source']}, {row['target']}", *(signed(row[key]) for key in keys)] for row in rows]
    kinds = ("r2_with", "r2_without", "total_with", "total_without")
    fits = [
        [
            fit["source"],
            *map(signed, (fit[kind] for kind in kinds)),
            *(f"{stored[name]:.0e}" for name in (OTHER, FIRST)),
        ]
        for fit, stored in zip(found["fit"], found["float32"], strict=True)
    ]
    train, held = (found["first"][split] / found["sentences"][split] for split in ("train", "validation"))
    rows_of = f"{found['sentences']['train']:,} train and {found['sentences']['validation']:,} held-out sentences"
    return {
        "massive-norms": f"{found['model']}, {rows_of}; {train:.1%} and {held:.1%} sampled at their first position.\n\n"
        + markdown([f"layer of {last}", *map(str, at)], norms),
        "massive-r2": markdown(
            ["from, to", "r2 of all", "total of all", "r2 of the others", "total of the others"], r2
        ),
        "massive-fit": markdown(
            [
                "from layer",
                "r2, first in the fit",
                "without",
                "total, first in the fit",
                "without",
                "float32, others",
                "first",
            ],
            fits,
        ),
    }


if __name__ == "__main__":
    run(main)

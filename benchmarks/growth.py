"""How do time and memory of extraction and fit grow with sentences n, width d and layers L?

Every point is a fresh process with random weights and random tokens, so that its peak memory is its own; memory is
counted from the moment the model is there. Extraction saves its shards; the fit reads shards of 500 rows and takes one
source layer at a time. Exponents are fitted to the last three points of a curve, where the constant part weighs least.

Writes  docs/results/growth.json   with --measure: seconds and MiB of every point
        docs/figures/growth.png    drawn from the numbers kept there

Example: OMP_NUM_THREADS=1 python benchmarks/growth.py --measure
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

BASE = {"n": 2000, "d": 128, "L": 6}
POINTS = {"n": [1000, 2000, 4000, 8000], "d": [64, 128, 256, 512], "L": [3, 6, 12, 24]}
# The blocks' products are n L d^2; the moments' n L^2 d^2, then L^2 d^3 to solve; one source's moments are L d^2.
THEORY = {
    ("extract", "seconds"): {"n": 1, "d": 2, "L": 1},
    ("extract", "MiB"): {"n": 0, "d": 1, "L": 1},
    ("fit", "seconds"): {"n": 1, "d": 2, "L": 2},
    ("fit", "MiB"): {"n": 0, "d": 2, "L": 1},
}
ROWS, TOKENS = 500, 12  # of a shard; of a sentence
DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, FIGURE = DOCS / "results" / "growth.json", DOCS / "figures" / "growth.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--measure", action="store_true", help="measure anew, some minutes (default: draw what is kept)"
    )
    parser.add_argument("--only", nargs=4, metavar=("WORK", "n", "d", "L"), help="one point, in this process")
    args = parser.parse_args()
    if args.only:
        work, *sizes = args.only
        print(json.dumps(measure(work, *map(int, sizes))))
        return
    if args.measure:
        KEPT.write_text(json.dumps(curves(), indent=1) + "\n")
    draw(json.loads(KEPT.read_text()), FIGURE)
    print(f"{KEPT} and {FIGURE}")


def curves() -> dict[str, dict[str, list[dict[str, float]]]]:
    """What every point took: work -> letter of the size that grows -> a point for each of its values."""
    todo = [
        (work, letter, value) for work in ("extract", "fit") for letter, values in POINTS.items() for value in values
    ]
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    for work, letter, value in tqdm(todo, unit="point", disable=None):
        found.setdefault(work, {}).setdefault(letter, []).append(point(work, {**BASE, letter: value}))
    return found


def point(work: str, sizes: dict[str, int]) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", work, *(str(sizes[letter]) for letter in "ndL")]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def measure(work: str, n: int, d: int, layers: int) -> dict[str, float]:
    """Seconds of one piece of work and the memory (MiB) it needs at its peak beyond what was there before."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from linear_shortcuts.files import artifacts
    from linear_shortcuts.maps import fitting
    from linear_shortcuts.models.loading import wrap
    from linear_shortcuts.states import extraction, shards
    from linear_shortcuts.text.tokens import Tokens

    torch.manual_seed(0)
    if work == "extract":
        config = GPT2Config(n_embd=d, n_layer=layers, n_head=4, vocab_size=1000, n_positions=64)
        model = wrap(GPT2LMHeadModel(config))
        tokens = Tokens(list(torch.randint(1000, (n, TOKENS))), torch.full((n,), TOKENS - 1))
        extraction.extract(model, tokens, 0, 8, 1024)  # what the first call sets up belongs to no size

        def run() -> None:
            with tempfile.TemporaryDirectory() as folder:
                for number, first, last in shards.shard_ranges(n, ROWS):
                    for name, value in shards.shard_files(
                        extraction.extract(model, tokens, first, last, 1024), number
                    ).items():
                        artifacts.save(Path(folder) / name, value)
    else:
        shard = extraction.Shard(torch.randn(layers + 1, ROWS, d), torch.empty(0))
        fitting.layer_moments([layers - 1], [shard], layers, "all", torch.device("cpu"))[layers - 1].solve()

        shards = [shard] * (n // ROWS)  # as many rows to fold in, one shard in memory

        def run() -> None:
            for source in range(layers):
                fitting.layer_moments([source], shards, layers, "all", torch.device("cpu"))[source].solve()

    before = peak_mib()
    start = time.perf_counter()
    run()
    return {"seconds": time.perf_counter() - start, "MiB": max(peak_mib() - before, 0.1)}


def peak_mib() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def exponent(sizes: list[int], values: list[float]) -> float:
    return float(np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0])


def draw(curves: dict[str, dict[str, list[dict[str, float]]]], out: Path) -> None:
    import matplotlib.pyplot as plt

    from linear_shortcuts.figures.printing import BLUE, PAGE, STYLE, VERMILLION

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 3, figsize=(PAGE, 4.6), sharex="col")
        axis_names = {"n": "sentences n", "d": "width d", "L": "layers L"}
        for row, quantity in enumerate(("seconds", "MiB")):
            for column, (letter, sizes) in enumerate(POINTS.items()):
                axis = axes[row, column]
                for work, color, line in (("extract", BLUE, "o-"), ("fit", VERMILLION, "s--")):
                    values = [measured[quantity] for measured in curves[work][letter]]
                    theory = THEORY[work, quantity][letter]
                    label = f"{work}: {exponent(sizes, values):.2f} (theory {theory})"
                    axis.loglog(sizes, values, line, color=color, label=label)
                    axis.loglog(
                        sizes, values[-1] * (np.array(sizes) / sizes[-1]) ** theory, ":", color=color, alpha=0.6
                    )
                axis.set_xticks(sizes, [f"{size:,}" for size in sizes])
                axis.minorticks_off()
                # Above the panel, where it covers no curve.
                axis.legend(title="exponent", loc="lower left", bbox_to_anchor=(0, 1))
                axis.set_ylabel(quantity if quantity == "seconds" else "peak memory (MiB)")
                axis.set_xlabel(axis_names[letter] if row == 1 else "")
        base = ", ".join(f"{letter} = {value:,}" for letter, value in BASE.items())
        figure.suptitle(f"Growth of time and memory, each around {base}; dotted: theory through the last point")
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=200, metadata={"Software": None})


if __name__ == "__main__":
    main()

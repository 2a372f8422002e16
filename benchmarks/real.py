"""What the whole pipeline costs on a real model, stage by stage: seconds, processor seconds, memory, and the floor.

Runs stages 03 to 10 one after the other in this folder, as `make real` does, and prints for each its time by the clock,
its processor time and its largest memory beside its floor: floating-point operations over the rate of a product of
2,048 x 2,048 matrices that is measured before and after. Start-up, files and the reading of weights count as time and
have no floor. The sentences must be there (`dvc repro fetch_sentences`), and the weights (`make real` fetches them).

Example: python benchmarks/real.py --model smollm2-135m-instruct-q4
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import torch

from linear_shortcuts.models import linear, loading
from linear_shortcuts.scores.exits import spread
from linear_shortcuts.scores.tables import markdown
from linear_shortcuts.settings import Folders, Params, read_params
from linear_shortcuts.text import tokens

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = sorted(path for path in (REPOSITORY / "stages").glob("[01]*.py") if 3 <= int(path.name[:2]) <= 10)
# Of a child, by the kernel: /usr/bin/time is not on every machine.
MEASURED = """
import resource, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)
    print("USED", used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct-q4", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"), metavar="FILE", help="default: %(default)s")
    args = parser.parse_args()
    params = read_params(args.params)
    before = product_rate()
    spent = {}
    for stage in STAGES:
        spent[stage.name[:2]] = run(stage, args.model, args.params)
        print(f"{stage.stem}: {spent[stage.name[:2]][0]:.1f} s", flush=True)
    rates = [before, product_rate()]
    floor = floors(params, args.model, max(rates))
    rows = [
        [stage.stem, *shown(spent[stage.name[:2]]), f"{floor[stage.name[:2]]:.0f}" if stage.name[:2] in floor else ""]
        for stage in STAGES
    ]
    total = [sum(row[column] for row in spent.values()) for column in (0, 1)]
    rows.append(["all", *shown((*total, max(row[2] for row in spent.values()))), f"{sum(floor.values()):.0f}"])
    print(markdown(["stage", "seconds", "processor seconds", "GiB", "floor (s)"], rows))
    fast = " and ".join(f"{rate / 1e9:.0f}" for rate in rates)
    print(f"float32 products, before and after: {fast} GFLOP/s on {torch.get_num_threads()} threads")


def shown(used: tuple[float, ...]) -> list[str]:
    return [f"{used[0]:.0f}", f"{used[1]:.0f}", f"{used[2]:.1f}"]


def run(stage: Path, model: str, params: Path) -> tuple[float, float, float]:
    """Seconds by the clock, of processor time, and GiB, of one stage."""
    start = time.perf_counter()
    words = [sys.executable, "-c", MEASURED, str(stage), "--model", model, "--params", str(params)]
    done = subprocess.run(words, stderr=subprocess.PIPE, text=True)
    elapsed = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr.strip().splitlines()[-2])
    _, processor, memory = done.stderr.strip().splitlines()[-1].split()
    return elapsed, float(processor), float(memory)


def product_rate(size: int = 2048) -> float:
    """Floating-point operations a second of the products that stages make, the fastest of ten."""
    a, best = torch.randn(size, size), 0.0
    with torch.inference_mode():
        for _ in range(10):
            start = time.perf_counter()
            linear(a, a)
            best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def floors(params: Params, name: str, rate: float) -> dict[str, float]:
    """Seconds that the products of a stage take at least."""
    model = loading.load_registered(params.model(name), name, "cpu")
    folders = Folders(name, params.corpus)
    data = {split: tokens.load_tokens(folders.tokens(split))[0] for split in ("train", "validation")}
    layers, d, vocabulary = model.layers, model.width, model.vocabulary
    block = 2 * sum(p.numel() for p in model.blocks[0].parameters() if p.ndim > 1)  # of one token
    run = {split: int((part.positions + 1).sum()) for split, part in data.items()}
    n, m = len(data["train"]), len(data["validation"])
    pairs, starts = layers * (layers + 1) // 2, spread(layers, params.exits.part_layers or layers)
    steps = 2 * d * d * len(model.family.steps)  # of the stand-ins of a block
    rest = sum(layers - start for start in starts)
    parts = min(m, params.exits.part_sentences or m) / m * run["validation"] * (layers * block + 2 * rest * block)
    read = 2 * d * vocabulary * m * (2 * layers + 3 * len(starts) + 1)
    return {
        "04": sum(run.values()) * layers * block / rate,
        "05": (2 * n * d * d * (layers + pairs) + d**3 * pairs) / rate,
        "06": (n * layers * steps * 2 + 4 * d**3 * layers * len(model.family.steps)) / rate,
        "07": 2 * (n + m) * d * d * pairs / rate,
        "08": (parts + read + 2 * m * d * d * layers) / rate,
    }


if __name__ == "__main__":
    main()

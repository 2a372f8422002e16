"""How much faster than a straightforward script, stage by stage, and how close to what the machine can do?

Runs the real stage scripts and `benchmarks/naive.py` alternately on the same model, sentences and machine, checks that
their numbers agree, and prints medians, ratios and each stage's physical limit: its floating-point operations over
the rate of a large matrix product measured in the same run. The naive script runs on a subset, of `--naive-sentences`
sentences and `--naive-fits` fits; its work is linear in both, so its times are scaled up to the whole.

`tiny` is the shipped tiny-gpt2 on 9,000 + 3,000 sentences; `gpt2` has gpt2's true size and random weights, on fewer
sentences, read with tiny-gpt2's tokenizer; `fit` is the fit alone, of random states of gpt2's shape at 9,000 sentences.

Example: python benchmarks/compare.py tiny --repeat 3
"""

import argparse
import json
import os
import runpy
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import naive
import numpy as np
import torch
import yaml
from torch import Tensor
from transformers import AutoModelForCausalLM

from linear_shortcuts.files import artifacts
from linear_shortcuts.maps import fitting
from linear_shortcuts.maps.linear_maps import LayerMaps, SubmoduleMaps, layer_files
from linear_shortcuts.models import loading
from linear_shortcuts.models.families import PARTS
from linear_shortcuts.scores.tables import markdown
from linear_shortcuts.settings.folders import Folders
from linear_shortcuts.settings.params import read_params
from linear_shortcuts.states import extraction, shards
from linear_shortcuts.text import tokens

REPOSITORY = Path(__file__).resolve().parents[1]
STAGES = {path.name[:2]: path for path in sorted((REPOSITORY / "stages").glob("[0-9]*.py"))}
NAMES = {
    "04": "extract",
    "05": "fit layer maps",
    "06": "fit sub-modules",
    "07": "r2",
    "08": "fixed exits",
    "09": "sweep",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=["tiny", "gpt2", "fit"])
    parser.add_argument("--repeat", type=int, default=3, help="alternating runs (default: %(default)s)")
    parser.add_argument("--train", type=int, help="train sentences (default: 9000 for tiny, 800 for gpt2)")
    parser.add_argument("--validation", type=int, help="(default: 3000 for tiny, 96 for gpt2)")
    parser.add_argument(
        "--naive-sentences", type=int, help="the naive script's subset (default: 64 for tiny, 8 for gpt2)"
    )
    parser.add_argument("--naive-fits", type=int, default=2, help="fits the naive script does (default: %(default)s)")
    args = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    rates = measure_rates()
    print(", ".join(f"{name}: {value:.1f}" for name, value in rates.items()))
    if args.shape == "fit":
        compare_fit(args.repeat, args.naive_fits, rates)
        return
    small = args.shape == "gpt2"
    with tempfile.TemporaryDirectory() as folder:
        study = Study(
            Path(folder), small, args.train or (800 if small else 9000), args.validation or (96 if small else 3000)
        )
        study.compare(args.repeat, args.naive_sentences or (8 if small else 64), args.naive_fits, rates)


# --- what the machine can do -----------------------------------------------------------------------------------


def seconds(work: Callable[..., Any], *arguments: Any) -> float:
    return timed(work, *arguments)[0]


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def measure_rates() -> dict[str, float]:
    """GFLOP/s of matrix products of 2,048 in float32 (by oneDNN too) and float64, GB/s of a copy (read and written)."""
    rates = {}
    single, double = torch.randn(2048, 2048), torch.randn(2048, 2048, dtype=torch.float64)
    products: dict[str, tuple[Callable[..., Any], Tensor]] = {
        "GFLOP/s float32": (torch.mm, single),
        "GFLOP/s float32 by oneDNN": (torch.nn.functional.linear, single.to_mkldnn()),
        "GFLOP/s float64": (torch.mm, double),
    }
    for name, (product, a) in products.items():
        rates[name] = 2 * 2048**3 / min(seconds(product, a, a) for _ in range(7)) / 1e9
    big = torch.ones(2**26)
    into = torch.empty_like(big)
    rates["GB/s"] = 2 * big.nbytes / min(seconds(into.copy_, big) for _ in range(7)) / 1e9
    return rates


# --- the whole study -------------------------------------------------------------------------------------------


class Study:
    """A folder with a GPT-2 and its settings, on which our stages and the naive script run."""

    def __init__(self, folder: Path, true_size: bool, train: int, validation: int) -> None:
        self.folder, self.train, self.validation = folder, train, validation
        os.chdir(folder)
        checkpoint = REPOSITORY / "models" / "tiny-gpt2"
        if true_size:
            from transformers import GPT2Config, GPT2LMHeadModel

            torch.manual_seed(0)
            shutil.copytree(checkpoint, "checkpoint", ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
            GPT2LMHeadModel(GPT2Config()).save_pretrained("checkpoint")
            checkpoint = folder / "checkpoint"
        params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
        params |= {"models": ["subject"], "sentences": {"train": train, "validation": validation}}
        params["registry"] = {"subject": {"path": str(checkpoint), "revision": None}}
        Path("params.yaml").write_text(yaml.safe_dump(params))
        self.params = read_params("params.yaml")
        self.folders = Folders("subject", self.params.corpus)
        self.startup: dict[str, float] = {}
        self.run_apart("01")
        for number in ("03", "04", "05", "06", "07", "08", "09", "10"):
            self.startup[number] = self.run_apart(number)  # with imports, as a user starts them
        self.model = loading.load_model(checkpoint, device="cpu")
        self.network = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=torch.float32
        ).eval()  # as the library has it
        self.data = {split: tokens.load_tokens(self.folders.tokens(split))[0] for split in ("train", "validation")}
        self.states = {split: shards.HiddenStates.open(self.folders.hidden(split)).stack() for split in self.data}
        self.layer_maps = LayerMaps.load(self.folders.layer_maps)
        self.submodule_maps = SubmoduleMaps.load(self.folders.submodule_maps)

    def run_apart(self, number: str) -> float:
        command = [sys.executable, str(STAGES[number])] + (["--model", "subject"] if number != "01" else [])
        shutil.rmtree("data/.work", ignore_errors=True)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        return timed(partial(subprocess.run, command, check=True, capture_output=True, env=environment))[0]

    def run_here(self, number: str) -> float:
        """Seconds of a stage whose imports are done: everything else it does, reading and writing files included."""
        shutil.rmtree("data/.work", ignore_errors=True)
        sys.argv = [str(STAGES[number]), "--model", "subject"]
        with open(os.devnull, "w") as nothing, redirect_stdout(nothing):
            return seconds(partial(runpy.run_path, str(STAGES[number]), run_name="__main__"))

    def bare_forward(self) -> float:
        """Seconds of the blocks alone over the same batches, nothing recorded and nothing written."""

        def forward() -> None:
            with torch.inference_mode():
                for data in self.data.values():
                    for batch in extraction.batches(data, self.model, self.params.extract.tokens_per_batch):
                        self.model.encode(batch.ids, batch.mask)

        return seconds(forward)

    def bare_extraction(self) -> float:
        def extract() -> None:
            for data in self.data.values():
                for _, first, last in shards.shard_ranges(len(data), self.params.extract.sentences_per_shard):
                    extraction.extract(self.model, data, first, last, self.params.extract.tokens_per_batch)

        return seconds(extract)

    def compare(self, repeat: int, sentences: int, fits: int, rates: dict[str, float]) -> None:
        ours: dict[str, list[float]] = {number: [] for number in NAMES}
        theirs: dict[str, list[float]] = {number: [] for number in NAMES}
        bare, extraction = [], []
        for _ in range(repeat):
            bare.append(self.bare_forward())
            extraction.append(self.bare_extraction())
            for number, work in self.naive_work(sentences, fits).items():
                ours[number].append(self.run_here(number))
                theirs[number].append(work())
        floors = self.floors(rates)
        rows = []
        for number, name in NAMES.items():
            mine, naive_time = statistics.median(ours[number]), statistics.median(theirs[number])
            ratio = statistics.median(b / a for a, b in zip(ours[number], theirs[number], strict=True))
            rows.append(
                [f"{number} {name}", mine, naive_time, f"{ratio:.1f}", floors[number], f"{floors[number] / mine:.0%}"]
            )
        whole, naive_whole = (sum(statistics.median(times) for times in all_.values()) for all_ in (ours, theirs))
        started = sum(self.startup.values())
        header = ["stage", "ours (s)", "naive (s)", "ratio", "floor (s)", "of the floor's rate"]
        print(f"\n{self.train:,} + {self.validation:,} sentences; naive on {sentences} and {fits} fits, scaled\n")
        print(markdown(header, rows))
        print(
            f"\n04 to 09 without start-up: {whole:.1f} s against {naive_whole:.0f} s, {naive_whole / whole:.0f} times"
        )
        print(
            f"03 to 10 with start-up:    {started:.1f} s against {naive_whole:.0f} s, {naive_whole / started:.0f} times"
        )
        print(json.dumps({"seconds of each stage with start-up": {k: round(v, 2) for k, v in self.startup.items()}}))
        share = statistics.median(b / e for b, e in zip(bare, extraction, strict=True))
        tokens_run = sum(int((data.positions + 1).sum()) for data in self.data.values())
        rate = tokens_run / min(extraction)
        print(f"extraction: {share:.0%} of the tokens/s of a bare forward loop ({rate:,.0f} tokens/s)")

    # --- the naive script, on a subset, scaled to the whole ---

    def naive_work(self, sentences: int, fits: int) -> dict[str, Callable[[], float]]:
        """For each stage, a function that does the naive work on a subset and returns the seconds of the whole."""
        network, layers = self.network, self.model.layers
        # Evenly spaced, so that their lengths are those of all.
        chosen_rows = {split: torch.arange(sentences) * len(data) // sentences for split, data in self.data.items()}
        some = {
            split: ([data.sentences[row] for row in chosen_rows[split]], data.positions[chosen_rows[split]])
            for split, data in self.data.items()
        }
        pairs = [(i, j) for i in range(layers) for j in range(i + 1, layers + 1)]
        chosen = pairs[:: max(1, len(pairs) // fits)][:fits]
        to_last = {i: self.layer_maps[i, layers] for i in range(layers)}
        stand_ins = [
            {naive.STEPS[step]: self.submodule_maps[block, step, step + 1] for step in range(6)}
            for block in range(layers)
        ]
        train, validation = self.states["train"], self.states["validation"]
        scale = {"train": self.train / sentences, "validation": self.validation / sentences}
        matrices: dict[tuple[int, int], np.ndarray] = {}

        def extract() -> float:
            spent, recorded = timed(naive.extract, network, *some["validation"])
            close("hidden states", recorded, validation[:, chosen_rows["validation"]], 1e-4)
            return spent * (scale["train"] + scale["validation"])

        def fit() -> float:
            spent = 0.0
            for i, j in chosen:
                once, matrices[i, j] = timed(naive.fit, train[i], train[j])
                spent += once
                # On train: with hardly more sentences than coordinates, float32 decides what a map does elsewhere.
                guess = train[i] @ torch.from_numpy(matrices[i, j]).T
                close(f"map {i} to {j}", guess, self.layer_maps.jump(train[i], i, j), 1e-3)
            return spent * len(pairs) / len(chosen)

        def submodules() -> float:
            blocks = [(number * layers // fits, number % 6) for number in range(fits)]
            passes = fitted = 0.0
            for block, step in blocks:
                once, _ = timed(naive.extract_step, network, *some["train"], block, step)
                passes += once
                fitted += seconds(naive.fit, train[block], train[block + 1])  # as large as that of a step
            return (passes * scale["train"] + fitted) * 6 * layers / len(blocks)

        def r2() -> float:
            found = artifacts.load(self.folders.r2)["train"]
            spent = 0.0
            for i, j in chosen:
                once, (mapped, unchanged) = timed(naive.r2, train[i], train[j], matrices[i, j])
                again, _ = timed(naive.r2, validation[i], validation[j], matrices[i, j])
                spent += once + again
                if abs(mapped - found["score_mat"][i, j]) > 1e-3 or abs(unchanged - found["score_id"][i, j]) > 1e-3:
                    raise SystemExit(f"r2 of {i} to {j} disagrees: {mapped}, {unchanged}")
            return spent * len(pairs) / len(chosen)

        def exits() -> float:
            records = {(r["mapping"], r["layer"]): r for r in artifacts.load(self.folders.fixed_exits)["records"]}
            spent, agree = 0.0, []
            tried = [(mapping, layer) for mapping in ("id", "mat", *PARTS) for layer in (0, layers // 2, layers)]
            for mapping, layer in tried:
                arguments = (network, *some["validation"], mapping, layer, to_last.get(layer), stand_ins)
                once, found = timed(naive.fixed_exit, *arguments)
                spent += once
                ours = records[mapping, layer]["top_ids"][chosen_rows["validation"]]
                agree.append((found["top_ids"][:, 0] == ours[:, 0]).float())
            same("top tokens of the fixed exits", float(torch.cat(agree).mean()))
            return spent * scale["validation"] * 5 * (layers + 1) / len(tried)

        def sweep() -> float:
            lambdas = (-1.112, 0.2, 0.5, 0.8, 1.112)
            records = [r for r in artifacts.load(self.folders.early_exits)["records"] if r["lambda"] in lambdas]
            mean_length = float((self.data["validation"].positions + 1).double().mean())
            spent, agree = 0.0, []
            for record in records:
                how = (record["mapping"], record["lambda"], to_last, mean_length)
                once, left = timed(naive.early_exit, network, *some["validation"], *how)
                spent += once
                agree.append((left == record["exit_layers"][chosen_rows["validation"]]).float())
            same("exit layers of the sweep", float(torch.cat(agree).mean()))
            grid = 2 * len(self.params.early_exit.lambdas) + len(self.params.early_exit.id_lambdas)
            return spent * scale["validation"] * grid / len(records)

        return {"04": extract, "05": fit, "06": submodules, "07": r2, "08": exits, "09": sweep}

    def floors(self, rates: dict[str, float]) -> dict[str, float]:
        """Seconds of each stage's floating-point operations (of the sweep: bytes) at the measured rates."""
        layers, d, vocabulary = self.model.layers, self.model.width, self.model.vocabulary
        single, double = rates["GFLOP/s float32"] * 1e9, rates["GFLOP/s float64"] * 1e9
        block = 2 * sum(p.numel() for p in self.model.blocks[0].parameters() if p.ndim > 1)  # of one token
        run = {split: int((data.positions + 1).sum()) for split, data in self.data.items()}
        pairs, n, m = layers * (layers + 1) // 2, self.train, self.validation
        without_mlp, without_norm = block - 16 * d * d + 2 * d * d, block + 4 * d * d
        parts = run["validation"] * (layers * block + pairs * (without_mlp + without_norm)) + m * pairs * (
            block - 6 * d * d
        )
        return {
            "04": sum(run.values()) * layers * block / single,
            "05": fit_floor(n, d, layers, rates),
            "06": (2 * n * d * d * 12 * layers + 24 * d**3 * layers) / double + n * layers * 16 * d * d / single,
            "07": 2 * (n + m) * d * d * pairs / single,
            "08": (parts + 2 * m * d * (vocabulary * (5 * layers + 1) + d * layers)) / single,
            "09": sum(path.stat().st_size for path in (self.folders.fixed_exits, self.folders.early_exits))
            / rates["GB/s"]
            / 1e9,
        }


def close(what: str, a: Tensor, b: Tensor, tolerance: float) -> None:
    error = float((a - b).norm() / b.norm())
    if not error < tolerance:
        raise SystemExit(f"{what} disagree: relative error {error:.1e}")
    print(f"{what} agree: relative error {error:.1e}")


def same(what: str, share: float) -> None:
    if share < 0.95:
        raise SystemExit(f"{what} disagree: only {share:.1%} are the same")
    print(f"{what} agree: {share:.1%} are the same")


# --- the fit alone, at gpt2's shape ----------------------------------------------------------------------------


def compare_fit(repeat: int, fits: int, rates: dict[str, float], layers: int = 12, d: int = 768, n: int = 9000) -> None:
    """All 78 maps of gpt2's shape from random states in shards of 1,500, files included, against `fits` naive ones."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(layers + 1, n, d, generator=generator)
    for layer in range(1, layers + 1):  # so that there is something to fit
        states[layer] += states[layer - 1]
    shards = [extraction.Shard(part, torch.empty(0)) for part in states.split(1500, dim=1)]
    pairs = layers * (layers + 1) // 2
    floor = fit_floor(n, d, layers, rates)
    ours, theirs = [], []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory() as folder:
            ours.append(seconds(fit_all, shards, layers, d, Path(folder)))
            matrix = artifacts.load(Path(folder) / "3_7.pickle")
        naive_fits = [timed(naive.fit, states[3], states[7]) for _ in range(fits)]
        theirs.append(statistics.mean(spent for spent, _ in naive_fits) * pairs)
        close("map 3 to 7", torch.from_numpy(naive_fits[0][1]), matrix, 1e-3)
    ratios = [b / a for a, b in zip(ours, theirs, strict=True)]
    row = [f"{n:,} x {d}, {layers + 1} layers", *map(statistics.median, (ours, theirs, ratios)), floor]
    print(markdown(["shape", "ours (s)", "naive (s)", "ratio", "floor (s)"], [row]))
    print(f"{statistics.median(ours) / floor:.2f} times the floor")


def fit_floor(n: int, d: int, layers: int, rates: dict[str, float]) -> float:
    """Seconds of the products: X'X, XW and the solutions by halves in float64, the pairs in float32."""
    pairs = layers * (layers + 1) // 2
    double, single = 2 * n * d * d * layers + d**3 * pairs, 2 * n * d * d * pairs
    return double / rates["GFLOP/s float64"] / 1e9 + single / rates["GFLOP/s float32 by oneDNN"] / 1e9


def fit_all(shards: Sequence[extraction.Shard], layers: int, width: int, folder: Path) -> None:
    how = {"width": width, "memory_gib": 4.0}
    for i, solution in fitting.fit_layers(range(layers), shards, layers, "all", torch.device("cpu"), **how):
        for name, matrix in layer_files(i, range(i + 1, layers + 1), solution.matrices).items():
            artifacts.save(folder / name, matrix)


if __name__ == "__main__":
    main()

"""Times of every stage's computation at the true shapes of gpt2, gpt2-xl and bert-large, and what precision changes.

Random weights and random tokens. For each precision (float32, tf32, bf16: `extract.precision` in params.yaml) the
hidden states are extracted anew; maps, r2 and exits follow from them. Rates are compared with those of a large matrix
product and of a copy, measured on the same device. `toy` is a shape small enough for a CPU.

Example: python benchmarks/gpu.py gpt2-xl --device cuda
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from linear_shortcuts.files import artifacts
from linear_shortcuts.maps import fitting
from linear_shortcuts.maps.linear_maps import LayerMaps, SubmoduleMaps, layer_files, submodule_files
from linear_shortcuts.models import cost
from linear_shortcuts.models.language_model import LanguageModel
from linear_shortcuts.models.loading import wrap
from linear_shortcuts.models.precision import arithmetic
from linear_shortcuts.scores import early_exit, exits, measures
from linear_shortcuts.scores.tables import markdown
from linear_shortcuts.settings.devices import choose_device
from linear_shortcuts.settings.params import read_params
from linear_shortcuts.states import extraction, shards
from linear_shortcuts.text.tokens import Tokens

SHAPES: dict[str, Any] = {
    "toy": GPT2Config(n_embd=32, n_layer=3, n_head=2, vocab_size=500, n_positions=64),
    "gpt2": GPT2Config(),
    "gpt2-xl": GPT2Config(n_embd=1600, n_layer=48, n_head=25),
    "bert-large": BertConfig(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
}
DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "float64": torch.float64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: %(default)s)")
    parser.add_argument("--train", type=int, default=9000, help="sentences (default: %(default)s)")
    parser.add_argument("--validation", type=int, default=3000, help="sentences (default: %(default)s)")
    parser.add_argument("--tokens-per-batch", type=int, default=16384, help="(default: %(default)s)")
    parser.add_argument(
        "--parts", type=int, default=200, help="sentences of the sub-module mappings (default: %(default)s)"
    )
    args = parser.parse_args()
    device = choose_device(args.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    precisions = ["float32", "tf32", "bf16"] if device.type == "cuda" else ["float32", "bf16"]
    size = 8192 if device.type == "cuda" else 1024
    peaks = {precision: gemm_rate(precision, device, size) for precision in [*precisions, "float64"]}
    print(f"{args.shape} on {name}, torch {torch.__version__}; copies at {copy_rate(device, size):,.0f} GB/s")
    print("GFLOP/s of a large product: " + ", ".join(f"{key} {value:,.0f}" for key, value in peaks.items()))
    torch.manual_seed(0)
    config = SHAPES[args.shape]
    made = BertForMaskedLM(config) if isinstance(config, BertConfig) else GPT2LMHeadModel(config)
    model = wrap(made.to(device), mask_token=None if isinstance(config, GPT2Config) else 103)
    data = {split: random_tokens(model, getattr(args, split)) for split in ("train", "validation")}
    results = {precision: study(model, data, precision, args.tokens_per_batch, args.parts) for precision in precisions}
    report(results, peaks, model, data)


# --- the machine -----------------------------------------------------------------------------------------------


def timed(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Seconds until the device has done the work, and the result."""
    _wait(device)
    start = time.perf_counter()
    result = work()
    _wait(device)
    return time.perf_counter() - start, result


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gemm_rate(precision: str, device: torch.device, size: int) -> float:
    a = torch.randn(size, size, device=device).to(DTYPES[precision])
    with arithmetic("tf32" if precision == "tf32" else "float32", device):
        return 2 * size**3 / min(timed(lambda: a @ a, device)[0] for _ in range(5)) / 1e9


def copy_rate(device: torch.device, size: int) -> float:
    a = torch.ones(size, size, device=device)
    b = torch.empty_like(a)
    return 2 * a.nbytes / min(timed(lambda: b.copy_(a), device)[0] for _ in range(5)) / 1e9


# --- the study -------------------------------------------------------------------------------------------------


def random_tokens(model: LanguageModel, sentences: int) -> Tokens:
    """Sentences of 5 to 40 random tokens, read at a random one."""
    generator = torch.Generator().manual_seed(sentences)
    lengths = torch.randint(5, 41, (sentences,), generator=generator)
    ids = [torch.randint(model.vocabulary, (int(length),), generator=generator) for length in lengths]
    return Tokens(ids, (torch.rand(sentences, generator=generator) * lengths).long())


def study(model: LanguageModel, data: dict[str, Tokens], precision: str, per_batch: int, parts: int) -> dict[str, Any]:
    """Seconds of every stage's computation at one precision, and the scores that it leads to."""
    device, layers, d = model.device, model.layers, model.width
    spent: dict[str, float] = {}

    def extract(split: str) -> list[extraction.Shard]:
        ranges = shards.shard_ranges(len(data[split]), 1500)
        with arithmetic(precision, device):
            return [extraction.extract(model, data[split], first, last, per_batch) for _, first, last in ranges]

    extraction.extract(model, data["train"], 0, 64, per_batch)  # sets the device up
    spent["extract"], recorded = timed(lambda: {split: extract(split) for split in data}, device)
    folder = tempfile.TemporaryDirectory()
    layer_folder, submodule_folder = Path(folder.name) / "layers", Path(folder.name) / "submodules"

    def fit_layers() -> None:
        how = {"width": d, "memory_gib": 4.0}
        for i, solution in fitting.fit_layers(range(layers), recorded["train"], layers, "all", device, **how):
            save(layer_folder, layer_files(i, range(i + 1, layers + 1), solution.matrices))

    def fit_submodules() -> None:
        for block, solutions in fitting.fit_parts(model, range(layers), recorded["train"], precision, 4.0):
            matrices = [solution.matrices[0] for solution in solutions]
            save(submodule_folder, submodule_files(block, model.family.sources, matrices))

    spent["fit layers"], _ = timed(fit_layers, device)
    spent["fit sub-modules"], _ = timed(fit_submodules, device)
    layer_maps, submodule_maps = LayerMaps.load(layer_folder), SubmoduleMaps.load(submodule_folder)
    states = torch.cat([shard.hidden_states for shard in recorded["validation"]], dim=1).to(device)
    pairs = [(i, layers) for i in range(layers)]
    spent["r2 to the last layer"], r2 = timed(
        lambda: measures.r2_pairs([states], {"mat": layer_maps.jump}, pairs), device
    )

    def fixed_exits() -> list[dict[str, Any]]:
        chunks = []
        for _, first, last in shards.shard_ranges(states.shape[1], 500):
            part = states[:, first:last]
            guesses = exits.layer_guesses(part, layer_maps)
            with arithmetic(precision, device):
                read = exits.score_exits(model, part, guesses)
            chunks.append({key: vars(readout) for key, readout in read.items()})
        return exits.join_chunks(chunks)

    spent["exits of id and mat"], records = timed(fixed_exits, device)
    few = data["validation"].part(0, parts)
    with arithmetic(precision, device):
        spent[f"parts, {len(few)} sentences"], _ = timed(
            lambda: exits.part_guesses(model, few, submodule_maps, per_batch), device
        )
    early = read_params(Path(__file__).resolve().parents[1] / "params.yaml").early_exit
    counted = cost.count(model, data["validation"].lengths, data["validation"].positions)

    def thresholds() -> None:
        for mapping, lambdas in (("mat", early.lambdas), ("id", early.lambdas + early.id_lambdas)):
            own = [record for record in records if record["mapping"] == mapping]
            early_exit.sweep(own, data["validation"].positions, lambdas, mapping, counted)

    spent["sweep"], _ = timed(thresholds, device)
    whole = records[layers]["top_ids"]
    at_1 = [measures.in_top(whole, r["top_ids"][:, 0], 1).mean() for r in records if r["mapping"] == "mat"]
    folder.cleanup()
    return {
        "seconds": spent,
        "r2": sum(r2["mat"].values()) / len(pairs),
        "precision at 1": float(torch.stack(at_1[:-1]).mean()),
        "prediction": whole[:, 0],
    }


def save(folder: Path, files: dict[str, torch.Tensor]) -> None:
    for name, matrix in files.items():
        artifacts.save(folder / name, matrix)


def report(results: dict[str, Any], peaks: dict[str, float], model: LanguageModel, data: dict[str, Tokens]) -> None:
    block = 2 * sum(p.numel() for p in model.blocks[0].parameters() if p.ndim > 1)
    lengths = [tokens.positions + 1 if model.family.causal else tokens.lengths for tokens in data.values()]
    tokens_run, sentences = int(torch.cat(lengths).sum()), sum(map(len, data.values()))
    stages = list(results["float32"]["seconds"])
    print(
        markdown(["seconds", *results], [[stage, *(r["seconds"][stage] for r in results.values())] for stage in stages])
    )
    rows = []
    for precision, result in results.items():
        spent = result["seconds"]["extract"]
        rate = tokens_run * model.layers * block / spent / 1e9
        agree = float((result["prediction"] == results["float32"]["prediction"]).float().mean())
        speed = [f"{sentences / spent:,.0f}", f"{tokens_run / spent:,.0f}", f"{rate / peaks[precision]:.0%}"]
        rows.append([precision, *speed, result["r2"], result["precision at 1"], agree])
    header = [
        "precision",
        "sentences/s",
        "tokens/s",
        "of the product's rate",
        "r2 (mat, to L)",
        "P@1 (mat)",
        "same top token",
    ]
    print("\n" + markdown(header, rows))


if __name__ == "__main__":
    main()

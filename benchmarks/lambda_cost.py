"""What does a lambda layer cost beside BERT's attention, as sentences grow?

One layer of BERT's base size, one sentence, one forward and backward pass, on one thread: the median CPU time, and
the memory that the pass holds at its peak beyond the layer itself, the four kinds of layer by turns. `eager` is
attention as its formula says, with a matrix of tokens by tokens; `sdpa`, the library's default, computes the same piece
by piece. Exponents are fitted to the last three points of a curve, where constant and linear parts weigh least.

Writes  studies/lambda_bert/kept.json          with --measure: `cost`, the README's table by write_results.py
        studies/lambda_bert/figures/cost.svg   drawn from the numbers kept there

Example: PYTHONPATH=studies/lambda_bert python benchmarks/lambda_cost.py --measure
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from linear_shortcuts.figures.printing import BLUE, GREEN, ORANGE, VERMILLION

TOKENS = [128, 256, 512, 1024, 2048, 4096]
KINDS = {
    "attention, eager": {"attn_implementation": "eager"},
    "attention, sdpa": {"attn_implementation": "sdpa"},
    "lambda, all tokens": {"relative_global": True},
    "lambda, window of 25": {"local_context_size": 25},
}
COLORS = dict(zip(KINDS, (VERMILLION, ORANGE, GREEN, BLUE), strict=True))
LINES = dict(zip(KINDS, ("s-", "^-.", "D-", "o--"), strict=True))  # the last lies upon the third where memory is drawn
QUANTITIES = {"ms": "CPU milliseconds", "MiB": "peak memory (MiB)"}
STUDY = Path(__file__).resolve().parents[1] / "studies" / "lambda_bert"
KEPT, FIGURE = STUDY / "kept.json", STUDY / "figures" / "cost.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--measure", action="store_true", help="measure anew, some minutes (default: draw what is kept)"
    )
    parser.add_argument("--machine", default="one core", help="what it ran on (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="timed passes a point (default: %(default)s)")
    args = parser.parse_args()
    kept = json.loads(KEPT.read_text())
    if args.measure:
        kept["cost"] = {"tokens": TOKENS, "machine": args.machine, "rows": rows(args.repeat)}
        KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    draw(kept["cost"], FIGURE)
    print(f"{KEPT} and {FIGURE}")


def rows(repeat: int) -> list[dict[str, Any]]:
    """A row for each quantity and kind of layer: its value at every length, and the exponent of its growth."""
    points = {
        (kind, tokens): measure(kind, tokens, repeat)
        for tokens, kind in tqdm([(tokens, kind) for tokens in TOKENS for kind in KINDS], unit="point", disable=None)
    }
    found = []
    for quantity in QUANTITIES:
        for kind in KINDS:
            values = [points[kind, tokens][quantity] for tokens in TOKENS]
            found.append({"layer": kind, "unit": quantity, "values": values, "exponent": exponent(values)})
    return found


def measure(kind: str, tokens: int, repeat: int) -> dict[str, float]:
    """Median milliseconds of a pass, and the MiB that it holds at its peak, as torch's profiler sees it."""
    import torch
    from transformers import BertConfig, BertModel

    from lambda_bert import LambdaBertConfig
    from lambda_bert.modeling_lambdabert import LambdaBertModel

    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "vocab_size": 8, "max_position_embeddings": tokens, "hidden_dropout_prob": 0.0}
    if kind.startswith("attention"):
        # The library's own way to make a model of one implementation or the other.
        config = BertConfig(**sizes, **KINDS[kind], attention_probs_dropout_prob=0.0)
        layer = BertModel(config).encoder.layer[0].attention.self.train()
    else:
        layer = LambdaBertModel(LambdaBertConfig(**sizes, **KINDS[kind])).encoder.layer[0].attention.self.train()

    def run(length: int) -> float:
        states = torch.randn(1, length, 768, requires_grad=True)
        start = time.process_time()
        layer(states)[0].sum().backward()
        return time.process_time() - start

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run(tokens)
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(changes, key=lambda event: event.start_ns())])
    return {"ms": 1000 * statistics.median(run(tokens) for _ in range(repeat)), "MiB": float(held.max()) / 2**20}


def exponent(values: list[float]) -> float:
    return float(np.polyfit(np.log(TOKENS[-3:]), np.log(values[-3:]), 1)[0])


def draw(kept: Mapping[str, Any], out: Path) -> None:
    import matplotlib.pyplot as plt

    from linear_shortcuts.figures import printing

    with plt.rc_context(printing.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(printing.PAGE, 2.9))
        for axis, (quantity, name) in zip(axes, QUANTITIES.items(), strict=True):
            for row in (row for row in kept["rows"] if row["unit"] == quantity):
                kind, label = row["layer"], f"{row['layer']}: {row['exponent']:.2f}"
                axis.loglog(kept["tokens"], row["values"], LINES[kind], color=COLORS[kind], label=label)
            axis.set_xticks(kept["tokens"], [f"{length:,}" for length in kept["tokens"]])
            axis.minorticks_off()
            axis.set(xlabel="tokens", ylabel=name)
            axis.legend(title="growth, as a power of the tokens")
        figure.suptitle("One layer of width 768, one sentence, forward and backward")
    printing.save(figure, {out.suffix[1:]: out.parent}, out.stem)


if __name__ == "__main__":
    main()

"""What does a lambda layer cost beside BERT's attention, as sentences grow?

One layer of BERT's base size, one sentence, one forward and backward pass, on one thread: the median CPU time, and
the memory that the pass holds at its peak beyond the layer itself, the four kinds of layer by turns. `eager` is
attention as its formula says, with a matrix of tokens by tokens; `sdpa`, the library's default, computes the same piece
by piece. Exponents are fitted to the last three points of a curve, where constant and linear parts weigh least.

Writes  the figure; prints the table of the study's README

Example: PYTHONPATH=studies/lambda_bert python benchmarks/lambda_cost.py --out cost.svg
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("cost.svg"), help="figure (default: %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="timed passes a point (default: %(default)s)")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, help="lengths (default: 128 … 4096)")
    args = parser.parse_args()
    points: dict[tuple[str, int], dict[str, float]] = {}
    for tokens in args.tokens:
        for kind in KINDS:
            points[kind, tokens] = measure(kind, tokens, args.repeat)
            print(f"{tokens} tokens, {kind}: {points[kind, tokens]}", file=sys.stderr, flush=True)
    print(table(points, args.tokens))
    draw(points, args.tokens, args.out)


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


def exponent(tokens: list[int], values: list[float]) -> float:
    return float(np.polyfit(np.log(tokens[-3:]), np.log(values[-3:]), 1)[0])


def table(points: dict[tuple[str, int], dict[str, float]], tokens: list[int]) -> str:
    """Markdown: a row for each kind of layer and quantity, a column for each length, and the exponent."""
    lines = [["layer", "", *(f"{length:,}" for length in tokens), "exponent"]]
    lines.append(["---", "---", *["---:"] * (len(tokens) + 1)])
    for quantity in QUANTITIES:
        for kind in KINDS:
            values = [points[kind, length][quantity] for length in tokens]
            cells = [f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in values]
            lines.append([kind, quantity, *cells, f"{exponent(tokens, values):.2f}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def draw(points: dict[tuple[str, int], dict[str, float]], tokens: list[int], out: Path) -> None:
    import matplotlib.pyplot as plt

    from linear_shortcuts.figures import printing

    with plt.rc_context(printing.STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(printing.PAGE, 2.9))
        for axis, (quantity, name) in zip(axes, QUANTITIES.items(), strict=True):
            for kind in KINDS:
                values = [points[kind, length][quantity] for length in tokens]
                label = f"{kind}: {exponent(tokens, values):.2f}"
                axis.loglog(tokens, values, LINES[kind], color=COLORS[kind], label=label)
            axis.set_xticks(tokens, [f"{length:,}" for length in tokens])
            axis.minorticks_off()
            axis.set(xlabel="tokens", ylabel=name)
            axis.legend(title="growth, as a power of the tokens")
        figure.suptitle("One layer of width 768, one sentence, forward and backward")
    printing.save(figure, {out.suffix[1:]: out.parent}, out.stem)


if __name__ == "__main__":
    main()

"""How much memory and time do the nearest tokens of a large vocabulary take?

Makes a random vocabulary (default: 250,000 tokens of width 768), looks for the nearest tokens of a few hundred vectors
as the noun probe does, with a norm on every row, and prints what that adds to the memory of the vocabulary itself.

Example: python benchmarks/nearest_tokens.py --tokens 250000 --width 768 --queries 300
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "studies" / "traveling_words"))
from traveling_words.geometry import Norm
from traveling_words.nearest import Rows, nearest


def peak() -> float:
    """The most memory this process has held, in MB."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=250_000, help="default: %(default)s")
    parser.add_argument("--width", type=int, default=768, help="of the model (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=300, help="vectors looked up (default: %(default)s)")
    args = parser.parse_args()

    vocabulary = torch.randn(args.tokens, args.width)
    queries = torch.randn(args.queries, args.width, dtype=torch.float64)
    norm = Norm(True, 1e-5, torch.ones(args.width).double(), torch.zeros(args.width).double())
    before, start = peak(), time.perf_counter()
    nearest(queries, Rows(vocabulary, norm), 5)
    took = time.perf_counter() - start
    scores = args.tokens * args.queries * 8 / 1e6
    print(
        f"{args.queries} vectors among {args.tokens:,} tokens of width {args.width}, {torch.get_num_threads()} threads"
    )
    more = peak() - before
    print(f"vocabulary {vocabulary.numel() * 4 / 1e6:,.0f} MB; search {took:.1f} s, {more:,.0f} MB more at its peak")
    print(f"all normed rows and scores at once would be {vocabulary.numel() * 8 / 1e6 + scores:,.0f} MB")


if __name__ == "__main__":
    main()

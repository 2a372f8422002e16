"""How much faster are singular vectors from the factors of W_QK and W_VO than from the products, and are they the same?

Makes random factors at a model's shape (default: gpt2), decomposes each head's product in full and from the factors,
and prints the time of one head, the ratio, and the largest differences relative to the largest singular value.

Example: python benchmarks/singular_vectors.py --width 768 --head-width 64 --heads 12
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "studies" / "traveling_words"))
from traveling_words.factorization import thin_svd


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768, help="of the model (default: %(default)s)")
    parser.add_argument("--head-width", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--heads", type=int, default=12, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each; the median counts (default: %(default)s)")
    args = parser.parse_args()

    torch.manual_seed(0)
    shape = (args.heads, args.width, args.head_width)
    # As in a trained model, a few directions are much stronger than the others.
    strengths = torch.logspace(0, -3, args.head_width, dtype=torch.float64)
    a, b = torch.randn(shape, dtype=torch.float64) * strengths, torch.randn(shape, dtype=torch.float64)
    product = a @ b.mT
    thin_svd(a[:1], b[:1])
    full = seconds(lambda: torch.linalg.svd(product), args.repeats) / args.heads
    thin = seconds(lambda: thin_svd(a, b), args.repeats) / args.heads

    ours, theirs = thin_svd(a, b), torch.linalg.svdvals(product)
    largest = theirs[:, 0].max()
    values = (ours.values - theirs[:, : args.head_width]).abs().max() / largest
    rebuilt = (ours.left * ours.values[:, None] @ ours.right.mT - product).abs().max() / largest
    print(f"{args.heads} heads of {args.width} x {args.head_width}, {torch.get_num_threads()} threads, float64")
    print(f"full SVD of the product   {1000 * full:9.2f} ms a head")
    print(f"from the factors          {1000 * thin:9.2f} ms a head, {full / thin:.0f} times faster")
    print(f"largest difference        {float(values):.1e} of a singular value, {float(rebuilt):.1e} of the product")


if __name__ == "__main__":
    main()

"""Do the largest studies fit in memory? Peak memory and time of two of them, on random weights and states.

`million`: every token of many sentences through a model of width 256 and 12 layers, straight into the moments of all
pairs of layers, nothing stored in between: what `extract.positions: all` does, without its files.
`xl`: the largest pass of the fit at gpt2-xl's shape, 49 layers of width 1,600; the other passes hold less.

Example: python benchmarks/memory.py million --tokens 1000000
"""

import argparse
import resource
import time
from collections.abc import Iterator

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from linear_shortcuts.maps import fitting
from linear_shortcuts.models.loading import wrap
from linear_shortcuts.states import extraction, shards
from linear_shortcuts.text.tokens import Tokens

CPU = torch.device("cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=["million", "xl"])
    parser.add_argument("--tokens", type=int, help="(default: 1000000 for million, 2000 for xl)")
    args = parser.parse_args()
    print(f"at the start: {peak_gib():.2f} GiB", flush=True)
    start = time.perf_counter()
    study, size = {"million": (million, 1_000_000), "xl": (largest_pass, 2000)}[args.study]
    fitted = study(args.tokens or size)
    print(f"{fitted} maps in {time.perf_counter() - start:.0f} s, peak memory {peak_gib():.2f} GiB")


def million(tokens: int, layers: int = 12, width: int = 256, length: int = 64, sentences_per_shard: int = 64) -> int:
    torch.manual_seed(0)
    config = GPT2Config(n_embd=width, n_layer=layers, n_head=4, vocab_size=4096, n_positions=length)
    model = wrap(GPT2LMHeadModel(config))
    sentences = tokens // length
    data = Tokens(list(torch.randint(4096, (sentences, length))), torch.zeros(sentences, dtype=torch.int64))

    class Extraction:
        """Recorded anew in each of the two passes of the fit, since nothing is stored."""

        def __iter__(self) -> Iterator[extraction.Shard]:
            for _, first, last in shards.shard_ranges(sentences, sentences_per_shard):
                yield extraction.extract(model, data, first, last, 1024, "all")

    moments = fitting.layer_moments(range(layers), Extraction(), layers, "all", CPU)
    return sum(len(moments.pop(source).solve().matrices) for source in range(layers))


def largest_pass(
    rows: int, layers: int = 48, width: int = 1600, rows_per_shard: int = 500, budget_gib: float = 4
) -> int:
    torch.manual_seed(0)
    needed = {source: 1 + layers - source for source in range(layers)}
    group = fitting.passes(needed, width, budget_gib)[0]

    class States:
        """Made anew, from the same seeds, in each of the two passes of the fit."""

        def __iter__(self) -> Iterator[extraction.Shard]:
            for seed in range(rows // rows_per_shard):
                generator = torch.Generator().manual_seed(seed)
                states = torch.randn(layers + 1, rows_per_shard, width, generator=generator)
                yield extraction.Shard(states, torch.empty(0))

    moments = fitting.layer_moments(group, States(), layers, "all", CPU)
    return sum(len(moments.pop(source).solve().matrices) for source in group)


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()

"""The logit lens by this project and by TransformerLens, of the same sentences: equal to 1e-4? Seconds and memory.

Each side reads the same checkpoint and sentences in a process of its own and writes, of every layer, the head's logits
at the last token of each sentence: ours by `hidden_states` and `decode`, theirs by `run_with_cache`, `ln_final` and
`unembed`, a sentence at a time and in batches. Their float32 attention is "eager", ours "sdpa".

Runs where transformer-lens can be installed, which is no dependency of this project: in an environment of its own that
has this library too, `pip install transformer-lens==4.3.0`. The weights: `make real`; the sentences: `make repro`.

Example: python benchmarks/peers.py --model tiny-gpt2 --sentences 200
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from linear_shortcuts.files import artifacts
from linear_shortcuts.models import load_registered, load_registered_tokenizer
from linear_shortcuts.scores.tables import markdown
from linear_shortcuts.settings import read_params
from linear_shortcuts.settings.folders import sentences_file
from linear_shortcuts.states.extraction import hidden_states
from linear_shortcuts.text.tokens import encode

TOLERANCE = 1e-4
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", default="tiny-gpt2", metavar="NAME", help="a key of `registry` (default: %(default)s)"
    )
    parser.add_argument("--sentences", type=int, default=200, help="of the validation split (default: %(default)s)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        read_out(SIDES[args.side], args.model, args.sentences, args.out)
        return
    found, rows = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            out = Path(folder) / side
            words = [sys.executable, __file__, "--model", args.model, "--sentences", str(args.sentences)]
            offline = {**os.environ, "HF_HUB_OFFLINE": "1"}  # all of it is here; their loader would ask the hub
            subprocess.run([*words, "--side", side, "--out", str(out)], check=True, env=offline)
            found[side] = torch.load(out, weights_only=True)
    ours = found["this project"]
    for side, own in found.items():
        # Layer by layer: what is off by a layer, a norm or a position is off by far more than rounding.
        error = max(float((a - b).norm() / b.norm()) for a, b in zip(own["logits"], ours["logits"], strict=True))
        rows.append(
            [side, f"{own['seconds']:.1f}", f"{own['seconds'] / ours['seconds']:.2f}", own["GiB"], f"{error:.1e}"]
        )
    print(markdown(["", "seconds", "ratio", "peak GiB", "largest relative difference of a layer's logits"], rows))
    if not all(float(row[-1]) < TOLERANCE for row in rows):
        raise SystemExit(f"the read-outs differ by more than {TOLERANCE}")


def read_out(side: Callable[..., Tensor], name: str, number: int, out: Path) -> None:
    """Let one side read the sentences, and keep its logits (L + 1, n, V), its seconds and the memory it took."""
    params = read_params("params.yaml")
    entry = params.model(name)
    model, tokenizer = load_registered(entry, name, "cpu"), load_registered_tokenizer(entry)
    texts = artifacts.load(sentences_file(params.corpus))["validation"][:number]
    with torch.inference_mode():
        read = side(model, tokenizer, entry.checkpoint)
        read(texts[:2])  # what the first call alone pays for
        start = time.perf_counter()
        logits = read(texts)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    torch.save({"logits": logits.clone(), "seconds": seconds, "GiB": memory}, out)


def ours(model, tokenizer, path):
    def read(texts: list[str]) -> Tensor:
        states = hidden_states(model, tokenizer, texts)
        return torch.stack([model.decode(layer) for layer in states])

    return read


def bridge(batch: int):
    def side(model, tokenizer, path):
        from transformer_lens.model_bridge import TransformerBridge

        theirs = TransformerBridge.boot_transformers(
            str(path), hf_model=model.network, tokenizer=tokenizer, device="cpu"
        )
        names = [f"blocks.{block}.hook_resid_pre" for block in range(model.layers)]
        names.append(f"blocks.{model.layers - 1}.hook_resid_post")

        def read(texts: list[str]) -> Tensor:
            ids = [torch.tensor(row) for row in encode(tokenizer, texts)["input_ids"]]
            parts = []
            for first in range(0, len(ids), batch):
                some = ids[first : first + batch]
                padded = pad_sequence(some, batch_first=True)  # behind the last token, where nothing is read
                _, cache = theirs.run_with_cache(padded, names_filter=lambda name: name in names)
                rows, last = torch.arange(len(some)), torch.tensor([len(row) - 1 for row in some])
                states = torch.stack([cache[name][rows, last] for name in names])
                parts.append(theirs.unembed(theirs.ln_final(states)))
            return torch.cat(parts, 1)

        return read

    return side


SIDES = {
    "this project": ours,
    "TransformerLens, one by one": bridge(1),
    f"TransformerLens, {BATCH} at once": bridge(BATCH),
}


if __name__ == "__main__":
    main()

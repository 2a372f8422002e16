"""Make an ordinary checkpoint, which every program here reads, from one of nanoGPT.

Reads   a ckpt.pt of github.com/karpathy/nanoGPT, and the meta.pkl beside the text it was trained on
Writes  a folder with a GPT-2 of transformers and its tokenizer

A model that reads GPT-2's own tokens has no meta.pkl; give the folder or the hub id of a tokenizer instead. Then name
the folder in `registry` of the project's params.yaml, and that entry in `model` of the study's.

Example: python studies/traveling_words/convert_nanogpt.py out/ckpt.pt --meta data/meta.pkl --to models/shakespeare
"""

import argparse
from pathlib import Path

from linear_shortcuts.settings import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, metavar="CKPT", help="a ckpt.pt of nanoGPT")
    tokens = parser.add_mutually_exclusive_group(required=True)
    tokens.add_argument("--meta", type=Path, help="its meta.pkl: the characters and their ids")
    tokens.add_argument("--tokenizer", metavar="NAME", help="a tokenizer's folder or hub id, such as gpt2")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where to write")
    args = parser.parse_args()

    from linear_shortcuts.files import atomic_folder
    from linear_shortcuts.files.cards import check_replaceable
    from linear_shortcuts.models import load_tokenizer
    from traveling_words import nanogpt

    check_replaceable(args.to)
    network = nanogpt.load_network(args.checkpoint)
    tokenizer = nanogpt.load_tokenizer(args.meta) if args.meta else load_tokenizer(args.tokenizer)
    with atomic_folder(args.to) as coming:
        network.save_pretrained(coming)
        tokenizer.save_pretrained(coming)
    config = network.config
    print(f"{config.n_layer} blocks of width {config.n_embd}, {config.vocab_size:,} tokens, in {args.to}")


if __name__ == "__main__":
    run(main)

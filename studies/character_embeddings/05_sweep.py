"""Train one network of the sweep over block sizes and embedding sizes, or all of them, from every seed.

Reads   studies/character_embeddings/data/SOURCE/names.pickle, vocabulary.json   from stage 01
Writes  studies/character_embeddings/data/SOURCE/sweep/block_N_embedding_M.json   a row a seed: parameters, losses

The device is the CPU unless you name another: the fastest for so small a network.

Example: python studies/character_embeddings/05_sweep.py --block-size 3 --embedding 3
"""

import argparse

from character_embeddings import settings as study
from linear_shortcuts.settings import add_device, add_params, run


def size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to 100")
    return int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--block-size", type=size, metavar="N", help="characters read (default: all in params.yaml)")
    parser.add_argument("--embedding", type=size, metavar="M", help="numbers a character (default: all in params.yaml)")
    add_device(parser)
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params)

    from dataclasses import replace

    from tqdm import tqdm

    from character_embeddings import network, training
    from character_embeddings.data import load_data
    from linear_shortcuts.files import artifacts

    data = load_data(settings)
    blocks = [args.block_size] if args.block_size else settings.sweep.block_sizes
    embeddings = [args.embedding] if args.embedding else settings.sweep.embeddings
    sizes = [(block_size, embedding) for block_size in blocks for embedding in embeddings]
    for block_size, embedding in tqdm(sizes, desc=f"{settings.names}: sweep", unit="network", disable=None):
        train, validation = data.pairs(block_size)
        shape, device = replace(settings.network, embedding=embedding), training.device_of(args.device)
        rows = []
        for seed in settings.sweep.seeds:
            model = network.new_network(len(data.vocabulary), block_size, shape, seed)
            sizes_of = {"block_size": block_size, "embedding": embedding, "seed": seed}
            last = training.train(model, train, validation, settings.training, seed, device).epochs[-1]
            losses = {"train": last["train"], "validation": last["validation"]}
            rows.append({**sizes_of, "parameters": network.summarize(model).parameters, **losses})
        artifacts.save_json(study.Folders(settings.names).sweep(block_size, embedding), rows)
        found = ", ".join(f"{row['validation']:.4f}" for row in rows)
        print(f"{settings.names}: block {block_size}, embedding {embedding}: {found} nats per character")


if __name__ == "__main__":
    run(main)

"""Pre-train LambdaBERTs that lack a part, and BERTs beside them, from several seeds: what gives them their start?

Reads   studies/lambda_bert/data/TEXT/TASK/pairs.pickle   from 01_prepare_text.py
Writes  studies/lambda_bert/ablation/TEXT/TASK/   VARIANT-SEED.json: losses of held-out documents, over the steps too

What is finished is kept, and a killed training continues after its last checkpoint, to the same numbers. A training
takes a quarter of an hour on one core; they go seed by seed, so that whatever is finished compares.

Example: python studies/lambda_bert/08_ablate.py --variant content --seed 42
"""

import argparse
from pathlib import Path

from linear_shortcuts.settings import add_params, known, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--variant", action="append", metavar="NAME", help="one of `ablation.variants`; repeatable; default: all"
    )
    parser.add_argument(
        "--seed", action="append", type=int, help="of weights, masks and order; repeatable; default: `ablation.seeds`"
    )
    add_params(parser, Path("studies/lambda_bert/params.yaml"))
    args = parser.parse_args()

    from lambda_bert import ablation, study
    from lambda_bert.settings import read
    from linear_shortcuts.models import load_tokenizer

    settings = read(args.params)
    names, seeds = args.variant or settings.ablation.variants, args.seed or settings.ablation.seeds
    for name in names:
        known("variant", name, ablation.VARIANTS, "lambda_bert.ablation.VARIANTS")
    tokenizer = load_tokenizer(settings.tokenizer)
    train, validation = study.load_pairs(settings)
    runs = [(seed, name) for seed in seeds for name in names]
    trained = 0
    for seed, name in runs:
        trained += ablation.run(settings, name, seed, tokenizer, train, validation)
        print(f"{name}, seed {seed}: in {settings.folders.ablation(name, seed)}", flush=True)
    print(f"{trained} trained, {len(runs) - trained} kept")


if __name__ == "__main__":
    run(main)

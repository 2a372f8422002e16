"""Measure the trained models of one experiment: distances of its pairs, accuracy and cross-entropy without chance.

Reads   studies/tied_embeddings/data/strings.pickle                   from 01_generate.py
        studies/tied_embeddings/data/xor-EXPERIMENT/untied/, tied/    from 02_train.py
Writes  studies/tied_embeddings/data/measures/xor-EXPERIMENT.json    `optima`, `scores`, `distances` and `curves`

Example: python studies/tied_embeddings/03_measure.py --experiment transformer-small
"""

import argparse

from linear_shortcuts.settings import add_params, run
from tied_embeddings import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True, metavar="NAME", help="a key of `experiments` in params.yaml")
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params)
    runs = {variant: settings.compose(args.experiment, variant) for variant in study.VARIANTS}

    from linear_shortcuts.files import artifacts
    from tied_embeddings import experiment, measures

    folders = study.Folders(args.experiment)
    dataset = experiment.xor(runs["tied"].dataset, experiment.load_strings(settings.dataset.bits))
    pairs = settings.experiments[args.experiment].pairs
    found = measures.measure({v: (run, folders.runs(v)) for v, run in runs.items()}, dataset, pairs)
    artifacts.save_json(folders.measures, found)
    means = ", ".join(f"{variant} {measures.mean_score(found, variant):.3f}" for variant in runs)
    best = found["optima"]["train-fresh"]["accuracy"]
    print(f"{args.experiment}: accuracy on train strings {means}, at best {best:.3f}, in {folders.measures}")


if __name__ == "__main__":
    run(main)

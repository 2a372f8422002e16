"""Train the models of one experiment, tied or untied, all seeds as one computation.

Reads   studies/tied_embeddings/data/strings.pickle                from 01_generate.py
Writes  studies/tied_embeddings/data/xor-EXPERIMENT/VARIANT/       a folder for each seed, SEED-MODEL: distances as
        input_cdists.npy and output_cdists.npy, four logs, modelbest.pt, modellast.pt, settings.json

A killed run continues after its last checkpoint and ends with the same bytes. The device is the CPU: a step of models
this small is shorter than the launch of a GPU's kernels.

Example: python studies/tied_embeddings/02_train.py --experiment transformer-small --variant untied
"""

import argparse

from linear_shortcuts.settings import add_params, run
from tied_embeddings import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", required=True, metavar="NAME", help="a key of `experiments` in params.yaml")
    parser.add_argument("--variant", required=True, choices=study.VARIANTS, help="how the embeddings relate")
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params)
    composed = settings.compose(args.experiment, args.variant)

    from tqdm import tqdm

    from linear_shortcuts.files import Partial, atomic
    from tied_embeddings import experiment

    strings = experiment.load_strings(settings.dataset.bits)
    name = f"{args.experiment}, {args.variant}"
    item = f"{args.experiment}/{args.variant}"
    with Partial("tied_embeddings/02_train", item, experiment.recipe(composed, strings), code=__file__) as partial:
        with tqdm(total=composed.epochs, desc=f"{name}: train", unit="step", disable=None) as bar:
            trainer, state = experiment.train(
                composed, experiment.xor(composed.dataset, strings), partial, settings.checkpoint,
                watch=lambda done: bar.update(done - bar.n),
            )  # fmt: skip
        folder = study.Folders(args.experiment).runs(args.variant)
        with atomic.atomic_folder(folder) as coming:
            experiment.save(trainer, state, composed, coming)
        partial.forget_others()
    print(
        f"{name}: {len(composed.seeds)} models, {trainer.steps:,} steps ({partial.resumed} checkpoints resumed), "
        f"in {folder}"
    )


if __name__ == "__main__":
    run(main)

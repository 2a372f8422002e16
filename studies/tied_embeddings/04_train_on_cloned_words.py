"""Train a small masked language model, tied and untied, on text in which every common word has a clone.

Reads   a corpus and a tokenizer of the project's params.yaml; `clones` in the study's
Writes  studies/tied_embeddings/data/clones/CORPUS/tied.pickle, untied.pickle   distances between all words and clones
        over the steps, (R, 2W, 2W), and validation loss and accuracy beside them

A killed run continues after its last checkpoint.

Example: python studies/tied_embeddings/04_train_on_cloned_words.py --variant tied
"""

import argparse
from pathlib import Path

from linear_shortcuts.settings import add_params, run
from tied_embeddings import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--variant", choices=study.VARIANTS, help="of the embeddings (default: both, one after the other)"
    )
    parser.add_argument(
        "--project", type=Path, default=Path("params.yaml"), metavar="FILE", help="settings of corpora and registry"
    )
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params).clones

    from tqdm import tqdm

    from linear_shortcuts.files import Partial
    from linear_shortcuts.settings import read_params
    from tied_embeddings import clones, text_model

    text = clones.load_text(settings, read_params(args.project), lambda texts: tqdm(texts, desc="read", disable=None))
    for variant in [args.variant] if args.variant else study.VARIANTS:
        recipe = text_model.recipe(text, settings)
        with Partial(
            "tied_embeddings/04_train_on_cloned_words", f"{settings.corpus}_{variant}", recipe, code=__file__
        ) as partial:
            with tqdm(total=settings.training.steps, desc=f"{variant}: train", unit="step", disable=None) as bar:
                _, record = text_model.train(
                    text, settings, variant == "tied", partial, lambda step, loss: bar.update(step - bar.n)
                )
            path = clones.recorded(settings.corpus, variant)
            text_model.save(path, record, text)
            partial.forget_others()
        last = record.lines[-1]
        print(
            f"{settings.corpus}, {variant}: {settings.training.steps:,} steps, validation loss {last['loss']:.3f}, "
            f"{last['coin']:.3f} of it nats that the clones cost, in {path}"
        )


if __name__ == "__main__":
    run(main)

"""Compare the input and output embeddings of a language model: one trained here, tied or untied, or any of the registry.

Reads   a corpus of the project's params.yaml; the model's entry of `training` there (with --train) or of `registry`
Writes  studies/tied_embeddings/data/language_models/CORPUS/MODEL[_VARIANT]/   measures.json; with --train also
        losses.pickle, of every step, and model/, which a registry can name

A killed training continues after its last checkpoint.

Example: python studies/tied_embeddings/05_measure_language_models.py --model tiny-bert --train untied
"""

import argparse
from pathlib import Path

from shortcuts.stage import add_params, run
from tied_embeddings import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME", help="a key of the project's registry")
    parser.add_argument("--train", choices=study.VARIANTS, help="train that shape so, instead of loading its weights")
    parser.add_argument(
        "--project", type=Path, default=Path("params.yaml"), metavar="FILE", help="settings of corpora and registry"
    )
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params).language_models

    from tqdm import tqdm

    from shortcuts import artifacts
    from shortcuts.params import read_params
    from tied_embeddings import language_models
    from tied_embeddings.clones import read_sentences

    params = read_params(args.project)
    entry = params.model(args.model)
    sentences = read_sentences(
        params, settings.corpus, settings.sentences, lambda texts: tqdm(texts, desc="read", disable=None)
    )
    label = f"{args.model}_{args.train}" if args.train else args.model
    if args.train:
        with tqdm(total=settings.steps, desc=f"{label}: train", unit="step", disable=None) as bar:
            subject = language_models.trained(
                params, settings, args.model, args.train == "tied", sentences,
                lambda step, loss: bar.update(step - bar.n),
            )  # fmt: skip
    else:
        subject = language_models.registered(entry, args.model)
    result = language_models.measure(subject, sentences["train"], settings)
    folder = language_models.folder_of(settings.corpus, label)
    language_models.save(folder, subject, result)
    print(
        f"{label}: {'tied' if result['tied'] else 'untied'}, input and output embeddings agree to "
        f"{result['agreement']['rank_correlation']:.2f}, the text's two roles to {result['text_agreement']:.2f}, in {folder}"
    )


if __name__ == "__main__":
    run(main)

"""Compare the input and output embeddings of a language model: of any in the registry, or of one trained here.

Reads   a corpus of the project's params.yaml; the model's entry of `registry` there, and of `training` with --train
Writes  studies/tied_embeddings/data/language_models/CORPUS/MODEL/   measures.json
        with --train CORPUS/MODEL_untied/ and CORPUS/MODEL_tied/, each with losses.pickle, of every step, and model/,
        which a registry can name

A killed training continues after its last checkpoint.

Example: python studies/tied_embeddings/05_measure_language_models.py --model tiny-bert --train
"""

import argparse
from pathlib import Path

from linear_shortcuts.settings import add_params, run
from tied_embeddings import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, metavar="NAME", help="a key of the project's registry")
    parser.add_argument(
        "--train", action="store_true", help="train that shape from scratch, untied and tied, instead of loading it"
    )
    parser.add_argument(
        "--project", type=Path, default=Path("params.yaml"), metavar="FILE", help="settings of corpora and registry"
    )
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params).language_models

    from tqdm import tqdm

    from linear_shortcuts.settings import read_params
    from tied_embeddings import language_models
    from tied_embeddings.clones import read_sentences

    params = read_params(args.project)
    entry = params.model(args.model)  # before the text is read
    sentences = read_sentences(
        params, "language_models", settings.corpus, settings.sentences,
        lambda texts: tqdm(texts, desc="read", disable=None),
    )  # fmt: skip
    for variant in study.VARIANTS if args.train else [None]:
        label = f"{args.model}_{variant}" if variant else args.model
        if variant:
            with tqdm(total=settings.steps.get(args.model), desc=f"{label}: train", unit="step", disable=None) as bar:
                subject = language_models.trained(
                    params,
                    settings,
                    args.model,
                    variant == "tied",
                    sentences,
                    lambda step, loss: bar.update(step - bar.n),
                )
        else:
            subject = language_models.registered(entry, args.model)
        result = language_models.measure(subject, sentences["train"], settings)
        folder = language_models.folder_of(settings.corpus, label)
        language_models.save(folder, subject, result)
        alike = result["agreement"]["rank_correlation"]
        print(
            f"{label}: {'tied' if result['tied'] else 'untied'}; input and output embeddings agree to {alike:.2f}, the "
            f"two roles of tokens in the text to {result['text_agreement']:.2f}; in {folder}"
        )


if __name__ == "__main__":
    run(main)

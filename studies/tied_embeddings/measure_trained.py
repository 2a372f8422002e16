"""Lay the vectors of models that others trained beside the contexts in which a text uses their tokens.

Reads   models and corpora of the project's params.yaml; `language_models` of the study's
Writes  studies/tied_embeddings/full_length/trained_models.csv   a row a model, corpus and pair of matrices of distances

It is no stage of the pipeline, since not everyone has the models. Afterwards write_results.py makes the table of
RESULTS.md from the file.

Example: python studies/tied_embeddings/measure_trained.py --model smollm2-135m-instruct-q4 docstrings
"""

import argparse
from dataclasses import replace
from pathlib import Path

from linear_shortcuts.settings import add_params, run
from tied_embeddings import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", nargs="+", action="append", required=True, metavar=("MODEL CORPUS", "TOKENS"),
        help="keys of the registry and of the corpora, and how many tokens (default: as the settings say); repeatable",
    )  # fmt: skip
    parser.add_argument("--project", type=Path, default=Path("params.yaml"), metavar="FILE", help="corpora, registry")
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params).language_models
    asked = [(*names, settings.tokens)[:3] for names in args.model if 2 <= len(names) <= 3]
    if len(asked) < len(args.model):
        parser.error("--model takes the names of a model and of a corpus, and perhaps a number of tokens")

    from tqdm import tqdm

    from linear_shortcuts.files import save_text
    from linear_shortcuts.files.tables import to_csv
    from linear_shortcuts.settings import read_params
    from tied_embeddings import clones, language_models, results, trained_models

    params = read_params(args.project)
    rows = []
    for name, corpus, tokens in tqdm(asked, desc="models", unit="model", disable=None):
        subject = language_models.registered(params.model(name), name)
        sentences = clones.read_sentences(params, "language_models", corpus, settings.sentences)["train"]
        own = replace(settings, tokens=int(tokens))
        rows += [{"model": name, "corpus": corpus, **row} for row in trained_models.follow(subject, sentences, own)]
    path = results.KEPT / "trained_models.csv"
    save_text(path, to_csv(rows))
    print(f"{len(asked)} models, {len(rows)} pairs of matrices in {path}")


if __name__ == "__main__":
    run(main)

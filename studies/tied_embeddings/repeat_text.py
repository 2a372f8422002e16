"""Repeat the experiments on text from several seeds, in shorter trainings, to see which numbers are the seed's.

Reads   `repeats`, `clones` and `language_models` of the study's params.yaml; corpora and registry of the project's
Writes  studies/tied_embeddings/full_length/text_seeds.csv   a row an experiment, variant, seed and number

It is no stage of the pipeline: it trains for an hour. A killed run continues after its last checkpoint, and has its
finished trainings still. Afterwards write_results.py makes the table and the figure of RESULTS.md from the file.

Example: python studies/tied_embeddings/repeat_text.py
"""

import argparse
from itertools import product
from pathlib import Path

from linear_shortcuts.settings import add_params, run
from tied_embeddings import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=Path("params.yaml"), metavar="FILE", help="corpora, registry")
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params)

    from tqdm import tqdm

    from linear_shortcuts.files import Partial, artifacts, save_text
    from linear_shortcuts.files.tables import to_csv
    from linear_shortcuts.settings import read_params
    from tied_embeddings import clones, repeats, results, text_model

    params, own, models = read_params(args.project), settings.repeats, settings.language_models
    text = clones.load_text(settings.clones, params)
    sentences = clones.read_sentences(params, "language_models", models.corpus, models.sentences)
    recipe = {"settings": repr((own, settings.clones, models)), "text": artifacts.fingerprint([text.words, sentences])}
    rows = []
    wanted = list(product(own.seeds, (repeats.CLONES, *own.language_models), (False, True)))
    with Partial("tied_embeddings/repeat_text", "numbers", recipe, code=__file__) as done:
        for seed, experiment, tied in tqdm(wanted, desc="trainings", unit="training", disable=None):
            unit = f"{experiment} {seed} {tied}"
            if unit not in done and experiment == repeats.CLONES:
                short = repeats.clone_settings(settings.clones, own, seed)
                asked = text_model.recipe(text, short)
                with Partial("tied_embeddings/repeat_text", f"clones_{seed}_{tied}", asked, code=__file__) as partial:
                    done.save(unit, {}, repeats.clone_numbers(text, short, tied, partial, lambda step, loss: None))
            elif unit not in done:
                asked = (models, own.language_models[experiment], experiment, tied, seed, sentences)
                done.save(unit, {}, repeats.language_model_numbers(params, *asked, lambda step, loss: None))
            rows += repeats.rows_of(experiment, seed, tied, done.note(unit))
    path = results.KEPT / "text_seeds.csv"
    save_text(path, to_csv(rows))
    print(f"{len(wanted)} trainings ({done.resumed} resumed) of {len(own.seeds)} seeds, {len(rows)} numbers in {path}")


if __name__ == "__main__":
    run(main)

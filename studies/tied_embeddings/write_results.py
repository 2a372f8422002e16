"""Write the tables of RESULTS.md, and draw one of its figures, from the numbers that are kept in full_length/.

Reads   studies/tied_embeddings/full_length/   distances, scores and verdicts, seed by seed
Writes  studies/tied_embeddings/RESULTS.md     the parts between its `made:` comments; with --keep also full_length/
        studies/tied_embeddings/figures/seeds.svg

After a run with `steps: 150000` and 20 seeds, --keep takes its tables and metrics into full_length/ first.

Example: python studies/tied_embeddings/write_results.py
"""

import argparse

from linear_shortcuts.settings import add_params, run
from tied_embeddings import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="take the tables of the last run into full_length/ first")
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params)

    from linear_shortcuts.figures import printing
    from linear_shortcuts.files.documents import fill
    from tied_embeddings import results, seed_figures

    if args.keep:
        results.keep(study.TABLES, study.METRICS)
    made = results.parts(settings)
    fill(results.PAGE, made)
    drawn = seed_figures.differences(results.seed_differences(results.load("text_seeds")))
    printing.save(drawn, {"svg": study.STUDY / "figures"}, "seeds")
    print(f"{len(made)} tables in {results.PAGE}, a figure beside it, from {results.KEPT}")


if __name__ == "__main__":
    run(main)

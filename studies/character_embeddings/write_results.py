"""Write the tables of the README from the tracked metrics.

Reads   studies/character_embeddings/metrics/generated/metrics.json, metrics/surnames/tables.json
Writes  studies/character_embeddings/README.md   the parts between its `made:` comments; with --keep also tables.json

After a run with `names: surnames`, --keep takes its tables into metrics/surnames/ first.

Example: python studies/character_embeddings/write_results.py
"""

import argparse

from linear_shortcuts.settings import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="take the tables of the run on the surnames first")
    args = parser.parse_args()

    from character_embeddings import results
    from linear_shortcuts.files.documents import fill

    if args.keep:
        results.keep()
    made = results.parts()
    fill(results.PAGE, made)
    print(f"{len(made)} tables in {results.PAGE}")


if __name__ == "__main__":
    run(main)

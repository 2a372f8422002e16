"""Write the table of the README that is of the sweep from the tracked metrics.

Reads   studies/character_embeddings/metrics/generated/metrics.json   from stage 07
Writes  studies/character_embeddings/README.md                        the part between its `made:` comments

Example: python studies/character_embeddings/write_results.py
"""

import argparse

from character_embeddings import settings as study
from linear_shortcuts.settings import run


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

    from character_embeddings import results
    from linear_shortcuts.files import artifacts
    from linear_shortcuts.files.documents import fill

    path = study.Folders("generated").metrics
    fill(results.PAGE, results.parts(artifacts.load_json(path, made_by=f"{study.STUDY}/07_report.py")))
    print(f"the sweep in {results.PAGE}, from {path}")


if __name__ == "__main__":
    run(main)

"""Write the tables of the study's README from the numbers that git tracks.

Reads   studies/traveling_words/metrics/   of stage 05, for tiny-gpt2 and, by --params smollm2.yaml, for SmolLM2-135M;
        phrases.json from follow_phrases.py
Writes  studies/traveling_words/README.md   the parts between its `made:` comments

Example: python studies/traveling_words/write_results.py
"""

import argparse

from linear_shortcuts.settings import run
from traveling_words import settings as study


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()

    from linear_shortcuts.files.documents import fill
    from traveling_words import results

    made = results.parts(*results.load())
    fill(study.README, made)
    print(f"{len(made)} tables in {study.README}")


if __name__ == "__main__":
    run(main)

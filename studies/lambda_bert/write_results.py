"""Write the tables of the study's README from the numbers that git tracks.

Reads   studies/lambda_bert/metrics/, from 09_compare_variants.py, and kept.json: what was measured by hand
Writes  studies/lambda_bert/README.md   the parts between its `made:` comments

Example: python studies/lambda_bert/write_results.py
"""

from lambda_bert import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)

    from lambda_bert import page
    from linear_shortcuts.files.documents import fill

    made = page.parts(study.read(args.params))
    fill(study.README, made)
    print(f"{len(made)} parts of {study.README}")


if __name__ == "__main__":
    run(main)

"""Write the tables of the study's README from those of the last run.

Reads   studies/lenses/tables/      from 07_report.py
Writes  studies/lenses/README.md    the parts between its `made:` comments

Example: python studies/lenses/write_results.py
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    parse_args(__doc__, model=False, params=study.PARAMS)

    from lenses import page
    from linear_shortcuts.files import InputError
    from linear_shortcuts.files.documents import fill

    made = {}
    for name in page.NAMES:
        path = study.TABLES / f"{name}.md"
        if not path.is_file():
            raise InputError(f"{path} does not exist; run studies/lenses/07_report.py first")
        made[name] = path.read_text(encoding="utf-8")
    fill(study.README, made)
    print(f"{len(made)} parts of {study.README}, from {study.TABLES}")


if __name__ == "__main__":
    run(main)

"""Write the tables of the study's README from what was kept of its runs.

Reads   studies/shorter_models/results/MODEL.json   kept tables
Writes  studies/shorter_models/README.md            the parts between its `made:` comments

After a run, --keep takes the tables and the figure of a model into results/ and figures/ first.

Example: python studies/shorter_models/write_results.py --keep tiny-gpt2
"""

import argparse
import json
import shutil

from linear_shortcuts.settings import run
from shorter_models import settings as study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", metavar="MODEL", help="take the tables of that model's run first")
    args = parser.parse_args()

    from linear_shortcuts.files import InputError
    from linear_shortcuts.files.documents import fill
    from shorter_models import page

    if args.keep:
        for made, kept in study.kept(args.keep).items():
            if not made.is_file():
                raise InputError(f"{made} does not exist; run studies/shorter_models/04_report.py first")
            kept.parent.mkdir(exist_ok=True)
            shutil.copyfile(made, kept)
    results = {path.stem: json.loads(path.read_text()) for path in sorted(study.RESULTS.glob("*.json"))}
    parts = page.parts(results)
    fill(study.README, parts)
    print(f"{len(parts)} parts of {study.README}, of {', '.join(results)}")


if __name__ == "__main__":
    run(main)

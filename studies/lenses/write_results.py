"""Write the tables of the study's README from the runs that are kept.

Reads   studies/lenses/results/MODEL/CORPUS.json   what is kept of a run
Writes  studies/lenses/README.md                   the parts between its `made:` comments

After a run, --keep takes its tables into results/ and its figures into figures/ first.

Example: python studies/lenses/write_results.py --keep
"""

import argparse

from lenses import settings as study
from linear_shortcuts.settings import add_params, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="take what 07_report.py made with these settings first")
    add_params(parser, study.PARAMS)
    args = parser.parse_args()
    settings = study.read(args.params)

    import shutil

    from lenses import kept, page, report
    from linear_shortcuts.files import artifacts, documents

    if args.keep:
        results = study.Report(args.params)
        names = (*report.MAKERS, "answers")
        made = {name: artifacts.load_json(results.tables / f"{name}.json", made_by="07_report.py") for name in names}
        for model in settings.models:
            chosen = kept.chosen(made, model)
            kept.save(study.KEPT / model / f"{settings.corpus}.json", chosen)
            for figure in (results.plots / "figures").glob(f"*_{model}.svg") if page.main(chosen) else ():
                shutil.copyfile(figure, study.FIGURES / figure.name)
    parts = page.parts(list(kept.runs(study.KEPT)))
    documents.fill(study.README, parts)
    print(f"{len(parts)} parts of {study.README}, from {study.KEPT}")


if __name__ == "__main__":
    run(main)

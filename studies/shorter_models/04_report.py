"""Draw the study's figures and write its tables and metrics, over all models of its settings.

Reads   studies/shorter_models/data/calibrated/, data/judged/, data/costs/   from 01 to 03
Writes  studies/shorter_models/tables/MODEL.json  all tables of a model
        studies/shorter_models/plots/             figures as SVG, PDF and PNG
        studies/shorter_models/metrics/metrics.json

Example: python studies/shorter_models/04_report.py
"""

from linear_shortcuts.settings import parse_args, run
from shorter_models import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, atomic
    from shorter_models import figures, report

    made = {model: report.results(settings, model) for model in settings.models}
    with atomic.atomic_folder(study.TABLES) as coming:
        for model, tables in made.items():
            artifacts.save_json(coming / f"{model}.json", tables)
    with atomic.atomic_folder(study.PLOTS) as coming:
        kinds = {"svg": coming / "figures", "pdf": coming / "pdf", "png": coming / "png"}
        for model, tables in made.items():
            printing.save(figures.worth_figure(tables["worth"], model), kinds, model)
    artifacts.save_json(study.METRICS, report.metrics(made))
    print(f"{len(made)} models: tables in {study.TABLES}, figures in {study.PLOTS}, metrics in {study.METRICS}")


if __name__ == "__main__":
    run(main)

"""Draw the study's figures and write its tables and metrics, over all models of its settings.

Reads   studies/lenses/data/MODEL/CORPUS/agreement.pickle, latent.pickle   from 05 and 06
Writes  studies/lenses/tables/    every table as JSON, of all models
        studies/lenses/plots/     figures as SVG, PDF and PNG, of every model its own
        studies/lenses/metrics/metrics.json

With settings of another file than the study's own, say smollm2.yaml, these lie in studies/lenses/runs/smollm2/.

Example: python studies/lenses/07_report.py
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from lenses import answers, figures, report
    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, atomic

    found = [report.Found(settings, model) for model in settings.models]
    makers = {**report.MAKERS, "answers": answers.answers_table}
    made = {name: [record for own in found for record in make(own)] for name, make in makers.items()}
    results = study.Report(args.params)
    with atomic.atomic_folder(results.tables) as coming:
        for name, table in made.items():
            artifacts.save_json(coming / f"{name}.json", table)
    with atomic.atomic_folder(results.plots) as coming:
        kinds = {"svg": coming / "figures", "pdf": coming / "pdf", "png": coming / "png"}
        for model in settings.models:
            for name, figure in figures.of(made, model).items():
                printing.save(figure, kinds, f"{name}_{model}")
    artifacts.save_json(results.metrics, report.metrics(made, settings.models))
    print(f"{len(made)} tables in {results.tables}, figures in {results.plots}, metrics in {results.metrics}")


if __name__ == "__main__":
    run(main)

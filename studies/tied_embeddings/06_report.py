"""Draw the study's figures and write its tables and metrics from what the other stages found.

Reads   studies/tied_embeddings/data/measures/    of every experiment in `run`, from 03_measure.py
Writes  studies/tied_embeddings/tables/  every table as JSON and CSV
        studies/tied_embeddings/plots/   figures as SVG, PDF and PNG; tables for DVC
        studies/tied_embeddings/metrics/metrics.json

Example: python studies/tied_embeddings/06_report.py
"""

from linear_shortcuts.settings import parse_args, run
from tied_embeddings import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, atomic, save_table
    from tied_embeddings import report

    found = report.load(settings)
    records = report.tables_of(found)
    with atomic.atomic_folder(study.TABLES) as coming:  # nothing stays of experiments no longer run
        for name, table in records.items():
            save_table(coming, name, table)
    figures = report.figures_of(found, settings)
    with atomic.atomic_folder(study.PLOTS) as coming:
        kinds = {"svg": coming / "figures", "pdf": coming / "pdf", "png": coming / "png"}
        for name, figure in figures.items():
            printing.save(figure, kinds, name)
        for name, table in report.plot_tables(found).items():
            artifacts.save_json(coming / name / f"{name}.json", table)
    artifacts.save_json(study.METRICS, report.metrics_of(found))
    print(
        f"{len(found)} experiments: {len(records)} tables in {study.TABLES}, {len(figures)} figures in {study.PLOTS}, "
        f"metrics in {study.METRICS}"
    )


if __name__ == "__main__":
    run(main)

"""Draw the study's figures and write its tables and metrics from what the other stages found.

Reads   studies/character_embeddings/data/SOURCE/   everything from stages 01 to 06
Writes  studies/character_embeddings/tables/SOURCE/   baselines, sweep, maps, neighbours and more as CSV and JSON
        studies/character_embeddings/plots/SOURCE/    figures as SVG, PDF and PNG; tables for DVC
        studies/character_embeddings/metrics/SOURCE/metrics.json

Example: python studies/character_embeddings/07_report.py
"""

from character_embeddings import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from character_embeddings import report
    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, save_table

    folders = study.Folders(settings.names)
    found = report.load(settings)
    records = report.tables_of(found, settings)
    for name, table in records.items():
        save_table(folders.tables, name, table)
    figures = report.figures_of(found, records)
    kinds = {"svg": folders.plots / "figures", "pdf": folders.plots / "pdf", "png": folders.plots / "png"}
    for name, figure in figures.items():
        printing.save(figure, kinds, name)
    for name, table in report.plot_tables(found).items():
        artifacts.save_json(folders.plots / name / f"{name}.json", table)
    artifacts.save_json(folders.metrics, report.metrics_of(found))
    print(
        f"{settings.names}: {len(records)} tables in {folders.tables}, {len(figures)} figures in {folders.plots}, "
        f"metrics in {folders.metrics}"
    )


if __name__ == "__main__":
    run(main)

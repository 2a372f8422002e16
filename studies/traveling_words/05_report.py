"""Draw the study's figures and write its tables, logs and metrics from what the other stages found.

Reads   studies/traveling_words/data/MODEL/   embeddings.pickle, nouns/, heads/, trajectory.pickle from stages 01 to 04
Writes  studies/traveling_words/tables/MODEL/   every table as JSON, CSV and Markdown; LaTeX tables; logs
        studies/traveling_words/plots/MODEL/    figures as SVG, PDF and PNG; trajectory.html; tables for DVC
        studies/traveling_words/metrics/MODEL/metrics.json

Example: python studies/traveling_words/05_report.py
"""

from linear_shortcuts.settings import parse_args, run
from traveling_words import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, atomic, save_table, save_text
    from traveling_words import formats, report

    folders = study.Folders(settings.model)
    found = report.load(folders)
    vocabulary = report.load_vocabulary(settings)
    records = report.tables_of(found, vocabulary)
    with atomic.atomic_folder(folders.tables) as coming:  # nothing stays of other blocks
        for name, table in records.items():
            save_table(coming, name, table, formats.to_markdown(table))
        for name, text in report.texts_of(found, records, settings.singular.table_words).items():
            save_text(coming / name, text)
    figures = report.figures_of(found, records, vocabulary, settings.model)
    with atomic.atomic_folder(folders.plots) as coming:
        kinds = {"svg": coming / "figures", "pdf": coming / "pdf", "png": coming / "png"}
        for name, figure in figures.items():
            printing.save(figure, kinds, name)
        for name, table in report.plot_tables(records).items():
            artifacts.save_json(coming / name / f"{name}.json", table)
        save_text(coming / "html" / "trajectory.html", report.page_of(found, vocabulary, settings.model))
    artifacts.save_json(folders.metrics, report.metrics_of(found))
    print(
        f"{settings.model}: {len(records)} tables in {folders.tables}, {len(figures)} figures in {folders.plots}, "
        f"metrics in {folders.metrics}"
    )


if __name__ == "__main__":
    run(main)

"""Draw the figures of the experiments on text and write their tables and metrics.

Reads   studies/tied_embeddings/data/clones/, data/language_models/   from stages 04 and 05
Writes  studies/tied_embeddings/text/   tables as JSON and CSV; figures as SVG, PDF and PNG; tables for DVC
        studies/tied_embeddings/metrics/text.json

Example: python studies/tied_embeddings/07_report_text.py
"""

from linear_shortcuts.settings import parse_args, run
from tied_embeddings import settings as study


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, atomic, save_table
    from tied_embeddings import text_report

    found = text_report.load(settings)
    records = text_report.tables_of(found)
    with atomic.atomic_folder(text_report.FOLDER) as coming:
        for name, table in records.items():
            save_table(coming / "tables", name, table)
        kinds = {"svg": coming / "figures", "pdf": coming / "pdf", "png": coming / "png"}
        figures = text_report.figures_of(found, records)
        for name, figure in figures.items():
            printing.save(figure, kinds, name)
        for name, table in text_report.plot_tables(records).items():
            artifacts.save_json(coming / name / f"{name}.json", table)
    artifacts.save_json(text_report.METRICS, text_report.metrics_of(found))
    print(f"{len(records)} tables and {len(figures)} figures in {text_report.FOLDER}, metrics in {text_report.METRICS}")


if __name__ == "__main__":
    run(main)

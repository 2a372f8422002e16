"""Draw the figures of short-cuts and lambdas, and write their tables.

Reads   studies/lambda_bert/data/TEXT/TASK/   shortcuts/MODEL/scores.pickle and lambdas/ from stages 05 and 06
Writes  studies/lambda_bert/tables/TEXT/TASK/report/   shortcuts, spectra, probes, soundness of readings, and the tokens
        nearest to rows, columns and keys, each as JSON and Markdown
        studies/lambda_bert/plots/TEXT/TASK/report/    every figure as SVG, PDF and PNG
        studies/lambda_bert/metrics/TEXT/TASK/metrics.json

Example: python studies/lambda_bert/07_report.py
"""

from lambda_bert import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)
    from lambda_bert import figures, report
    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, atomic, save_text

    folders = settings.folders
    shortcuts, lambdas = report.load_shortcuts(settings), report.load_lambdas(settings)
    tables = {"shortcuts": report.shortcut_table(shortcuts), **report.lambda_tables(lambdas)}
    with atomic.atomic_folder(folders.report_tables) as coming:
        for name, records in tables.items():
            artifacts.save_json(coming / f"{name}.json", records)
            save_text(coming / f"{name}.md", report.markdown(records))
    compared = {name: shortcuts[name] for name in settings.shortcuts.compared}
    drawn = {
        "r2": figures.r2_heatmaps(compared),
        "exits": figures.exit_lines(compared),
        "parts": figures.part_lines(compared),
        "lambdas": figures.lambda_panels(lambdas["spectra"], lambdas["cka"]),
        "probes": figures.probe_lines(lambdas["probes"]),
    }
    with atomic.atomic_folder(folders.report_plots) as coming:
        for name, figure in drawn.items():
            printing.save(figure, {kind: coming / kind for kind in ("svg", "pdf", "png")}, name)
    artifacts.save_json(folders.metrics, report.metrics(tables["shortcuts"], lambdas))
    print(f"{len(tables)} tables in {folders.report_tables}, {len(drawn)} figures in {folders.report_plots}")


if __name__ == "__main__":
    run(main)

"""Draw the study's figures and write its tables and metrics, over all models of its settings.

Reads   studies/lenses/data/MODEL/CORPUS/agreement.pickle, latent.pickle   from 05 and 06
Writes  studies/lenses/tables/    every table as JSON and Markdown
        studies/lenses/plots/     figures as SVG, PDF and PNG
        studies/lenses/metrics/metrics.json

Example: python studies/lenses/07_report.py
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=study.PARAMS)
    settings = study.read(args.params)

    from lenses import figures, page, report
    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, atomic, save_text

    made, found = report.tables(settings)
    with atomic.atomic_folder(study.TABLES) as coming:
        for name, table in made.items():
            artifacts.save_json(coming / f"{name}.json", table)
        for name, text in page.parts(found, made).items():
            save_text(coming / f"{name}.md", text + "\n")
    models = list(settings.models)
    drawn = {
        "agreement": figures.agreement_figure(made["agreement"], models),
        "costs": figures.costs_figure(made["costs"], models),
        **{f"pairs_{model}": figures.pairs_figure(made["pairs"], model) for model in models},
        **{f"latent_{own.model}": figures.latent_figure(made["latent"], own.model) for own in found if own.latent},
    }
    with atomic.atomic_folder(study.PLOTS) as coming:
        kinds = {"svg": coming / "figures", "pdf": coming / "pdf", "png": coming / "png"}
        for name, figure in drawn.items():
            printing.save(figure, kinds, name)
    artifacts.save_json(study.METRICS, report.metrics(made, models))
    print(f"{len(made)} tables in {study.TABLES}, {len(drawn)} figures in {study.PLOTS}, metrics in {study.METRICS}")


if __name__ == "__main__":
    run(main)

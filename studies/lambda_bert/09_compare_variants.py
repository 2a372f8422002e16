"""Set LambdaBERTs that lack a part, and BERTs, side by side: means over their seeds, with intervals.

Reads   studies/lambda_bert/ablation/TEXT/TASK/   from 08_ablate.py; whatever is finished counts
Writes  studies/lambda_bert/tables/TEXT/TASK/ablation/   means.csv, .json: a row a variant; differences.csv, .json: the
        same, beside the first of `ablation.variants`
        studies/lambda_bert/plots/TEXT/TASK/ablation/    the losses over the steps, as SVG, PDF and PNG
        studies/lambda_bert/metrics/TEXT/TASK/ablation.json   both tables

Example: python studies/lambda_bert/09_compare_variants.py
"""

from pathlib import Path

from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=Path("studies/lambda_bert/params.yaml"))

    from lambda_bert import ablation, seeds
    from lambda_bert.settings import read
    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, save_table

    settings = read(args.params)
    folders = settings.folders
    found = ablation.load(settings)
    tables = {"means": seeds.means(found), "differences": seeds.differences(found, settings.ablation.variants[0])}
    for name, rows in tables.items():
        save_table(folders.ablation_table, name, rows)
    printing.save(seeds.curves(found), dict.fromkeys(("svg", "pdf", "png"), folders.ablation_plots), "ablation")
    artifacts.save_json(folders.ablation_metrics, tables)
    print(seeds.text(tables["means"]), end="")
    print(f"{settings.text}, {settings.task}: {len(found)} trainings, in {folders.ablation_table}")


if __name__ == "__main__":
    run(main)

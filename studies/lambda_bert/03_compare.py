"""Set the pre-trained models side by side: losses, accuracy, memory and speed.

Reads   studies/lambda_bert/data/TEXT/TASK/   pairs.pickle from 01_prepare_text.py, the models from 02_pretrain.py
Writes  studies/lambda_bert/tables/TEXT/TASK/pretraining/   comparison.csv, .json: a row a model
        studies/lambda_bert/plots/TEXT/TASK/pretraining/    the losses over the steps, as SVG, PDF and PNG
        studies/lambda_bert/metrics/TEXT/TASK/pretraining.json   the table, and of how much text it is
        studies/lambda_bert/timings/TEXT/TASK/speed.json    tokens a second; no two runs agree on them, so that DVC does
                                                            not track them

Example: python studies/lambda_bert/03_compare.py
"""

from pathlib import Path

from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, params=Path("studies/lambda_bert/params.yaml"))

    from lambda_bert import comparison, study
    from lambda_bert.models import load_model
    from lambda_bert.pretraining import pair_label
    from lambda_bert.settings import read
    from linear_shortcuts.figures import printing
    from linear_shortcuts.files import artifacts, save_table
    from linear_shortcuts.models import load_tokenizer

    settings = read(args.params)
    folders, task = settings.folders, settings.task
    tokenizer = load_tokenizer(settings.tokenizer)
    train, validation = study.load_pairs(settings)
    found = comparison.load_results(settings)
    models = {name: load_model(folders.model(name)) for name in settings.models}
    labels = {name: pair_label(model, task) for name, model in models.items()}
    steps = {
        name: comparison.batches(study.collator(settings, tokenizer, label), train, settings.pretrain.batch, 12)
        for name, label in labels.items()
    }
    held_out = comparison.batches(study.collator(settings, tokenizer), validation, 64)
    floor = comparison.losses_without_context(train, held_out, tokenizer)
    memory = {name: comparison.kept_for_backward(model, steps[name][0]) for name, model in models.items()}
    rows = comparison.table(found, floor, memory)
    save_table(folders.pretraining_table, "comparison", rows)
    artifacts.save_json(folders.pretraining_metrics, comparison.metrics(rows, found, settings.pretrain, len(train)))
    figure = comparison.training_figure(found, floor, task, settings.text)
    printing.save(figure, dict.fromkeys(("svg", "pdf", "png"), folders.pretraining_plots), "pretraining")
    speeds = comparison.speeds(models, steps)
    artifacts.save_json(folders.timings / "speed.json", {"tokens_per_second": speeds})
    print(comparison.text(rows, speeds, task), end="")
    print(f"{settings.text}, {task}: {len(rows)} rows in {folders.pretraining_table}")


if __name__ == "__main__":
    run(main)

"""Pre-train one of the two models on masked tokens and pairs, with Hugging Face's `Trainer`.

Reads   studies/lambda_bert/data/TEXT/TASK/pairs.pickle   from 01_prepare_text.py
Writes  studies/lambda_bert/data/TEXT/TASK/MODEL/   configuration, tokenizer, half-precision weights, log.json,
        results.json and eval_results_lm.txt: the losses and the accuracy on pairs of held-out documents

Both models see the same batches, mask for mask. A killed run continues after its last checkpoint, to the same bytes.
The device is the CPU unless you name another: only there are two runs alike to the last bit.

Example: python studies/lambda_bert/02_pretrain.py --model lambdabert
"""

import argparse
from pathlib import Path

from linear_shortcuts.settings import add_device, add_params, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=("bert", "lambdabert"), help="which of the two")
    add_device(parser)
    add_params(parser, Path("studies/lambda_bert/params.yaml"))
    args = parser.parse_args()

    from lambda_bert import models, pretraining, study
    from lambda_bert.settings import read
    from linear_shortcuts.files import artifacts, atomic
    from linear_shortcuts.models import load_tokenizer
    from linear_shortcuts.settings import one_thread

    settings = read(args.params)
    tokenizer = load_tokenizer(settings.tokenizer)
    train, validation = study.load_pairs(settings)
    recipe = study.recipe(settings, args.model, train)
    with study.work_folder(settings, args.model, recipe) as work, one_thread():
        trainer = study.new_trainer(settings, args.model, tokenizer, train, validation, work, args.device)
        checkpoint = pretraining.newest_checkpoint(work)
        pretraining.train(trainer, checkpoint)
        trainer.model.half().float()  # what is saved, and so what is judged
        results = pretraining.evaluate(trainer, settings.task)
        with atomic.atomic_folder(settings.folders.model(args.model)) as coming:
            models.save_model(coming, trainer.model, tokenizer)
            artifacts.save_json(coming / "results.json", results)
            artifacts.save_json(coming / "log.json", study.history(trainer))
            pretraining.save_results(coming, results)
    resumed = "from the start" if checkpoint is None else f"continued from {checkpoint.name}"
    print(
        f"{args.model}: {settings.pretrain.steps:,} steps ({resumed}), MLM loss {results['mlm_loss']:.3f} nats "
        f"({results['mask_loss']:.3f} at [MASK]), {settings.task.upper()} accuracy {results['pair_accuracy']:.3f}, "
        f"in {settings.folders.model(args.model)}"
    )


if __name__ == "__main__":
    run(main)

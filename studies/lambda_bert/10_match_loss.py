"""Pre-train a LambdaBERT until it loses no more at [MASK] than the trained BERT, so that the two can be compared.

Reads   studies/lambda_bert/data/TEXT/TASK/pairs.pickle        from 01_prepare_text.py
        studies/lambda_bert/data/TEXT/TASK/bert/results.json   from 02_pretrain.py: the loss to come down to
Writes  studies/lambda_bert/data/TEXT/TASK/early-lambdabert/   configuration, tokenizer, half-precision weights,
        log.json and results.json: as 02_pretrain.py writes them, and `step`, after which the training was ended

It is the training of 02_pretrain.py, broken off: the learning rate is still near its peak, where BERT's has come to 0.

Example: python studies/lambda_bert/10_match_loss.py
"""

from lambda_bert.settings import EARLY, PARAMS, read
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, model=False, device=True, params=PARAMS)

    from lambda_bert import models, pretraining, study
    from linear_shortcuts.files import artifacts, atomic
    from linear_shortcuts.models import load_tokenizer
    from linear_shortcuts.settings import one_thread

    settings = read(args.params)
    tokenizer = load_tokenizer(settings.tokenizer)
    train, validation = study.load_pairs(settings)
    results = settings.folders.model("bert") / "results.json"
    wanted = artifacts.load_json(results, made_by="studies/lambda_bert/02_pretrain.py --model bert")["mask_loss"]
    every = settings.matching.steps_per_evaluation
    recipe = {**study.recipe(settings, "lambdabert", train), "until": wanted, "every": every}
    with study.work_folder(settings, EARLY, recipe, "10_match_loss") as work, one_thread():
        trainer = study.new_trainer(settings, "lambdabert", tokenizer, train, validation, work, args.device)
        trainer.args.eval_steps = every
        trainer.add_callback(pretraining.Until(wanted))
        pretraining.train(trainer, pretraining.newest_checkpoint(work))
        trainer.model.half().float()  # what is saved, and so what is judged
        found = {**pretraining.evaluate(trainer, settings.task), "step": trainer.state.global_step}
        with atomic.atomic_folder(settings.folders.model(EARLY)) as coming:
            models.save_model(coming, trainer.model, tokenizer)
            artifacts.save_json(coming / "results.json", found)
            artifacts.save_json(coming / "log.json", study.history(trainer))
    print(
        f"lambdabert: {found['mask_loss']:.3f} nats at [MASK] after {found['step']:,} steps, where bert has "
        f"{wanted:.3f} after {settings.pretrain.steps:,}, in {settings.folders.model(EARLY)}"
    )


if __name__ == "__main__":
    run(main)

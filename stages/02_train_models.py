"""Train one of the small models this project ships, on the docstrings of the installed packages.

Reads   the installed packages' source files; `training` in params.yaml
Writes  models/MODEL/   config, tokenizer, half-precision weights, model card

The stage is frozen in dvc.yaml, because its results are in git. To train anew (about an hour on two cores; change the
model's `revision` in `registry` afterwards, so that DVC runs its stages anew). What a run has finished waits
in data/.work and is taken up by the next, even where the model was deleted: delete data/.work to start over.

Example: python stages/02_train_models.py --model tiny-gpt2
"""

from pathlib import Path

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__)
    from tqdm import tqdm

    from linear_shortcuts.files import Partial
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.text import docstrings, make_splitter
    from linear_shortcuts.training import judgement, loop, tokenizers, training_text

    params = read_params(args.params)
    if args.model not in params.training:
        raise InputError(f"--model {args.model} is not in `training`; it has {', '.join(params.training)}")
    settings = params.training[args.model]
    split, _ = make_splitter("sentencizer")
    packages = tqdm(docstrings.installed_packages(), desc="read docstrings", unit="package", disable=None)
    text = training_text.read_training_text(split, packages, settings.seed)
    tokenizer = tokenizers.train_tokenizer(settings, (sentence for file in text.train for sentence in file))
    rows = {context: tokenizers.pack(text.train, tokenizer, context) for context in settings.contexts}
    tokens = rows[settings.context].size

    recipe = {"settings": vars(settings), "text": text.sha256}
    with Partial("02_train_models", args.model, recipe, code=__file__) as partial:
        resumed, _ = loop.newest_checkpoint(partial)
        with tqdm(total=settings.steps, desc=f"{args.model}: train", unit="step", disable=None) as bar:

            def show(step: int, loss: float) -> None:
                bar.update(step - bar.n)
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

            model = loop.train(settings, rows, tokenizer, partial, show)
        held_out_rows = tokenizers.pack(text.held_out, tokenizer, settings.context)
        half = model.half().float()  # what a user loads, and so what is judged
        result = judgement.evaluate(half, settings, held_out_rows, tokenizer)
        folder = Path("models") / args.model
        made_by = f"python stages/02_train_models.py --model {args.model}"
        card = judgement.model_card(args.model, settings, text, tokens, result, made_by)
        judgement.save_model(folder, half, tokenizer, card)
        partial.forget_others()
    print(
        f"{args.model}: {settings.steps:,} steps ({resumed:,} resumed) on {tokens:,} tokens, held-out loss "
        f"{result.loss:.3f} nats (unigram {result.unigram_entropy:.3f}), in {folder}"
    )


if __name__ == "__main__":
    run(main)

"""Short-cut one model as the main pipeline does: fit its layer maps and stand-ins of its parts, and leave early.

Reads   studies/lambda_bert/data/TEXT/TASK/MODEL/, from 02_pretrain.py, 04_distil.py or 10_match_loss.py, or a model of
        the project's registry; data/sentences/CORPUS.pickle, from the project's own stages/01_fetch_sentences.py; seed,
        thresholds and the like are those of the project's params.yaml
Writes  studies/lambda_bert/data/TEXT/TASK/shortcuts/MODEL/   layers/, submodules/: a matrix a file, as linreg/ has
        them; scores.pickle: r2 of layer maps and of parts, every exit's scores, what sums them up, and the
        model's loss at a masked token

MODEL is bert or lambdabert, one of them after `distilled-`, early-lambdabert, or one of `shortcuts.beside` in the
study's params.yaml.

Example: python studies/lambda_bert/05_shortcut.py --model lambdabert
"""

from lambda_bert import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True, params=study.PARAMS)
    settings = study.read(args.params)
    from functools import partial

    from tqdm import tqdm

    from lambda_bert import distillation, shortcut
    from linear_shortcuts.files import artifacts, atomic
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.text import tokens

    params = read_params(study.REGISTRY)
    model, tokenizer = shortcut.load_subject(settings, params, args.model, args.device)
    texts = shortcut.load_sentences(params)
    longest = model.network.config.max_position_embeddings
    judged = distillation.judged(texts["validation"], tokenizer, longest, settings.distil)
    loss = distillation.masked_loss(model.network, judged, tokenizer, settings.distil, settings.seed)
    sentences = shortcut.tokenize(model, tokenizer, texts, params)
    tokens.check_rows(len(sentences["train"]), model.width)
    bar = partial(tqdm, disable=None)
    shards = {
        split: shortcut.extract(model, part, params, partial(bar, desc=f"{args.model}: {split}", unit=" shards"))
        for split, part in sentences.items()
    }
    folder = settings.folders.shortcuts(args.model)
    with atomic.atomic_folder(folder) as coming:
        fitted = shortcut.fit(model, shards["train"], coming)
        steps = partial(bar, desc=f"{args.model}: exits", unit=" chunks")
        found = shortcut.score(model, sentences["validation"], shards["validation"], *fitted, params, steps)
        lengths = {split: len(part) for split, part in sentences.items()}
        card = {"model": dict(model.identity), "corpus": params.corpus, "sentences": lengths, "seed": params.seed}
        artifacts.save(coming / "scores.pickle", {**found, "loss": loss, "card": card})
    mat = found["metrics"]["mat"]
    print(
        f"{args.model}: {len(fitted[0])} layer maps (mean r2 {mat['r2']:.3f}) and {len(fitted[1])} stand-ins from "
        f"{lengths['train']:,} sentences, scored on {lengths['validation']:,}, in {folder}"
    )


if __name__ == "__main__":
    run(main)

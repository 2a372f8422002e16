"""Score, for one model, how far every lens agrees with the full model at every layer, token by token.

Reads   data/MODEL/CORPUS/tokens_validation.pickle, hidden_validation/   from the main pipeline, and the model
        studies/lenses/data/MODEL/CORPUS/closed_forms/, future/, jacobian/, tuned/   the lenses, from 01 to 04
Writes  studies/lenses/data/MODEL/CORPUS/agreement.pickle   `values`: by layer and lens, per sentence, KL, cross-entropy
        and surprisal (nats), whether the best token is among the full model's first 1, 5, 10; r2, costs, cosines

Resumes after a kill, layer by layer; shares the layers out to the ranks that torchrun starts.

Example: python studies/lenses/05_score_agreement.py --model tiny-gpt2
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from tqdm import tqdm

    from lenses import comparison, fitted, start, text
    from linear_shortcuts.files import Partial, artifacts
    from linear_shortcuts.models import load_registered_tokenizer

    own, model, folders = start.begin(args, settings)
    lenses = fitted.load_all(settings, folders, model)
    tokenizer = load_registered_tokenizer(settings.registered(args.model))
    read = text.validation(folders.pipeline, model, tokenizer, settings.sentences)
    card = {"states": read.fingerprint, "sentences": settings.sentences, "lenses": comparison.fingerprints(lenses)}
    card["type"] = model.network.config.model_type
    recipe = {**card, "device": model.device.type}
    with Partial("lenses/05_score_agreement", folders.item, recipe, ranks=own, code=__file__) as partial:
        layers = settings.layers(model.layers)
        todo = own.share([layer for layer in layers if layer not in partial])
        for layer in tqdm(todo, desc=f"{args.model}: agreement", unit=" layers", disable=own.hide):
            partial.save(layer, {f"{layer}.pickle": comparison.at_layer(model, lenses, layer, read)})
        if not partial.gather():
            return
        values = {layer: partial.load(f"{layer}.pickle") for layer in layers}
        costs = comparison.costs(lenses)
        artifacts.save(folders.agreement, {"values": values, "bytes": read.bytes, "costs": costs, "card": card})
        partial.forget_others()
    print(f"{args.model}: {len(lenses)} lenses at {len(layers)} layers ({partial.resumed} resumed)")


if __name__ == "__main__":
    run(main)

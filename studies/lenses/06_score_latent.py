"""Score, for one causal model, whether every lens finds the words that prompts should bring to mind.

Reads   the folder of prompts that params.yaml names under `evaluations`, and the model
        studies/lenses/data/MODEL/CORPUS/closed_forms/, future/, jacobian/, tuned/   the lenses, from 01 to 04
Writes  studies/lenses/data/MODEL/CORPUS/latent.pickle   `ranks`: by set of prompts and lens, (layers, words); empty
        where there is no such folder or the model is a masked one

Resumes after a kill, set by set; shares the sets out to the ranks that torchrun starts.

Example: python studies/lenses/06_score_latent.py --model tiny-gpt2
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from tqdm import tqdm

    from lenses import comparison, fitted, start
    from linear_shortcuts.files import Partial, artifacts
    from linear_shortcuts.models import load_registered_tokenizer
    from linear_shortcuts.scores import latent

    own, model, folders = start.begin(args, settings)
    lenses = fitted.load(folders, settings.groups, model)
    kinds = latent.SETS if settings.evaluations is not None and model.family.causal else ()
    tokenizer = load_registered_tokenizer(settings.registered(args.model))
    sets = {kind: latent.read_items(settings.evaluations, kind, tokenizer) for kind in kinds}
    layers = [i for i in settings.layers(model.layers) if all(i in own_set for own_set in lenses.values())]
    asked = {kind: [[item.name, item.ids.tolist(), item.words] for item in items] for kind, (items, _) in sets.items()}
    recipe = {"lenses": comparison.fingerprints(lenses), "asked": asked, "layers": layers, "device": model.device.type}
    with Partial("lenses/06_score_latent", folders.item, recipe, ranks=own, code=__file__) as partial:
        todo = own.share([kind for kind in sets if kind not in partial])
        for kind in tqdm(todo, desc=f"{args.model}: latent", unit=" sets", disable=own.hide):
            partial.save(kind, {f"{kind}.pickle": comparison.word_ranks(model, lenses, sets[kind][0], layers)})
        if not partial.gather():
            return
        found = {kind: partial.load(f"{kind}.pickle") for kind in sets}
        words = {kind: [len(item.words) for item in items] for kind, (items, _) in sets.items()}
        left_out = {kind: number for kind, (_, number) in sets.items()}
        artifacts.save(folders.latent, {"ranks": found, "words": words, "left_out": left_out, "layers": layers})
        partial.forget_others()
    print(f"{args.model}: {len(sets)} sets of prompts ({partial.resumed} resumed), in {folders.latent}")


if __name__ == "__main__":
    run(main)

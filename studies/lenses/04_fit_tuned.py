"""Tune, for one model, a lens for every layer: KL to the full model by gradient, from `affine`.

Reads   data/MODEL/CORPUS/hidden_train/                        the main pipeline's states, and the model
        studies/lenses/data/MODEL/CORPUS/closed_forms/affine/  from 01_fit_closed_forms.py
Writes  studies/lenses/data/MODEL/CORPUS/tuned/tuned/          lenses.safetensors and card.json

Resumes after a kill, layer by layer; shares the layers out to the ranks that torchrun starts.

Example: python studies/lenses/04_fit_tuned.py --model tiny-gpt2
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from time import process_time

    from tqdm import tqdm

    from lenses import fitted, start, text
    from linear_shortcuts.files import Partial
    from linear_shortcuts.lenses import LensSet, tuned
    from linear_shortcuts.states import provenance
    from linear_shortcuts.states.shards import HiddenStates

    own, model, folders = start.begin(args, settings)
    states = HiddenStates.open(folders.pipeline.hidden("train"), made_by=text.MADE_BY)
    provenance.check_model(states.card, model, states.folder, made_by=text.MADE_BY)
    affine = fitted.load(folders, ["closed_forms"], model)["affine"]
    how = tuned.Recipe(**vars(settings.tuned), seed=settings.seed)
    recipe = {"states": states.fingerprint, "affine": affine.card["files"], **vars(how), "device": model.device.type}
    with Partial("lenses/04_fit_tuned", folders.item, recipe, ranks=own, code=__file__) as partial:
        todo = own.share([source for source in affine if source not in partial])
        with tqdm(total=len(todo) * how.tokens, desc=f"{args.model}: tuned", unit=" tokens", disable=own.hide) as bar:
            last = states.layer(model.layers, model.device) if todo else None
            for source in todo:
                began = process_time()
                lens, found = tuned.tune(
                    model, affine[source], states.layer(source, model.device), last, how, tell=bar.update
                )
                partial.save(source, {f"{source}.pickle": lens.tensors}, {**found, **fitted.spent(began)})
        if not partial.gather():
            return
        notes = {str(source): partial.note(source) for source in affine}
        tensors = {key: value for i in affine for key, value in partial.load(f"{i}.pickle").items()}
        card = fitted.card(model, "tuned", notes.values(), vectors=len(states), recipe=vars(how), layers=notes)
        fitted.save(folders.fitted("tuned"), {"tuned": LensSet.of_tensors(tensors, card, list(affine), model.layers)})
        partial.forget_others()
    print(f"{args.model}: {len(affine)} layers tuned ({partial.resumed} resumed)")


if __name__ == "__main__":
    run(main)

"""Fit, for one model, the lenses that need no training, and the controls of `affine`.

Reads   data/MODEL/CORPUS/hidden_train/, linreg/MODEL/CORPUS/layers/   the main pipeline's states and maps
Writes  studies/lenses/data/MODEL/CORPUS/closed_forms/NAME/            lenses.safetensors and card.json: mat, shift,
        affine, ridge, low_rank_R; affine on either half of each shard, on shuffled targets, and of random direction

Resumes after a kill, fit by fit; shares the fits out to the ranks that torchrun starts.

Example: python studies/lenses/01_fit_closed_forms.py --model tiny-gpt2
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, params=study.PARAMS)
    settings = study.read(args.params)

    from time import process_time

    from tqdm import tqdm

    from lenses import fitted, text
    from linear_shortcuts.files import Partial, ranks
    from linear_shortcuts.lenses import LensSet
    from linear_shortcuts.maps import LayerMaps
    from linear_shortcuts.states.shards import HiddenStates

    own = ranks.join("cpu")
    folders = study.Folders(args.model, settings.corpus)
    states = HiddenStates.open(folders.pipeline.hidden("train"), made_by=text.MADE_BY)
    mat = LensSet.of_maps(LayerMaps.load(folders.pipeline.layer_maps, made_by=text.MADE_BY))
    sources, last = settings.layers(states.layers), states.layers
    how = {"ranks": settings.ranks, "penalties": settings.penalties, "seed": settings.seed}
    recipe = {"states": states.fingerprint, "sources": sources, **how}
    with Partial("lenses/01_fit_closed_forms", folders.item, recipe, ranks=own, code=__file__) as partial:
        todo = own.share([variant for variant in fitted.VARIANTS if variant not in partial])
        for variant in tqdm(todo, desc=f"{args.model}: closed forms", unit=" fits", disable=own.hide):
            began = process_time()
            made = fitted.fit(variant, states, sources, settings)
            partial.save(variant, {f"{variant}.pickle": made}, note=fitted.spent(began))
        if not partial.gather():
            return
        found = {}
        for variant in fitted.VARIANTS:
            how = {"states": states.card["corpus"]["name"], "vectors": len(states), "variant": variant}
            for name, tensors in partial.load(f"{variant}.pickle").items():
                card = fitted.card(states.card, name, [partial.note(variant)], **how)
                found[name] = LensSet.of_tensors(tensors, card, sources, last)
        # Of all layers, as the pipeline made it; the fit above, of those that are read, tells what that costs.
        found["mat"] = LensSet(mat, fitted.card(mat.card, "mat", [partial.note("mat")], **mat.card["fit"]))
        fitted.save(folders.fitted("closed_forms"), found)
        partial.forget_others()
    print(f"{args.model}: {len(found)} lenses of {len(sources)} layers ({partial.resumed} fits resumed)")


if __name__ == "__main__":
    run(main)

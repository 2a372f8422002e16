"""Fit, for one model, the lens `future` on rows of its training text.

Reads   data/MODEL/CORPUS/tokens_train.pickle               from the main pipeline's 03_tokenize.py, and the model
Writes  studies/lenses/data/MODEL/CORPUS/future/future/     lenses.safetensors and card.json

Resumes after a kill, batch of rows by batch of rows, whose states lie in data/.work; shares the batches out to the
ranks that torchrun starts.

Example: python studies/lenses/02_fit_future.py --model tiny-gpt2
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
    from linear_shortcuts.lenses import LensSet, closed_form

    own, model, folders = start.begin(args, settings)
    rows = text.train_rows(folders.pipeline, model, settings.rows.length, settings.future.rows)
    sources, last = settings.layers(model.layers), model.layers
    recipe = {"rows": rows.fingerprint, "sources": sources, **vars(settings.rows), "device": model.device.type}
    with Partial("lenses/02_fit_future", folders.item, recipe, ranks=own, code=__file__) as partial:
        units = {f"{first}_{len(ids)}": ids for first, ids in text.batches(rows.ids)}
        todo = own.share([unit for unit in units if unit not in partial])
        for unit in tqdm(todo, desc=f"{args.model}: rows", unit=" batches", disable=own.hide):
            began = process_time()
            states = text.states_of(model, units[unit])[[*sources, last]][:, :, settings.rows.positions]
            partial.save(unit, {f"{unit}.pickle": states}, note=fitted.spent(began))
        if not partial.gather():
            return
        if (whole := f"whole_{len(rows.ids)}") not in partial:
            began = process_time()
            parts = fitted.Anew(lambda unit: text.ahead(model, partial.load(f"{unit}.pickle")), units)
            found = zip(sources, closed_form.regressions(parts), strict=True)
            made = [closed_form.future(source, last, regression).tensors for source, regression in found]
            tensors = {name: tensor for own in made for name, tensor in own.items()}
            partial.save(whole, {f"{whole}.pickle": tensors}, note=fitted.spent(began))
        took = [partial.note(unit) for unit in (*units, whole)]
        card = fitted.card(model, "future", took, text=rows.card, **vars(settings.rows))
        lenses = LensSet.of_tensors(partial.load(f"{whole}.pickle"), card, sources, last)
        fitted.save(folders.fitted("future"), {"future": lenses})
        partial.forget_others()
    print(
        f"{args.model}: the lens future of {len(lenses)} layers, from {len(rows.ids)} rows ({partial.resumed} resumed)"
    )


if __name__ == "__main__":
    run(main)

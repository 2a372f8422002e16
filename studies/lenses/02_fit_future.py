"""Fit, for one model, the lens `future` on rows of its training text.

Reads   data/MODEL/CORPUS/tokens_train.pickle               from the main pipeline's 03_tokenize.py, and the model
Writes  studies/lenses/data/MODEL/CORPUS/future/future/     lenses.safetensors and card.json

Example: python studies/lenses/02_fit_future.py --model tiny-gpt2
"""

from lenses import settings as study
from linear_shortcuts.settings import parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True, params=study.PARAMS)
    settings = study.read(args.params)

    from time import perf_counter

    from tqdm import tqdm

    from lenses import fitted, text
    from linear_shortcuts.lenses import LensSet, closed_form
    from linear_shortcuts.models import load_registered

    model = load_registered(settings.registered(args.model), args.model, args.device)
    folders = study.Folders(args.model, settings.corpus)
    rows = text.train_rows(folders.pipeline, model, settings.rows.length, settings.future.rows)
    sources, began = settings.layers(model.layers), perf_counter()
    parts, causal = [], model.family.causal
    bar = tqdm(rows.ids.split(text.ROWS), desc=f"{args.model}: rows", unit=" batches", disable=None)
    for ids in bar:
        states = text.states_of(model, ids)[[*sources, model.layers]]
        parts.append(closed_form.future_part(states, len(sources), settings.rows.positions, causal=causal))
    found = zip(sources, closed_form.regressions(parts), strict=True)
    lenses = {source: closed_form.future(source, model.layers, regression) for source, regression in found}
    card = fitted.card(model, "future", perf_counter() - began, text=rows.card, **vars(settings.rows))
    fitted.save(folders.fitted("future"), {"future": LensSet(lenses, card)})
    print(f"{args.model}: the lens future of {len(lenses)} layers, from {len(rows.ids)} rows")


if __name__ == "__main__":
    run(main)

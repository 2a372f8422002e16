"""Fit, for one model, the Jacobian lens on rows of its training text.

Reads   data/MODEL/CORPUS/tokens_train.pickle              from the main pipeline's 03_tokenize.py, and the model
Writes  studies/lenses/data/MODEL/CORPUS/jacobian/final/   lenses.safetensors and card.json; likewise penultimate/, and
        jacobian_first/ and jacobian_second/, to the final layer from either half of the rows

Resumes after a kill, row of text by row of text: each takes a backward pass per coordinate, and counts when more are
asked for. Shares the rows out to the ranks that torchrun starts.

Example: python studies/lenses/03_fit_jacobian.py --model tiny-gpt2
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
    from linear_shortcuts.lenses import jacobian
    from linear_shortcuts.models import arithmetic

    own, model, folders = start.begin(args, settings)
    rows = text.train_rows(folders.pipeline, model, settings.rows.length, settings.jacobian.rows)
    targets = {fitted.FINAL: model.layers, fitted.PENULTIMATE: model.layers - 1}
    recipe = {"rows": rows.fingerprint, **vars(settings.rows), "precision": settings.jacobian.precision}
    with Partial("lenses/03_fit_jacobian", folders.item, recipe, ranks=own, code=__file__) as partial:
        units = [(kind, row) for row in range(len(rows.ids)) for kind in settings.jacobian.targets]
        todo = own.share([unit for unit in units if unit not in partial])
        with tqdm(
            total=len(todo) * model.width, desc=f"{args.model}: jacobian", unit=" passes", disable=own.hide
        ) as bar:
            for kind, row in todo:
                began = process_time()
                with arithmetic(settings.jacobian.precision, model.device):
                    found = jacobian.row_jacobians(
                        model, rows.ids[row], settings.rows.positions, targets[kind], tell=bar.update
                    )
                partial.save((kind, row), {f"{kind}_{row}.pickle": found}, note=fitted.spent(began))
        if not partial.gather():
            return
        made = {}
        for kind in settings.jacobian.targets:
            own_rows = [partial.load(f"{kind}_{row}.pickle") for row in range(len(rows.ids))]
            took = [partial.note((kind, row)) for row in range(len(rows.ids))]
            how = {"text": rows.card, **vars(settings.rows), "precision": settings.jacobian.precision}
            card = fitted.card(model, "jacobian", took, **how)
            made |= fitted.jacobians(own_rows, kind, targets[kind], card)
        fitted.save(folders.fitted("jacobian"), made)
        partial.forget_others()
    print(f"{args.model}: {len(made)} lenses from {len(rows.ids)} rows ({partial.resumed} resumed)")


if __name__ == "__main__":
    run(main)

"""Sweep the confidence threshold of early exit, from the read-outs of the fixed exits: no model is run.

Reads   data/MODEL/CORPUS/fixed_exits.pickle   from 08_score_exits.py
Writes  data/MODEL/CORPUS/early_exits.pickle   `records`: for `mat` and `id` and each lambda, per sample, the exit
        layer, the top-10 token ids and the surprisal; mean layers; cost relative to the full model

Example: python stages/09_score_early_exits.py --model tiny-gpt2
"""

from linear_shortcuts.settings import Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__)
    from linear_shortcuts.files import artifacts
    from linear_shortcuts.models import load_config
    from linear_shortcuts.scores import early_exit, records
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.states import provenance

    params = read_params(args.params)
    entry = params.model(args.model)
    folders = Folders(args.model, params.corpus)
    fixed, cost = records.load_fixed(folders.fixed_exits, made_by="stages/08_score_exits.py")
    made_from = fixed["card"]["made_from"]
    provenance.check_asked(made_from, params, args.model, "validation", folders.fixed_exits, made_by="stages 03 to 08")
    grid = params.early_exit.lambdas
    grids = {"mat": grid, "id": grid + params.early_exit.id_lambdas}
    quantiles, at = params.early_exit.quantiles, None
    if params.compatibility == "original":
        family = load_config(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code)[1]
        at = None if family.causal else early_exit.ORIGINAL_POSITION
    swept: list[dict] = []
    if records.of_embeddings(fixed["records"]):
        print(f"{args.model} has no prediction head, so no early exits")
        grids = {}
    for mapping, grid in grids.items():
        readouts = sorted((r for r in fixed["records"] if r["mapping"] == mapping), key=lambda r: r["layer"])
        swept += early_exit.sweep(readouts, fixed["positions"], grid, mapping, cost, quantiles, at)
    artifacts.save(folders.early_exits, {"records": swept, "card": fixed["card"]})
    print(f"{args.model}: {len(swept)} thresholds swept, in {folders.early_exits}")


if __name__ == "__main__":
    run(main)

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
    from linear_shortcuts.models import Cost, load_config
    from linear_shortcuts.scores import early_exit
    from linear_shortcuts.settings import read_params

    params = read_params(args.params)
    entry = params.model(args.model)
    folders = Folders(args.model, params.corpus)
    fixed = artifacts.load_mapping(folders.fixed_exits, "records", "cost", "card", made_by="stages/08_score_exits.py")
    cost = Cost(**fixed["cost"])
    grid = params.early_exit.lambdas
    grids = {"mat": grid, "id": grid + params.early_exit.id_lambdas}
    quantiles, at = params.early_exit.quantiles, None
    if params.compatibility == "original":
        family = load_config(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code)[1]
        at = None if family.causal else early_exit.ORIGINAL_POSITION
    records = []
    for mapping, grid in grids.items():
        readouts = sorted((r for r in fixed["records"] if r["mapping"] == mapping), key=lambda r: r["layer"])
        records += early_exit.sweep(readouts, fixed["positions"], grid, mapping, cost, quantiles, at)
    artifacts.save(folders.early_exits, {"records": records, "card": fixed["card"]})
    print(f"{args.model}: {len(records)} thresholds swept, in {folders.early_exits}")


if __name__ == "__main__":
    run(main)

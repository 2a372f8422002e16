"""Score how much of the variance of each later layer a map explains, for every pair of layers, on both splits.

Reads   data/MODEL/CORPUS/hidden_train/, hidden_validation/   from 04_extract_hidden_states.py
        linreg/MODEL/CORPUS/layers/                           from 05_fit_layer_maps.py
Writes  data/MODEL/CORPUS/r2.pickle   `score_mat`, `score_id`: {(i, j): r2} on validation; `total_mat`, `total_id`: the
        share of the variance of all coordinates together; `train`: the same there

Example: python stages/07_score_r2.py --model tiny-gpt2
"""

from linear_shortcuts.settings import SPLITS, Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True)
    from tqdm import tqdm

    from linear_shortcuts.files import artifacts
    from linear_shortcuts.maps import fitting, linear_maps
    from linear_shortcuts.scores import measures
    from linear_shortcuts.settings import choose_device, read_params
    from linear_shortcuts.states import provenance, shards

    params = read_params(args.params)
    folders = Folders(args.model, params.corpus)
    device = choose_device(args.device)
    fitted = linear_maps.LayerMaps.load(folders.layer_maps, made_by="stages/05_fit_layer_maps.py")
    states = {
        split: shards.HiddenStates.open(folders.hidden(split), made_by="stages/04_extract_hidden_states.py")
        for split in SPLITS
    }
    for split, part in states.items():
        provenance.check_states(fitted.card, part.card, folders.layer_maps, made_by="stages 03 to 06")
        provenance.check_asked(part.card, params, args.model, split, part.folder, made_by="stages 03 to 08")
    pairs = list(fitted)
    jumps = {"mat": fitted.jump, "id": lambda states, source, target: states}
    sources = {i: sum(source == i for source, _ in pairs) for i, _ in pairs}
    groups = list(fitting.passes(sources, states["train"].width, params.fit.memory_gib))
    results: dict[str, dict[str, dict]] = {split: {} for split in SPLITS}
    for split in SPLITS:
        for group in groups:
            recorded = states[split].layers_of(device)
            parts = tqdm(recorded, desc=f"{args.model}: r2 on {split}", unit=" shards", disable=None)
            scored = measures.explained_pairs(parts, jumps, [pair for pair in pairs if pair[0] in group])
            for name, own in scored.items():
                results[split].setdefault(name, {}).update(own)
    artifacts.save(folders.r2, {**results["validation"], "train": results["train"], "card": fitted.card})
    means = {name: sum(score.values()) / len(score) for name, score in results["validation"].items()}
    print(
        f"{args.model}: mean validation r2 over {len(pairs)} pairs: mat {means['score_mat']:.3f}, "
        f"id {means['score_id']:.3f}, in {folders.r2}"
    )


if __name__ == "__main__":
    run(main)

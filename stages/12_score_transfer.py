"""Score the maps of one corpus on the states of another, both ways, beside their own and a refit on half.

Reads   data/MODEL/CORPUS/hidden_SPLIT/, linreg/MODEL/CORPUS/layers/   of `corpus` and OTHER, from 04 and 05; the model
Writes  data/MODEL/CORPUS/transfer_OTHER.pickle   `records`: by corpus of the states, of each maps and layer, per sample
        plots/MODEL/CORPUS/transfer_OTHER/, transfer_OTHER_figures/   the table of it; a figure as SVG

Off by default: `transfer.corpora` in params.yaml lists each OTHER, which must have been run up to 05 as `corpus`.

Example: python stages/12_score_transfer.py --model tiny-gpt2 --other my-text
"""

from linear_shortcuts.settings import Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True, other=True)
    from tqdm import tqdm

    from linear_shortcuts.figures import printing, transfer_plots
    from linear_shortcuts.files import Partial, artifacts
    from linear_shortcuts.maps import LayerMaps
    from linear_shortcuts.models import arithmetic, loading
    from linear_shortcuts.scores import exits, transfer
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.states import provenance, shards

    params = read_params(args.params)
    both = {params.corpus: params, args.other: params.of_corpus(args.other)}
    how, folders = params.transfer, Folders(args.model, params.corpus)
    model = loading.load_registered(params.model(args.model), args.model, args.device)
    states, maps = {}, {}
    for corpus, asked in both.items():
        own = Folders(args.model, corpus)
        maps[corpus] = LayerMaps.load(own.layer_maps, model, made_by="stages/05_fit_layer_maps.py")
        for split in ("train", "validation"):
            opened = shards.HiddenStates.open(own.hidden(split), made_by="stages/04_extract_hidden_states.py")
            provenance.check_asked(opened.card, asked, args.model, split, opened.folder, made_by="stages 03 and 04")
            provenance.check_states(maps[corpus].card, opened.card, maps[corpus].folder, made_by="stages 03 to 05")
            states[corpus, split] = opened
    layers = exits.spread(model.layers, how.layers)
    cards = [own.card for own in maps.values()]
    recipe = {"maps": cards, "transfer": vars(params.transfer), "device": model.device.type}
    with Partial("12_score_transfer", f"{args.model}.{params.corpus}.{args.other}", recipe, code=__file__) as partial:
        for corpus, other in tqdm([tuple(maps), tuple(maps)[::-1]], desc=f"{args.model}: transfer", disable=None):
            if corpus not in partial:
                half = transfer.refit_on_half(states[corpus, "train"], model.layers, model.device)
                tried = {"own": maps[corpus], "other": maps[other], "half": half}
                held = states[corpus, "validation"].stack()[:, : how.sentences]
                with arithmetic(states[corpus, "validation"].card["precision"], model.device):
                    partial.save(corpus, {f"{corpus}.pickle": transfer.score_maps(model, held, tried, layers)})
        records = {corpus: partial.load(f"{corpus}.pickle") for corpus in maps}
        artifacts.save(folders.transfer(args.other), {"records": records})
        partial.forget_others()
    table = transfer.transfer_table(records, params.bootstrap, params.seed)
    plots = folders.transfer_plots(args.other)
    artifacts.save_json(plots / "transfer.json", table)
    figure = transfer_plots.draw_transfer(table, f"{args.model}, {params.corpus} and {args.other}")
    printing.save(figure, {"svg": plots.with_name(f"{plots.name}_figures")}, "transfer")
    for panel in dict.fromkeys(record["panel"] for record in table):
        print(f"{args.model}: {panel}, mean over layers\n\n{transfer.by_maps(table, panel)}\n")


if __name__ == "__main__":
    run(main)

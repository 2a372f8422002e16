"""Fit, for one model, one matrix for each pair of layers.

Reads   data/MODEL/CORPUS/hidden_train/   hidden states, from 04_extract_hidden_states.py
Writes  linreg/MODEL/CORPUS/layers/       i_j.pickle, the A (d, d) for which A @ h_i comes closest to h_j; card.json

Each file opens with a plain pickle.load. Resumes after a kill, source layer by source layer; shares the
source layers out to the ranks that torchrun starts.

Example: python stages/05_fit_layer_maps.py --model tiny-gpt2
"""

from linear_shortcuts.settings import Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True)
    from tqdm import tqdm

    from linear_shortcuts.files import Partial, ranks
    from linear_shortcuts.maps import fitting, linear_maps
    from linear_shortcuts.settings import choose_device, read_params
    from linear_shortcuts.states import provenance, shards
    from linear_shortcuts.text import tokens

    params = read_params(args.params)
    folders = Folders(args.model, params.corpus)
    own = ranks.join(args.device)
    device = choose_device(args.device)
    states = shards.HiddenStates.open(folders.hidden("train"), made_by="stages/04_extract_hidden_states.py")
    provenance.check_asked(states.card, params, args.model, "train", states.folder, made_by="stages 03 to 08")
    tokens.check_rows(len(states), states.width)
    targets = {i: fitting.layer_targets(i, states.layers, params.fit.targets) for i in range(states.layers)}

    recipe = {"states": states.fingerprint, "targets": params.fit.targets, "device": device.type}
    with Partial("05_fit_layer_maps", f"{args.model}.{params.corpus}", recipe, ranks=own, code=__file__) as partial:
        todo = own.share([i for i in targets if i not in partial])
        with tqdm(total=len(todo), desc=f"{args.model}: fit", unit=" layers", disable=own.hide) as bar:
            how = {"width": states.width, "memory_gib": params.fit.memory_gib}
            for source, solution in fitting.fit_layers(todo, states, states.layers, params.fit.targets, device, **how):
                files = linear_maps.layer_files(source, targets[source], solution.matrices)
                partial.save(source, files, note=solution.rank)
                bar.update()
        if not partial.gather():
            return
        found = {str(i): partial.note(i) for i in targets}
        matrices = len(partial.checksums())
        partial.publish(folders.layer_maps, provenance.maps_card(states.card, found))
    print(
        f"{args.model}: {matrices} matrices from {len(targets)} source layers ({partial.resumed} resumed; "
        f"{linear_maps.describe_ranks(found, states.width)}), in {folders.layer_maps}"
    )


if __name__ == "__main__":
    run(main)

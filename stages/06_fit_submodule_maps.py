"""Fit, for one model, a matrix that stands in for each sub-step of every block.

Reads   data/MODEL/CORPUS/hidden_train/    hidden states, from 04_extract_hidden_states.py, and the model
Writes  linreg/MODEL/CORPUS/submodules/    pB_a_b.pickle, the matrix (d, d) from site a to site b = a + 1 of block B

Each file opens with a plain pickle.load. Resumes after a kill, block by block; shares the blocks out to the
ranks that torchrun starts.

Example: python stages/06_fit_submodule_maps.py --model tiny-gpt2
"""

from linear_shortcuts.settings import Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True)
    from tqdm import tqdm

    from linear_shortcuts.files import Partial, ranks
    from linear_shortcuts.maps import fitting, linear_maps
    from linear_shortcuts.models import loading
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.states import provenance, shards
    from linear_shortcuts.text import tokens

    params = read_params(args.params)
    entry = params.model(args.model)
    folders = Folders(args.model, params.corpus)
    states = shards.HiddenStates.open(folders.hidden("train"), made_by="stages/04_extract_hidden_states.py")
    provenance.check_asked(states.card, params, args.model, "train", states.folder, made_by="stages 03 to 08")
    tokens.check_rows(len(states), states.width)
    own = ranks.join(args.device)
    model = loading.load_registered(entry, args.model, args.device)
    provenance.check_model(states.card, model, states.folder, made_by="stages 03 to 06")
    steps = range(len(model.family.steps))

    recipe = {"states": states.fingerprint, "device": model.device.type}
    with Partial("06_fit_submodule_maps", f"{args.model}.{params.corpus}", recipe, ranks=own, code=__file__) as partial:
        blocks = range(model.layers) if steps else ()  # of a model read by structure alone, parts are not known
        todo = own.share([block for block in blocks if block not in partial])
        with tqdm(total=len(todo), desc=f"{args.model}: fit", unit=" blocks", disable=own.hide) as bar:
            how = (states.card["precision"], params.fit.memory_gib)
            for block, solutions in fitting.fit_parts(model, todo, states, *how):
                matrices = [solution.matrices[0] for solution in solutions]
                files = linear_maps.submodule_files(block, model.family.sources, matrices)
                partial.save(block, files, note=[solution.rank for solution in solutions])
                bar.update()
        if not partial.gather():
            return
        found = {f"p{b}_{a}": partial.note(b)[a] for b in blocks for a in steps}
        made = len(partial.checksums())
        partial.publish(folders.submodule_maps, provenance.maps_card(states.card, found))
    fitted = linear_maps.describe_ranks(found, states.width) if steps else "the parts of its blocks are not known"
    print(
        f"{args.model}: {made} matrices from {model.layers} blocks ({partial.resumed} resumed; {fitted}), "
        f"in {folders.submodule_maps}"
    )


if __name__ == "__main__":
    run(main)

"""Fit, for one model, what early exit needs while text is generated: a map from each exit, and keys and values.

Reads   data/MODEL/CORPUS/tokens_train.pickle, hidden_train/   from 03 and 04, and the model
Writes  linreg/MODEL/CORPUS/shortcuts/   shortcuts.safetensors: of each exit the map to the last layer, and the maps to
        keys and values of the blocks not reached, with intercept; the most frequent tokens; card.json
        (nothing for a masked model, which generates nothing)

Resumes after a kill, exit by exit.

Example: python stages/13_fit_shortcuts.py --model tiny-gpt2
"""

from linear_shortcuts.settings import Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True)
    from linear_shortcuts.decoding import fit_exits
    from linear_shortcuts.files import Partial
    from linear_shortcuts.models import loading
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.states import provenance, shards
    from linear_shortcuts.text import tokens

    params = read_params(args.params)
    how, folders = params.shortcuts, Folders(args.model, params.corpus)
    model = loading.load_registered(params.model(args.model), args.model, args.device)
    if not model.family.causal:
        folders.shortcuts.mkdir(parents=True, exist_ok=True)
        print(f"{args.model} is a masked model, which generates nothing, so there is nothing to fit")
        return
    states = shards.HiddenStates.open(folders.hidden("train"), made_by="stages/04_extract_hidden_states.py")
    provenance.check_model(states.card, model, states.folder, made_by="stages 03 and 04")
    provenance.check_asked(states.card, params, args.model, "train", states.folder, made_by="stages 03 and 04")
    read = tokens.load_states_tokens(folders.tokens("train"), states.card, made_by="stages 03 and 04")
    recipe = {"states": states.fingerprint, "fills": list(how.fills), "device": model.device.type}
    with Partial("13_fit_shortcuts", f"{args.model}.{params.corpus}", recipe, code=__file__) as partial:
        found = [layer for layer in range(model.layers) if layer in partial]
        made = fit_exits(model, states, read, partial, **vars(how))
        made.save(folders.shortcuts)
        partial.forget_others()
    resumed = f"{len({*found} & {*made.exits})} exits resumed"
    print(f"{args.model}: {len(made.maps)} maps from the layers {made.exits} ({resumed}), in {folders.shortcuts}")


if __name__ == "__main__":
    run(main)

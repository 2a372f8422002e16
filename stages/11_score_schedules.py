"""Alternate between blocks and jumps: which blocks are run, which are jumped over by a map or dropped, at what loss.

Reads   data/MODEL/CORPUS/tokens_SPLIT.pickle, hidden_validation/, r2.pickle   from 03, 04 and 07
        linreg/MODEL/CORPUS/layers/, submodules/                               from 05 and 06, and the model
Writes  data/MODEL/CORPUS/schedules.pickle                   `records`: a schedule each, with what it predicts
        plots/MODEL/CORPUS/schedules/, schedules_figures/, schedules_pdf/   the table of it; figures as SVG, as PDF

Resumes after a kill, some sentences at a time.

Example: python stages/11_score_schedules.py --model tiny-gpt2
"""

from linear_shortcuts.settings import Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__, device=True)
    from tqdm import tqdm

    from linear_shortcuts.figures import printing, schedule_plots
    from linear_shortcuts.files import Partial, artifacts, save_plot
    from linear_shortcuts.maps import LayerMaps, SubmoduleMaps
    from linear_shortcuts.models import arithmetic, loading
    from linear_shortcuts.scores import alternation, records, tables
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.states import provenance, shards
    from linear_shortcuts.text import tokens

    params = read_params(args.params)
    how, folders = params.schedules, Folders(args.model, params.corpus)
    model = loading.load_registered(params.model(args.model), args.model, args.device)
    maps = LayerMaps.load(folders.layer_maps, made_by="stages/05_fit_layer_maps.py")
    submodule_maps = SubmoduleMaps.load(folders.submodule_maps, made_by="stages/06_fit_submodule_maps.py")
    states = shards.HiddenStates.open(folders.hidden("validation"), made_by="stages/04_extract_hidden_states.py")
    r2 = records.load_r2(folders.r2, made_by="stages/07_score_r2.py")
    provenance.check_model(states.card, model, states.folder, made_by="stages 03 to 06")
    provenance.check_asked(states.card, params, args.model, "validation", states.folder, made_by="stages 03 to 06")
    provenance.check_states(maps.card, states.card, maps.folder, made_by="stages 03 to 06")
    data = tokens.load_states_tokens(folders.tokens("validation"), states.card, made_by="stages 03 to 06")
    known = tokens.load_tokens(folders.tokens("train"), made_by="stages/03_tokenize.py")[0]
    fitted = alternation.Fitted(maps, submodule_maps)
    card = records.card_of(states.card, maps.card, submodule_maps.card)
    read = [artifacts.file_sha256(path) for path in (folders.r2, folders.tokens("train"))]
    recipe = {**card, "read": read, "schedules": vars(how), "seed": params.seed, "extract": vars(params.extract)}
    asked = (r2["train"]["score_mat"], how, params.seed, params.extract.tokens_per_batch)
    with Partial("11_score_schedules", f"{args.model}.{params.corpus}", recipe, code=__file__) as partial:
        with arithmetic(states.card["precision"], model.device):
            found = alternation.score(model, data, known, fitted, *asked, partial, tqdm)
        artifacts.save(folders.schedules, {"records": found, "card": card, "settings": vars(how)})
        partial.forget_others()
    table = tables.schedules_table(found, params.bootstrap, params.seed)
    save_plot(folders.plots, "schedules", table)
    to = {"svg": folders.plots / "schedules_figures", "pdf": folders.plots / "schedules_pdf"}
    for folder in to.values():
        folder.mkdir(parents=True, exist_ok=True)  # a model without schedules has no figures
    for name, figure in schedule_plots.draw_schedules(table, f"{args.model} on {params.corpus}").items():
        printing.save(figure, to, name)
    for panel in dict.fromkeys(record["panel"] for record in table):
        print(f"{args.model}: {panel} by blocks run\n\n{tables.by_blocks(table, panel)}\n")
    print(f"{args.model}: {len(found)} schedules scored, in {folders.schedules}")


if __name__ == "__main__":
    run(main)

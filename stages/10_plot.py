"""Draw every figure of the study for one model, with the tables behind them and the metrics that sum it up.

Reads   data/MODEL/CORPUS/r2.pickle, fixed_exits.pickle, early_exits.pickle   from stages 07, 08, 09
Writes  plots/MODEL/CORPUS/figures/, pdf/                                     every figure as SVG and as PDF
        plots/MODEL/CORPUS/r2/, precision/, surprisal/, parts/, early_exit/, cost/, embeddings/   one JSON table each
        metrics/MODEL/metrics.json

Example: python stages/10_plot.py --model tiny-gpt2
"""

from linear_shortcuts.settings import Folders, parse_args, run


def main() -> None:
    args = parse_args(__doc__)
    from linear_shortcuts.figures import plots, printing
    from linear_shortcuts.files import artifacts, save_plot
    from linear_shortcuts.scores import records, tables
    from linear_shortcuts.settings import read_params
    from linear_shortcuts.states import provenance

    params = read_params(args.params)
    folders = Folders(args.model, params.corpus)
    r2 = records.load_r2(folders.r2, made_by="stages/07_score_r2.py")
    fixed, cost = records.load_fixed(folders.fixed_exits, made_by="stages/08_score_exits.py")
    early = records.load_early(folders.early_exits, made_by="stages/09_score_early_exits.py")
    provenance.check_same_run(r2["card"], fixed["card"], early["card"], made_by="stages 07 to 09")
    provenance.check_asked(r2["card"], params, args.model, "train", folders.r2, made_by="stages 03 to 08")
    made_from = fixed["card"]["made_from"]
    provenance.check_asked(made_from, params, args.model, "validation", folders.fixed_exits, made_by="stages 03 to 08")

    r2_table = tables.r2_table(r2)
    exits = tables.exits_table(fixed["records"], params.bootstrap, params.seed)
    early_exit = tables.early_exit_table(early["records"], fixed["records"], cost, params.bootstrap, params.seed)
    for name, table in tables.plot_tables(r2_table, exits, early_exit).items():
        save_plot(folders.plots, name, table)
    figures = plots.draw_all(
        r2_table, exits, early_exit, params.early_exit.precision, f"{args.model} on {params.corpus}"
    )
    for name, figure in figures.items():
        printing.save(figure, {"svg": folders.plots / "figures", "pdf": folders.plots / "pdf"}, name)
    summary = tables.metrics(params.corpus, r2_table, exits, early["records"], params.early_exit.precision)
    artifacts.save_json(folders.metrics, summary)
    for panel in tables.headline(exits):
        print(f"{args.model}: {panel} by exit layer\n\n{tables.by_layer(exits, panel)}\n")
    if early["records"]:
        print(f"{args.model}: early exit by threshold\n\n{tables.by_lambda(early['records'])}\n")
    print(f"{args.model}: {len(figures)} figures in {folders.plots}, metrics in {folders.metrics}")


if __name__ == "__main__":
    run(main)

"""`linear-shortcuts compare RUN_A RUN_B`: two runs side by side, with intervals and one figure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from linear_shortcuts.commands.arguments import Command

if TYPE_CHECKING:
    from linear_shortcuts.scores.comparison import Run

DESCRIPTION = """Compare two runs: models, corpora, revisions or settings, at every exit layer.

Precision@1 of both under every mapping, and the difference with an interval of 95 %: taken sentence by sentence where
both runs were scored on the same sentences. Runs of different depth are compared at shares of it.

Reads   RUN/fixed_exits.pickle   of both, from the pipeline
Writes  nothing; with --figure FILE, a picture of the differences

Example: linear-shortcuts compare data/tiny-gpt2/docstrings data/tiny-bert/docstrings
"""


def _add_options(parser: argparse.ArgumentParser) -> None:
    for name in ("run_a", "run_b"):
        parser.add_argument(name, type=Path, metavar=name.upper(), help="data/MODEL/CORPUS, or a fixed_exits.pickle")
    parser.add_argument("--mappings", metavar="A,B", help="only these, such as id,mat (default: all that both have)")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the differences, .svg or .pdf")


def _run(args: argparse.Namespace) -> int:
    from linear_shortcuts.files import InputError
    from linear_shortcuts.scores import comparison, tables

    if args.figure is not None and args.figure.suffix not in (".svg", ".pdf"):
        raise InputError(f"--figure is {args.figure}; give a name that ends in .svg or .pdf")
    runs = [_load(path) for path in (args.run_a, args.run_b)]
    table = comparison.compare(runs[0], runs[1])
    if args.mappings:
        wanted, there = args.mappings.split(","), {record["mapping"] for record in table}
        if unknown := [name for name in wanted if name not in there]:
            raise InputError(f"--mappings names {unknown[0]}; both runs have {', '.join(sorted(there))}")
        table = [record for record in table if record["mapping"] in wanted]
    for letter, path, run in zip("AB", (args.run_a, args.run_b), runs, strict=True):
        made = run.card["made_from"]
        print(f"{letter}: {path}: {made['model']['id']} on {made['corpus']['name']}, {made['sentences']:,} sentences")
    same = (
        "the same sentences, so differences are paired"
        if comparison.paired(runs[0], runs[1])
        else "different sentences"
    )
    heads = ["mapping", "layer of A", "layer of B", "A", "B", "B − A", "from", "to"]
    print(f"Precision@1; {same}; intervals of 95 %\n\n{tables.markdown(heads, [list(row.values()) for row in table])}")
    if args.figure is not None:
        from linear_shortcuts.figures import comparisons, printing

        figure = comparisons.comparison_figure(table, runs[0].layers, f"{args.run_b} against {args.run_a}")
        printing.save(figure, {args.figure.suffix[1:]: args.figure.parent}, args.figure.stem)
        print(f"\ndrawn in {args.figure}")
    return 0


def _load(path: Path) -> Run:
    from linear_shortcuts.scores import comparison, records

    file = path / "fixed_exits.pickle" if path.is_dir() else path
    value, _ = records.load_fixed(file, made_by="the pipeline")
    return comparison.Run(value["records"], value["card"])


COMPARE = Command("compare", "set two runs side by side", DESCRIPTION, "", _add_options, _run)

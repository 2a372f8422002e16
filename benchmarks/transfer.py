"""What maps of one corpus are worth on another: docs/TRANSFER.md.

Reads   plots/MODEL/CORPUS/transfer_OTHER/transfer.json   what stages/12_score_transfer.py found, with --keep
Writes  docs/results/transfer.json                        the means over layers
        docs/figures/MODEL/CORPUS/transfer_OTHER.svg      the figure of the stage, with --keep
        docs/TRANSFER.md                                  the tables between its `made:` comments

Example: python benchmarks/transfer.py --keep tiny-gpt2 docstrings wikipedia-2016
"""

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from linear_shortcuts.files import documents
from linear_shortcuts.scores.tables import markdown
from linear_shortcuts.settings import Folders, run

DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, PAGE = DOCS / "results" / "transfer.json", DOCS / "TRANSFER.md"
POINTS = {"GPT-2": (-5.5, -8.0), "BERT": (-0.1, 1.1)}  # the paper's, of 24 layers: Precision@1, news and Wikipedia
Rows = Sequence[Mapping[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--keep", nargs=3, metavar=("MODEL", "CORPUS", "OTHER"), help="take that run of the stage first"
    )
    args = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if args.keep:
        keep(kept, *args.keep)
        KEPT.write_text(json.dumps(kept, sort_keys=True, separators=(",", ":")).replace("},", "},\n") + "\n")
    made = parts(kept)
    documents.fill(PAGE, made)
    print(f"{len(made)} parts of {PAGE}")


def keep(kept: dict[str, Any], model: str, corpus: str, other: str) -> None:
    """Add the means over layers of a run of the stage to what is kept, and its figure."""
    plots = Folders(model, corpus).transfer_plots(other)
    table = json.loads((plots / "transfer.json").read_text())
    kept[f"{model} {corpus} {other}"] = [
        {
            key: rounded(value)
            for key, value in row.items()
            if key in ("panel", "corpus", "maps", "value", "low", "high")
        }
        for row in table
        if row["layer"] is None
    ]
    to = DOCS / "figures" / model / corpus / f"transfer_{other}.svg"
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(plots.with_name(f"{plots.name}_figures") / "transfer.svg", to)


def rounded(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


# --- parts of the page -----------------------------------------------------------------------------------------


def parts(kept: Mapping[str, Rows]) -> dict[str, str]:
    """A table for each quantity, in which a row is a model on the states of a corpus; and what the paper says."""
    panels = list(dict.fromkeys(row["panel"] for rows in kept.values() for row in rows))
    made = {f"transfer-{panel.partition(' ')[0].replace('@', '')}": table(kept, panel) for panel in panels}
    return made | {"transfer-claims": claims(kept)}


def table(kept: Mapping[str, Rows], panel: str) -> str:
    """Means over layers of the maps of each kind, and differences."""
    names = ("own", "other", "half", "other-own", "half-own")
    rows = []
    for key, found in sorted(kept.items()):
        model, *_ = key.split()
        for corpus in dict.fromkeys(row["corpus"] for row in found):
            own = {row["maps"]: row for row in found if (row["corpus"], row["panel"]) == (corpus, panel)}
            cells = [f"{own[name]['value']:.3f} ({own[name]['low']:.3f} to {own[name]['high']:.3f})" for name in names]
            rows.append([model, corpus, *cells])
    header = ["model", "states of", "its own maps", "the other's", "refit on half", "other's − own", "half − own"]
    return f"{panel}, mean over exit layers, with 95 % intervals over sentences.\n\n{markdown(header, rows)}"


def claims(kept: Mapping[str, Rows]) -> str:
    """Points of Precision@1 lost, beside the paper's."""
    rows = []
    for kind, points in POINTS.items():
        rows.append(
            [f"the paper, {kind} 24, news and Wikipedia", " and ".join(f"{point:+.1f}" for point in points), ""]
        )
    for key, found in sorted(kept.items()):
        own = {(row["corpus"], row["maps"]): row for row in found if row["panel"].startswith("Precision")}
        lost = [row for (_, maps), row in own.items() if maps == "other-own"]
        half = [row for (_, maps), row in own.items() if maps == "half-own"]
        shown = [" and ".join(f"{100 * row['value']:+.1f}" for row in rows_of) for rows_of in (lost, half)]
        rows.append([key.split()[0], *shown])
    header = ["points of Precision@1", "the other's maps", "a refit on half"]
    return markdown(header, [[cell.replace("-", "−") if n else cell for n, cell in enumerate(row)] for row in rows])


if __name__ == "__main__":
    run(main)

"""What a model that leaves at a layer by a mapped head is worth, as `shorten --exit` writes it.

Reads   the model, and the text that `shorten` takes where none is given
Writes  docs/results/mapped_exits.json   the numbers
        docs/howto/shorter-model.md      the table between its `made:` comments

Beside each exit stand the same blocks with the head as it is. Without a model, the table is made anew from the numbers
that are kept.

Example: python benchmarks/mapped_exits.py smollm2-135m-instruct-q4 --layers 5 10 15 20 25
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from linear_shortcuts.files import documents
from linear_shortcuts.scores.tables import markdown
from linear_shortcuts.settings import read_params, run

DOCS = Path(__file__).resolve().parents[1] / "docs"
KEPT, PAGE = DOCS / "results" / "mapped_exits.json", DOCS / "howto" / "shorter-model.md"
Found = Mapping[str, Mapping[str, Mapping[str, float]]]  # layer -> whole, exit, plain -> numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a key of registry")
    parser.add_argument("--layers", type=int, nargs="+", default=[], help="the exits to measure")
    args = parser.parse_args()
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    if args.model:
        kept.setdefault(args.model, {}).update(measure(args.model, args.layers))
        KEPT.write_text(json.dumps(kept, sort_keys=True, separators=(",", ":")).replace("},", "},\n") + "\n")
    documents.fill(PAGE, parts(kept))
    print(f"{KEPT} and {PAGE}")


def measure(name: str, layers: Sequence[int]) -> Found:
    """What each exit is worth with intervals, what it costs, and what its blocks are worth without a map."""
    from tqdm import tqdm

    from linear_shortcuts.commands.shorten_command import LENGTH, SIZES
    from linear_shortcuts.models import load_registered, load_registered_tokenizer
    from linear_shortcuts.shorten import exit_at
    from linear_shortcuts.shorten.judgement import judge
    from linear_shortcuts.shorten.surgery import with_blocks
    from linear_shortcuts.text import articles_of, split_rows

    entry = read_params().registry[name]
    model, tokenizer = load_registered(entry, name, "cpu"), load_registered_tokenizer(entry)
    rows = split_rows(articles_of(None), tokenizer, SIZES, length=LENGTH, masked=False, seed=0)
    found = {}
    for layer in tqdm(layers, desc=f"{name}: exits", unit="exit", disable=None):
        report = exit_at(model, rows, layer).report
        plain = judge(model, {"plain": with_blocks(model, range(layer))}, rows["report"])["plain"].record(0)
        found[str(layer)] = {
            of: {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in own.items()}
            for of, own in (("whole", report["whole"]), ("exit", report["shorter"]), ("plain", plain))
        }
    return found


def parts(kept: Mapping[str, Found]) -> dict[str, str]:
    """The table of each model."""
    return {f"mapped-exits-{model}": table(found) for model, found in kept.items()}


def table(found: Found) -> str:
    """By exit layer, what it is worth and what it costs."""
    rows = []
    for layer, own in sorted(found.items(), key=lambda pair: int(pair[0])):
        whole, left = own["whole"], own["exit"]
        worth = [shown(own[of], what) for what in ("kl", "agreement") for of in ("exit", "plain")]
        size = f"{left['parameters'] / whole['parameters']:.2f}"
        rows.append([layer, *worth, size, f"{left['tokens_per_second'] / whole['tokens_per_second']:.2f}"])
    header = ["blocks", "KL", "KL, no map", "agreement", "agreement, no map", "times the weights", "times the tokens/s"]
    return markdown(header, rows)


def shown(own: Mapping[str, float], what: str) -> str:
    digits = 3 if what == "agreement" else 2
    return f"{own[what]:.{digits}f} [{own[f'{what}_low']:.{digits}f}, {own[f'{what}_high']:.{digits}f}]"


if __name__ == "__main__":
    run(main)

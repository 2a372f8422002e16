"""What a check costs is the head: early exit as stages 08 and 09 have it, with exits that choose among few tokens.

Reads   data/MODEL/CORPUS/tokens_SPLIT.pickle, hidden_validation/ and linreg/MODEL/CORPUS/layers/, and the model
Writes  docs/results/short_lists.json, and its table in docs/EARLY_EXIT.md

Of every size of list: how many of the full model's tokens it has, Precision@1 of `mat`, and what early exit saves in
layers and in operations, checks paid, where it agrees with the full model in so many cases.

Example: python benchmarks/short_lists.py tiny-gpt2 docstrings
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from early_exit_page import LEVELS, LISTS, rounded, write
from torch import Tensor
from tqdm import tqdm

from linear_shortcuts.maps import LayerMaps
from linear_shortcuts.models import LanguageModel, arithmetic, load_registered
from linear_shortcuts.models.cost import count
from linear_shortcuts.scores import early_exit, measures
from linear_shortcuts.scores.exits import Judge, Readout, holding, read_out
from linear_shortcuts.settings import Folders, read_params, run
from linear_shortcuts.states import shards
from linear_shortcuts.text import Tokens, tokens

ROWS = 128  # sentences at a time: logits in memory


@torch.inference_mode()
def read_outs(
    model: LanguageModel, states: Tensor, maps: LayerMaps, lists: Mapping[int, Tensor]
) -> dict[int, list[dict[str, Tensor]]]:
    """By size of the list the read-outs of `mat` at the layers 0..L, as stage 08 has them; states: (L + 1, n, d)."""
    last, found = model.layers, {size: [[] for _ in states] for size in lists}
    for rows in tqdm(states.split(ROWS, dim=1), desc=model.name, unit=f" x {ROWS} sentences", disable=None):
        logits = model.decode(rows[last])
        full = Judge.of(logits)
        whole = read_out(logits, full)
        for layer in range(last + 1):
            guess = rows[last] if layer == last else maps.jump(rows[layer], layer, last)
            logits = model.decode(guess)
            for size, listed in lists.items():
                few = None if size >= model.vocabulary else listed
                one = whole if layer == last else read_out(logits, full, holding(guess), few)
                found[size][layer].append(vars(one))
    return {size: [vars(Readout.join(parts)) for parts in layers] for size, layers in found.items()}


def saved(readouts: Sequence[Mapping[str, Tensor]], data: Tokens, model: LanguageModel, size: int) -> dict[str, Any]:
    """What the page shows of one size."""
    params, last = read_params(), len(readouts) - 1
    cost = count(model, data.lengths, data.positions, size)
    swept = early_exit.sweep(
        readouts, data.positions, params.early_exit.lambdas, "mat", cost, params.early_exit.quantiles
    )
    full = readouts[last]["top_ids"]
    right = torch.stack([measures.in_top(full, r["top_ids"][:, 0], 1) for r in readouts[:last]])
    low, high = measures.bootstrap_interval(right, 1000, 0.95, 0)
    layers = sorted({last // 4, last // 2, 3 * last // 4})
    spent = {key: {str(level): early_exit.saving(swept, level, key, whole) for level in LEVELS}
             for key, whole in (("mean_layers", last), ("relative_cost", 1))}  # fmt: skip
    return {
        "check": rounded(cost.head * cost.listed / float(cost.blocks.mean())),
        "precision": {str(at): [rounded(float(v)) for v in (right[at].mean(), low[at], high[at])] for at in layers},
        "saving": {key: {at: v if v is None else round(v, 4) for at, v in by.items()} for key, by in spent.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("corpus")
    parser.add_argument("--sentences", type=int, default=1000, help="of validation, at most (default: 1000)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 512, 2048, 8192], help="of the lists")
    args = parser.parse_args()
    folders = Folders(args.model, args.corpus)
    model = load_registered(read_params().model(args.model), args.model, "cpu")
    maps = LayerMaps.load(folders.layer_maps, made_by="stages/05_fit_layer_maps.py")
    states = shards.HiddenStates.open(folders.hidden("validation"), made_by="stages/04_extract_hidden_states.py")
    data = tokens.load_states_tokens(folders.tokens("validation"), states.card).part(0, args.sentences)
    known = tokens.load_states_tokens(folders.tokens("train"), maps.card or {})
    counts = known.counts(model.vocabulary)
    sizes = [*(size for size in args.sizes if size < model.vocabulary), model.vocabulary]
    lists = {size: tokens.most_frequent(counts, size) for size in sizes}
    with arithmetic("float32", model.device):
        found = read_outs(model, states.stack()[:, : len(data)], maps, lists)
    whole = found[model.vocabulary][-1]["top_ids"][:, 0]
    rows = {
        str(size): {
            **saved(readouts, data, model, size),
            "listed": rounded(float(torch.isin(whole, lists[size]).double().mean())),
        }
        for size, readouts in found.items()
    }
    kept = json.loads(LISTS.read_text()) if LISTS.exists() else {}
    kept[f"{args.model} on {args.corpus}"] = {"sentences": len(data), "layers": model.layers, "sizes": rows}
    LISTS.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")
    write()


if __name__ == "__main__":
    run(main)

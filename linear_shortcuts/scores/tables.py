"""The numbers behind every figure, as flat lists of records, and the few that sum a model up.

A record is one point of a plot. `value` lies with the given confidence between `low` and `high`, by bootstrap over
the validation sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from linear_shortcuts.files import derive
from linear_shortcuts.models import Cost
from linear_shortcuts.scores.early_exit import saving
from linear_shortcuts.scores.measures import NEAREST, bootstrap_interval, in_top
from linear_shortcuts.settings import Bootstrap

Table = list[dict[str, Any]]

R2 = ("score_mat", "score_id", "total_mat", "total_id")  # what of r2 the tables are made from
PRECISION_AT = (1, 5, 10)
SURPRISAL = "surprisal (nats)"
KL = "KL to the full model (nats)"


def precision_panel(k: int) -> str:
    """The name of the panel in which the first k tokens count."""
    return f"Precision@{k}"


PANELS = (*map(precision_panel, PRECISION_AT), SURPRISAL, KL)
COSINE = "cosine to the whole encoder's embedding"
RECALL = f"recall@{NEAREST}"
EMBEDDING_PANELS = (COSINE, RECALL)


def of_embeddings(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether records of fixed exits are an encoder's, see `embeddings`."""
    return any("cosine" in record for record in records)


def r2_table(scores: Mapping[str, Mapping[tuple[int, int], float]]) -> Table:
    """One record per mapping (mat, id and their difference) and pair of layers.

    scores: as `explained_pairs` gives them for the jumps mat and id; its score is `r2` here, its total `total`.
    """
    kinds = {"r2": "score", "total": "total"}
    records = {
        mapping: {pair: {kind: scores[f"{name}_{mapping}"][pair] for kind, name in kinds.items()} for pair in pairs}
        for mapping, pairs in (("mat", scores["score_mat"]), ("id", scores["score_id"]))
    }
    records["mat-id"] = {
        pair: {kind: own[kind] - records["id"][pair][kind] for kind in kinds} for pair, own in records["mat"].items()
    }
    return [
        {"mapping": mapping, "source": source, "target": target, **own}
        for mapping, values in records.items()
        for (source, target), own in sorted(values.items(), key=lambda item: item[0])
    ]


def exits_table(records: Sequence[Mapping[str, Any]], bootstrap: Bootstrap, seed: int) -> Table:
    """One record per quantity (`panel`), mapping and exit layer, from the records of the fixed exits.

    The mapping `mat-id` is their difference, sentence by sentence. `samples` is how many sentences a mapping was read
    of, `diverged` the share of them where it (or one of the two) gave no number: wrong for a precision, left out of the
    mean of any other panel, which is null where nothing is left.
    """
    panels = EMBEDDING_PANELS if of_embeddings(records) else PANELS
    full = max(records, key=lambda record: record["layer"]).get("top_ids")
    values = {(p, r["mapping"], r["layer"]): _values(r, p, full) for p in panels for r in records}
    layers = [layer for panel, mapping, layer in values if (panel, mapping) == (panels[-1], "id")]
    for panel in panels:
        for layer in layers:
            values[panel, "mat-id", layer] = values[panel, "mat", layer] - values[panel, "id", layer]
    means = _means(list(values.values()), bootstrap, seed)
    return [
        {
            "panel": panel,
            "mapping": mapping,
            "layer": layer,
            **found,
            "samples": len(values[panel, mapping, layer]),
            "diverged": float(values[panels[-1], mapping, layer].isnan().double().mean()),
        }
        for (panel, mapping, layer), found in zip(values, means, strict=True)
    ]


_KEYS = {SURPRISAL: "surprisal", KL: "kl", COSINE: "cosine", RECALL: "recall"}


def _values(record: Mapping[str, Any], panel: str, full: torch.Tensor | None) -> torch.Tensor:
    """One quantity of every sample of a fixed exit, (n,); full: the full model's best tokens, if it predicts any."""
    if panel in _KEYS:
        return record[_KEYS[panel]]
    assert full is not None
    return in_top(full[: len(record["top_ids"])], record["top_ids"][:, 0], int(panel.rpartition("@")[2]))


def _means(values: Sequence[torch.Tensor], bootstrap: Bootstrap, seed: int) -> list[dict[str, float | None]]:
    """Mean and interval of each of several quantities, (n,) each, over the samples that have a value."""
    found: list[dict[str, float | None]] = [{}] * len(values)
    for n in {len(value) for value in values}:
        own = [number for number, value in enumerate(values) if len(value) == n]
        samples = torch.stack([values[number] for number in own])
        low, high = bootstrap_interval(samples, bootstrap.resamples, bootstrap.confidence, derive(seed, "bootstrap"))
        for number, *numbers in zip(own, samples.double().nanmean(-1), low, high, strict=True):
            shown = [float(number) if number.isfinite() else None for number in numbers]
            found[number] = dict(zip(("value", "low", "high"), shown, strict=True))
    return found


def divergence(exits: Table, mappings: Sequence[str]) -> str:
    """Which of the mappings gave no number, and for what share of the sentences at most; empty where all did."""
    worst = {m: max((r["diverged"] for r in exits if r["mapping"] == m), default=0) for m in mappings}
    return "\n".join(f"{m} diverges for up to {share:.1%} of sentences" for m, share in worst.items() if share)


def select(table: Table, mappings: Sequence[str], panels: Sequence[str]) -> Table:
    """The records of some mappings and panels, panels in the given order."""
    chosen = [record for record in table if record["mapping"] in mappings and record["panel"] in panels]
    return sorted(chosen, key=lambda record: panels.index(record["panel"]))


def early_exit_table(
    early: Sequence[Mapping[str, Any]],
    fixed: Sequence[Mapping[str, Any]],
    cost: Cost,
    bootstrap: Bootstrap,
    seed: int,
) -> Table:
    """Precision@1 against mean layers and against cost, for every threshold and every fixed exit of mat and id.

    Empty for an encoder, which never leaves early.
    """
    if not early:
        return []
    full = max(fixed, key=lambda record: record["layer"])
    layers = full["layer"]
    whole = cost.full(layers).sum()
    points = [
        ("early", f"lambda {record['lambda']:g}", record, record["relative_cost"], record["correct"])
        for record in early
    ]
    for record in fixed:
        if record["mapping"] in ("mat", "id"):
            at = torch.full_like(full["top_ids"][:, 0], record["layer"])
            spent = float(cost.exits(at, layers, record["mapping"], checks=False).sum() / whole)
            correct = in_top(full["top_ids"], record["top_ids"][:, 0], 1)
            points.append(("fixed", f"layer {record['layer']}", record, spent, correct))
    samples = torch.stack([correct for *_, correct in points])
    low, high = bootstrap_interval(samples, bootstrap.resamples, bootstrap.confidence, derive(seed, "bootstrap"))
    return [
        {
            "mapping": record["mapping"],
            "exit": exit_kind,
            "setting": setting,
            "mean_layers": record["mean_layers"],
            "relative_cost": spent,
            "precision": float(correct.double().mean()),
            "low": float(low[number]),
            "high": float(high[number]),
        }
        for number, (exit_kind, setting, record, spent, correct) in enumerate(points)
    ]


LOSS = "perplexity of the next token"


def schedules_table(records: Sequence[Mapping[str, Any]], bootstrap: Bootstrap, seed: int) -> Table:
    """One record per quantity (`panel`), series and number of blocks run, from the records of `schedules.run_ways`.

    A series is a kind of schedule, its blocks jumped over by maps or dropped; of several schedules of one number
    (`schedules`) each sentence counts by its mean. Of `attention`, `blocks` is how many keep their own. Perplexity is
    e to the mean loss, of the sentences that go on; a masked model has none. `diverged`: the share of sentences (and
    schedules) that gave no number.
    """
    if not records:
        return []
    full = records[0]["top_ids"]
    grouped: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for record in records:
        series = record["kind"] + ("" if record["kind"] == "full" else " mapped" if record["mapped"] else " dropped")
        grouped.setdefault((series, record["blocks"] - len(record["without_attention"])), []).append(record)
    quantities = {
        precision_panel(1): lambda record: in_top(full, record["top_ids"][:, 0], 1),
        KL: lambda record: record["kl"],
        LOSS: lambda record: record["loss"],
    }
    if not (records[0]["loss"] >= 0).any():
        del quantities[LOSS]
    keys = [(panel, *key) for panel in quantities for key in sorted(grouped)]
    values = [torch.stack([quantities[p](record) for record in grouped[s, b]]).nanmean(0) for p, s, b in keys]
    table = []
    for (panel, series, blocks), found in zip(keys, _means(values, bootstrap, seed), strict=True):
        own = grouped[series, blocks]
        shown = {key: None if v is None else float(np.exp(v)) for key, v in found.items()} if panel == LOSS else found
        lost = float(torch.stack([record["kl"] for record in own]).isnan().double().mean())
        runs = {"schedules": len(own), "schedule": " ".join(map(str, own[0]["schedule"])) if len(own) == 1 else None}
        table.append({"panel": panel, "series": series, "blocks": blocks, **shown, "diverged": lost, **runs})
    return table


def by_blocks(table: Table, panel: str) -> str:
    """One row per number of blocks run, one column per series."""
    own = {(record["series"], record["blocks"]): record["value"] for record in table if record["panel"] == panel}
    series = list(dict.fromkeys(name for name, _ in own if name != "full"))
    numbers = sorted({blocks for _, blocks in own})
    return markdown(["blocks", *series], [[n, *(own.get((name, n)) for name in series)] for n in numbers])


def plot_tables(r2: Table, exits: Table, early_exit: Table) -> dict[str, Table]:
    """The tables `dvc plots show` reads, by the name of their folder."""
    precisions = [precision_panel(k) for k in PRECISION_AT]
    parts = ["mat", "mat_attn", "mat_ffn", "mat_ln1_ln2"]
    return {
        "r2": r2,
        "precision": select(exits, ["id", "mat"], precisions),
        "surprisal": select(exits, ["id", "mat"], [SURPRISAL, KL]),
        "parts": select(exits, parts, [*precisions, SURPRISAL, KL]),
        "early_exit": early_exit,
        "cost": early_exit,
        "embeddings": select(exits, ["id", "mat"], EMBEDDING_PANELS),
    }


def metrics(
    corpus: str, r2: Table, exits: Table, early: Sequence[Mapping[str, Any]], precision: float
) -> dict[str, Any]:
    """What sums one model up, in short and constant names: `dvc metrics show` makes a column of each.

    Of mat and id: `r2`, the mean over all pairs of layers; `p1_25`, `p1_50`, `p1_75`, Precision@1 at that percentage
    of the depth (interpolated between layers); `saved` and `flops`, the shares of layers and of FLOPs that early
    exit saves at `precision`, null where the sweep never reaches it; FLOPs may be more than the full model's.
    Of an encoder `cosine_…` and `recall_…` at those percentages take the place of `p1_…`, and nothing is saved.
    """
    known = {record["panel"] for record in exits}
    panels = {"p1": precision_panel(1), "cosine": COSINE, "recall": RECALL}
    layers = max(record["layer"] for record in exits)
    summary: dict[str, Any] = {"corpus": corpus, "precision": precision}
    for mapping in ("mat", "id"):
        own_r2 = [record["r2"] for record in r2 if record["mapping"] == mapping]
        by_name = {name: select(exits, [mapping], [panel]) for name, panel in panels.items() if panel in known}
        sweep = [record for record in early if record["mapping"] == mapping]
        summary[mapping] = {
            "r2": _rounded(float(np.mean(own_r2)), 3),
            **{
                f"{name}_{percent}": _rounded(_at_depth(records, percent / 100 * layers), 2)
                for name, records in by_name.items()
                for percent in (25, 50, 75)
            },
            "saved": _rounded(saving(sweep, precision, "mean_layers", layers), 2),
            "flops": _rounded(saving(sweep, precision, "relative_cost", 1.0), 2),
        }
    return summary


def _at_depth(records: Table, layer: float) -> float:
    """The value at a layer, or between two, from the records of one mapping and panel."""
    return float(np.interp(layer, [record["layer"] for record in records], [record["value"] for record in records]))


def _rounded(value: float | None, digits: int) -> float | None:
    """To the digits that another processor shares: there r2 moves by 1e-6, and a sentence in thousands falls otherwise.

    Two digits of a share are also what thousands of sentences can tell. The tables have every digit.
    """
    return None if value is None else round(value, digits) + 0.0  # no -0.0


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as Markdown, numbers with three decimals, a dash for None."""
    shown = [["–" if cell is None else cell for cell in row] for row in rows]
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in shown]
    lines = [list(header), ["---"] * len(header), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_layer(exits: Table, panel: str) -> str:
    """One row per exit layer, one column per mapping, the last for mat − id; a dash where nothing was read out."""
    mappings = list(dict.fromkeys(record["mapping"] for record in exits))
    values = {(r["mapping"], r["layer"]): r["value"] for r in exits if r["panel"] == panel}
    layers = sorted({layer for _, layer in values})
    rows = [[layer, *(values.get((mapping, layer)) for mapping in mappings)] for layer in layers]
    return markdown(["layer", *(mapping.replace("-", " − ") for mapping in mappings)], rows)


def headline(exits: Table) -> tuple[str, ...]:
    """The panels that say most: Precision@1, or those of an encoder's embeddings."""
    return EMBEDDING_PANELS if select(exits, ["mat"], EMBEDDING_PANELS) else (precision_panel(1),)


def by_lambda(early: Sequence[Mapping[str, Any]]) -> str:
    """One row per mapping and threshold of the grid: mean layers run, relative cost, Precision@1."""
    rows = [
        [r["mapping"], f"{r['lambda']:g}", r["mean_layers"], r["relative_cost"], float(r["correct"].double().mean())]
        for r in early
        if r["swept"] == "grid"
    ]
    return markdown(["mapping", "lambda", "mean layers", "relative cost", "Precision@1"], rows)

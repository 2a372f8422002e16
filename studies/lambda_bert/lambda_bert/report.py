"""The tables behind the report: models short-cut side by side, and what stands in the lambdas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lambda_bert.settings import Settings
from lambda_bert.shortcut import MADE_BY
from linear_shortcuts.files import artifacts
from linear_shortcuts.scores import KL, Table, precision_panel, tables

Found = Mapping[str, Any]
LATE = 4  # last blocks in which attention is taken out: further down nothing can be replaced
EVERYONE = "all sentences"  # what stage 06 calls the mean lambda in its lists
LAMBDAS_MADE_BY = "studies/lambda_bert/06_read_lambdas.py"


def load_shortcuts(settings: Settings) -> dict[str, Found]:
    """What stage 05 found, by model: the study's own, then those beside them."""
    names = (*settings.shortcuts.own, *settings.shortcuts.beside)
    kinds = ("r2", "parts", "exits", "metrics", "loss")
    return {
        name: artifacts.load_mapping(settings.folders.shortcuts(name) / "scores.pickle", *kinds, made_by=MADE_BY)
        for name in names
    }


def load_lambdas(settings: Settings) -> Found:
    kinds = ("spectra", "probes", "cka", "soundness", "rows", "columns", "keys")
    return artifacts.load_mapping(settings.folders.lambdas / "found.pickle", *kinds, made_by=LAMBDAS_MADE_BY)


def value(exits: Table, panel: str, mapping: str, layer: int) -> float:
    """One number of a table of exits."""
    [found] = [r["value"] for r in exits if (r["panel"], r["mapping"], r["layer"]) == (panel, mapping, layer)]
    return found


def shortcut_table(found: Mapping[str, Found]) -> Table:
    """A record for each model: how well matrices stand in for layers, and for the part in which tokens meet.

    loss: nats, at a masked token of validation sentences. late: with attention taken out of the last four blocks alone.
    recovered: of the distance (KL) to the full model that taking a part out of every block makes, the share that a
    matrix in its place takes back.
    """
    records = []
    for name, scores in found.items():
        exits, summary = scores["exits"], scores["metrics"]
        attention = [record for record in scores["parts"] if record["part"] == "attention"]
        feed_forward = [record for record in scores["parts"] if record["part"] == "feed_forward"]
        late = max(0, max(record["layer"] for record in exits) - LATE)
        without, matrix = (value(exits, KL, mapping, 0) for mapping in ("no_attn", "mat_attn"))
        plain, other = (value(exits, KL, mapping, 0) for mapping in ("no_ffn", "mat_ffn"))
        records.append(
            {
                "model": name,
                "loss": scores["loss"],
                "mat_r2": summary["mat"]["r2"],
                "id_r2": summary["id"]["r2"],
                "mat_half_way": summary["mat"]["p1_50"],
                "id_half_way": summary["id"]["p1_50"],
                "attention_r2": _mean(attention, "r2"),
                "attention_share": _mean(attention, "share"),
                "feed_forward_r2": _mean(feed_forward, "r2"),
                "no_attn_kl": without,
                "mat_attn_kl": matrix,
                "attention_recovered": 1 - matrix / without,
                "mat_attn_precision": value(exits, precision_panel(1), "mat_attn", 0),
                "mat_attn_late": value(exits, precision_panel(1), "mat_attn", late),
                "no_attn_late": value(exits, precision_panel(1), "no_attn", late),
                "no_ffn_kl": plain,
                "mat_ffn_kl": other,
                "feed_forward_recovered": 1 - other / plain,
            }
        )
    return records


def _mean(records: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(record[key] for record in records) / len(records)


def lambda_tables(found: Found) -> dict[str, Table]:
    return {name: found[name] for name in ("spectra", "probes", "soundness", "rows", "columns", "keys")}


def markdown(records: Table) -> str:
    """Records as a Markdown table; a list of tokens as code, one of numbers with two decimals."""
    header = [key.replace("_", " ") for key in records[0]]
    return tables.markdown(header, [[_cell(value) for value in record.values()] for record in records]) + "\n"


def _cell(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return " ".join(f"`{item}`" if isinstance(item, str) else f"{item:.2f}" for item in value)


def metrics(shortcuts: Table, found: Found) -> dict[str, Any]:
    """The numbers that sum the study up, for `dvc metrics` and the README."""
    trained = [record for record in found["spectra"] if record["model"] == "trained"]
    return {
        "shortcuts": {record["model"]: {k: v for k, v in record.items() if k != "model"} for record in shortcuts},
        "lambdas": {
            key: {f"layer_{record['layer']}": record[key] for record in trained}
            for key in ("effective_rank", "shared", "cosine", "centred_cosine")
        },
        "spectra": [{k: v for k, v in row.items() if k != "singular_values"} for row in found["spectra"]],
        **{name: found[name] for name in ("cka", "probes", "soundness")},
        "keys": _strongest(found["keys"]),
        "columns": _strongest([row for row in found["columns"] if row["of"] == EVERYONE]),
    }


def _strongest(rows: Table) -> Table:
    """The first row of each layer."""
    return list({row["layer"]: row for row in reversed(rows)}.values())[::-1]

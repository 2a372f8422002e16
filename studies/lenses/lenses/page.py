"""The parts of the study's README, made from the runs that are kept: answers, and tables of every model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lenses.answers import KEPT, decided
from lenses.fitted import CONTROLS
from lenses.kept import Run
from lenses.report import LATENT
from linear_shortcuts.scores import Table
from linear_shortcuts.scores.agreement import KL
from linear_shortcuts.scores.tables import markdown

Named = Sequence[tuple[str, Run]]  # runs, each with its model
LABELS = {KL: "KL", "p1": "Precision@1", LATENT: LATENT}
UNMARKED = (None, True)  # a control, or a lens that beats its controls


def parts(runs: Named) -> dict[str, str]:
    """By name: the answer to every question, what was read, and for the models on their main text all tables."""
    made = {f"answer-{question}": answer(runs, question) for question in range(1, 6)}
    made |= {"runs": read(runs), "agree": agree(runs)}
    for model, run in runs:
        if main(run):
            made[f"{model}-summary"] = summary(run)
            made[f"{model}-costs"] = costs(run)
            made[f"{model}-floor"] = floor(run)
            if run["latent"]:
                made[f"{model}-latent"] = latent(run)
    return made


def main(run: Run) -> bool:
    """Whether all lenses were fitted on the run's own text, not closed forms alone for the sake of transfer."""
    return any(record["lens"] == "tuned" for record in run["summary"])


def shown(record: Mapping[str, Any], prefix: str = "", digits: int = 3) -> str:
    """A value with its interval, in bold where a difference is decided: where the interval leaves 0 out."""
    keys = (prefix, f"{prefix}_low", f"{prefix}_high") if prefix else ("value", "low", "high")
    value, low, high = (record[key] for key in keys)
    text = f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    return f"**{text}**" if prefix and (low > 0 or high < 0) else text


# --- answers ---------------------------------------------------------------------------------------------------


def answer(runs: Named, question: int) -> str:
    """A row per model and comparison of one question: its value, and at how many layers it is decided."""
    rows = []
    for model, run in runs:
        for record in run["answers"]:
            if record["question"] == question:
                text = shown(record)
                edge = 0 if record["minus"] != KEPT else None
                bold = edge is not None and decided(record, 1) != 0
                corpus = run["runs"][0]["corpus"]
                cells = [f"{model}, {corpus}", _what(record), f"**{text}**" if bold else text]
                rows.append([*cells, _where(record), f"{record['n']:,}"])
    return markdown(["model, text", "what", "value", "layers: better, worse, of", "n"], rows)


def _what(record: Mapping[str, Any]) -> str:
    label = LABELS[record["measure"]]
    if record["minus"] == KEPT:
        return f"share of `mat`'s gain in {label} that `{record['lens']}` keeps"
    return f"{label} of `{record['lens']}` − `{record['minus']}`"


def _where(record: Mapping[str, Any]) -> str | None:
    return f"{record['better']}, {record['worse']}, {record['layers']}" if "layers" in record else None


def agree(runs: Named) -> str:
    """A row per comparison that was made for several models: what is decided for each."""
    words = {1: "better", -1: "worse", 0: "not decided"}
    mains = [(model, run) for model, run in runs if main(run)]
    verdicts: dict[str, dict[str, str]] = {}
    for model, run in mains:
        for record in run["answers"]:
            if record["minus"] != KEPT and record["question"] < 5:
                sign = -1 if record["measure"] == KL else 1
                verdicts.setdefault(_what(record), {})[model] = words[decided(record, sign)]
    models = [model for model, _ in mains]
    rows = [[what, *(own.get(model) for model in models)] for what, own in verdicts.items() if len(own) > 1]
    return markdown(["mean over layers", *models], rows)


# --- tables of one model ---------------------------------------------------------------------------------------


def read(runs: Named) -> str:
    """A row a run: what was read, and how much of it."""
    rows = []
    for model, run in runs:
        [own] = run["runs"]
        prompts, left_out = sum(own["prompts"].values()), sum(own["left_out"].values())
        asked = f"{prompts} ({left_out} words left out)" if prompts else None
        layers = ", ".join(map(str, own["layers"]))
        rows.append([model, own["type"], own["corpus"], f"{own['sentences']:,}", layers, asked, own["transfer"]])
    return markdown(["model", "type", "text", "sentences", "layers read", "prompts", "also fitted on"], rows)


def _marked(record: Mapping[str, Any]) -> str:
    return record["lens"] + ("" if record["beats_controls"] in UNMARKED else " (does not beat its control)")


def summary(run: Run) -> str:
    """A row a lens: mean over layers of KL and Precision@1, with the paired differences of KL."""
    rows = []
    for cost in run["costs"]:
        if "@" in cost["lens"]:
            continue
        own = {record["measure"]: record for record in run["summary"] if record["lens"] == cost["lens"]}
        kl = own[KL]
        bits = shown(own["cross_entropy_bits"]) if "cross_entropy_bits" in own else None
        differences = [shown(kl, f"minus_{base}") if cost["lens"] != base else None for base in ("mat", "id")]
        rows.append([_marked(cost), shown(kl), *differences, shown(own["p1"]), bits])
    header = ["lens", "KL (nats)", "minus `mat`", "minus `id`", "Precision@1", "cross-entropy (bits per byte)"]
    return markdown(header, rows)


def costs(run: Run) -> str:
    """A row a lens, controls and lenses of other text aside."""
    header = ["lens", "fit (processor s)", "saw", "peak memory (GiB)", "parameters", "FLOPs a vector"]
    rows = [
        [r["lens"], _plain(r["seconds"]), r["saw"], _plain(r["peak_gib"]), f"{r['parameters']:,}", f"{r['flops']:,}"]
        for r in run["costs"]
        if r["lens"] not in CONTROLS and "@" not in r["lens"]
    ]
    return markdown(header, rows)


def _plain(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"


def latent(run: Run) -> str:
    """A row a lens, a column a set and one for all: pass@5 over all layers, in bold where it is not `id`'s."""
    sets = list(dict.fromkeys(record["set"] for record in run["latent"]))
    rows = []
    for pooled in run["pooled"]:
        cells = {record["set"]: record for record in run["latent"] if record["lens"] == pooled["lens"]}
        marked = [f"**{shown(cells[k], digits=2)}**" if _apart(cells[k]) else shown(cells[k], digits=2) for k in sets]
        rows.append([_marked(pooled), shown(pooled), *marked])
    return markdown(["lens", "all", *sets], rows)


def _apart(record: Mapping[str, Any]) -> bool:
    return record["minus_id_low"] > 0 or record["minus_id_high"] < 0


def floor(run: Run) -> str:
    """A row a layer: two fits of `affine` on other rows, and how far a Jacobian lens has come at half its rows."""
    changes: Table = run["convergence"]
    half = {record["layer"]: record["change"] for record in changes}
    rows = [[r["layer"], float(r["cosine"]), shown(r), half.get(r["layer"])] for r in run["floor"]]
    return markdown(["layer", "cosine of the two fits", "KL of one − the other", "`jacobian`: change from half"], rows)

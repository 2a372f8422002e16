"""The parts of the study's README, made from the runs that are kept: answers, and tables of every model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lenses import verdicts
from lenses.answers import KEPT, decided
from lenses.fitted import CONTROLS
from lenses.kept import Named, Run
from lenses.report import LATENT
from linear_shortcuts.scores import Table
from linear_shortcuts.scores.agreement import KL
from linear_shortcuts.scores.tables import markdown

LABELS = {KL: "KL", "p1": "Precision@1", LATENT: LATENT}
MAIN = "docstrings"
UNMARKED = (None, True)  # a control, or a lens that beats its controls


def parts(runs: Named) -> dict[str, str]:
    """By name: the answer to every question, what was read, and for the models on their main text all tables."""
    trained = [(model, run) for model, run in runs if run["runs"][0]["of"] is None]
    made = {f"answer-{question}": answer(trained, question) for question in range(1, 6)}
    made |= {"runs": read(runs), "agree": agree(trained)}
    mains = [(model, run) for model, run in trained if main(run)]
    texts = [(f"{model}, {run['runs'][0]['corpus']}", run) for model, run in trained]
    made["verdict-1"], made["verdict-2"] = verdicts.tuned(mains), verdicts.jacobian(mains)
    made["verdict-3"], made["verdict-4"] = verdicts.future(mains), verdicts.low_rank(texts)
    made["verdict-5"], made["verdict-6"] = verdicts.transfer(texts), verdicts.agreeing(mains)
    for model, run in trained:
        if main(run):
            made[f"{model}-summary"] = summary(run)
            made[f"{model}-more"] = more(run)
            made[f"{model}-costs"] = costs(run)
            made[f"{model}-floor"] = floor(run)
            if run["latent"]:
                made[f"{model}-latent"] = latent(run)
    for model, run in runs:
        of, corpus = run["runs"][0]["of"], run["runs"][0]["corpus"]
        if of is not None:
            [other] = [own for name, own in trained if name == of and own["runs"][0]["corpus"] == corpus]
            made[f"{model}-beside"] = beside(other, run)
            made[f"{model}-chance"] = verdicts.chance(of, other, run)
    return made


def main(run: Run) -> bool:
    """Whether the run is of the text that all lenses were fitted on, not of another for the sake of transfer."""
    return bool(run["runs"][0]["corpus"] == MAIN)


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
        prompts, words, left_out = (sum(own[key].values()) for key in ("prompts", "words", "left_out"))
        asked = f"{prompts} ({words} of {words + left_out} words)" if prompts else None
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


def more(run: Run) -> str:
    """A row a lens: the other measures of agreement, means over layers."""
    columns = {
        "kl_bits": "KL (bits per byte)",
        "surprisal": "surprisal (nats)",
        "p5": "Precision@5",
        "p10": "Precision@10",
    }
    rows = []
    for lens in dict.fromkeys(record["lens"] for record in run["summary"] if "@" not in record["lens"]):
        own = {record["measure"]: record for record in run["summary"] if record["lens"] == lens}
        cells = [shown(own[measure]) if measure in own else None for measure in columns]
        rows.append([lens, *cells, own["r2"]["value"] if "r2" in own else None])
    return markdown(["lens", *columns.values(), "r2"], rows)


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


def beside(trained: Run, drawn: Run) -> str:
    """A row a lens of the model of random weights, beside those of the trained one."""
    measures = {LATENT: LATENT, "p1": "Precision@1", KL: "KL (nats)"}
    found = []
    for run in (trained, drawn):
        known = [{**record, "measure": LATENT} for record in run["pooled"]] + list(run["summary"])
        found.append({(r["lens"], r["measure"]): shown(r) for r in known if r["measure"] in measures})
    lenses = dict.fromkeys(lens for lens, _ in found[1])
    rows = [[lens, *(own[lens, measure] for measure in measures for own in found)] for lens in lenses]
    header = [f"{label}, {which}" for label in measures.values() for which in ("trained", "random")]
    return markdown(["lens", *header], rows)


def floor(run: Run) -> str:
    """A row a layer: two fits on other rows, and how far a Jacobian lens has come at half its rows."""
    changes: Table = run["convergence"]
    half = {record["layer"]: record["change"] for record in changes}
    fits = {(r["lens"], r["layer"]): r for r in run["floor"]}
    lenses = dict.fromkeys(lens for lens, _ in fits)
    header = [f"`{lens}`: {what}" for lens in lenses for what in ("cosine of two fits", "KL of one − the other")]
    rows = [
        [layer, *(cell for lens in lenses for cell in _alike(fits[lens, layer])), half.get(layer)]
        for layer in dict.fromkeys(layer for _, layer in fits)
    ]
    return markdown(["layer", *header, "`jacobian`: change from half"], rows)


def _alike(record: Mapping[str, Any]) -> tuple[float, str]:
    return float(record["cosine"]), shown(record)

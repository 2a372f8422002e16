"""The study's tables as parts of its README, made from what was kept of its runs."""

from __future__ import annotations

from collections.abc import Mapping

from linear_shortcuts.scores import Table
from linear_shortcuts.scores.tables import markdown
from shorter_models.calibration import METHODS
from shorter_models.judgements import TRANSFERRED, WHOLE
from shorter_models.report import MEASURES

Results = Mapping[str, Table]  # of one model: `worth`, `cuts`, `costs`


def parts(results: Mapping[str, Results]) -> dict[str, str]:
    """By name, over all models: what is decided; a table of each measure by method; what transfers; the costs."""
    made: dict[str, list[str]] = {name: [] for name in ("decided", *MEASURES, "transfer", "costs")}
    for model, own in results.items():
        for measure in MEASURES:
            for text in dict.fromkeys(record["text"] for record in own["worth"]):
                made[measure].append(f"**{model}, {text}**: {worth(own, measure, text)}")
        made["decided"].append(f"**{model}**\n\n{decided(own)}")
        made["transfer"].append(f"**{model}**: {transfer(own)}")
        made["costs"].append(f"**{model}**\n\n{costs(own)}")
    return {name: "\n\n".join(some) for name, some in made.items()}


def decided(own: Results) -> str:
    """Of each text, at how many numbers of blocks each method has less KL than leaving the blocks out."""
    kl = [r for r in own["worth"] if r["measure"] == "kl" and r["blocks"]]
    rows = []
    for text, source, method in dict.fromkeys((r["text"], r["calibrated"], r["method"]) for r in kl):
        some = [r for r in kl if (r["text"], r["calibrated"], r["method"]) == (text, source, method)]
        if method != "drop":
            ahead = sum(r["minus_drop_high"] < 0 for r in some)
            behind = ", ".join(str(r["blocks"]) for r in some if r["minus_drop_low"] > 0)
            saved = [-r["minus_drop_value"] / (r["value"] - r["minus_drop_value"]) for r in some]  # of drop's KL
            span = f"{100 * min(saved):.0f} to {100 * max(saved):.0f} %"
            rows.append([text, source, method, f"{ahead} of {len(some)}", behind or "–", span])
    header = ["reported on", "calibrated on", "method", "less KL than drop", "more, at K =", "of drop's KL saved"]
    return markdown(header, rows)


def worth(own: Results, measure: str, text: str) -> str:
    """A row a number of blocks, a column a method, and fold minus drop, calibrated on the text itself."""
    some = [r for r in own["worth"] if (r["text"], r["calibrated"], r["measure"]) == (text, text, measure)]
    cells = {(record["blocks"], record["method"]): record for record in some}
    rows = []
    for cut in own["cuts"]:
        if cut["text"] == text and cut["chosen"]:
            number = cut["blocks"]
            values = [shown(cells[number, method]) for method in METHODS]
            against = shown(cells[number, "fold"], "minus_drop_")
            rows.append([str(number), f"{cut['start']} to {cut['end'] - 1}", *values, against])
    of = f"{some[0]['words']:,} last words" if measure == "cloze" else f"{some[0]['positions']:,} tokens"
    words = f"{of} of {some[0]['articles']} articles; the whole model has {shown(cells[0, WHOLE])}."
    return f"{words}\n\n{markdown(['K', 'left out', *METHODS, 'fold minus drop'], rows)}"


def transfer(own: Results) -> str:
    """KL on each text of what was calibrated on each; a row a text and number of blocks."""
    texts = list(dict.fromkeys(record["text"] for record in own["worth"]))
    if len(texts) < 2:
        return "not measured, the run had one text."
    kl = {(r["text"], r["calibrated"], r["blocks"], r["method"]): r for r in own["worth"] if r["measure"] == "kl"}
    numbers = sorted({number for _, _, number, _ in kl} - {0})
    columns = [(method, source) for method in TRANSFERRED for source in texts]
    rows = [
        [text, str(number), *(shown(kl[text, source, number, method]) for method, source in columns)]
        for text in texts
        for number in numbers
    ]
    header = ["reported on", "K", *(f"{method}, calibrated on {source}" for method, source in columns)]
    return f"KL in nats.\n\n{markdown(header, rows)}"


def costs(own: Results) -> str:
    """A row a number of blocks left out."""
    rows = [
        [str(r["blocks"]), f"{r['parameters']:,}", f"{r['parameters'] * 4 / 1e6:.0f}", f"{r['times_as_fast']:.2f}"]
        for r in own["costs"]
    ]
    return markdown(["K", "parameters", "MB in float32", "times as fast"], rows)


def shown(record: Mapping[str, float | None], prefix: str = "") -> str:
    """A value with its interval, a difference in bold where the interval leaves 0 out; a dash where there is none."""
    value, low, high = (record[f"{prefix}{key}"] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "–"
    text = f"{value:.3g} [{low:.3g}, {high:.3g}]"
    return f"**{text}**" if prefix and (low > 0 or high < 0) else text

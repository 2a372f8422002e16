"""The answer to each of the study's questions in words, made from the runs that are kept, as its tables are.

What is said of a difference depends on its interval: less, more, or not decided where it holds 0. Nothing is said where
the lenses were not fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lenses.answers import KEPT, decided
from lenses.kept import Named, Run
from lenses.report import LATENT
from linear_shortcuts.scores.agreement import KL

Record = Mapping[str, Any]
Answers = Sequence[tuple[str, Record]]  # to one comparison, each with its model or text
LABELS = {KL: "KL", "p1": "Precision@1", LATENT: LATENT}
TRANSFERRED = ("shift", "mat", "affine", "tuned", "jacobian", "future")
UNITS = {KL: " nats"}


def tuned(runs: Named) -> str:
    """1: does `tuned` beat `affine`, where, by how much, at what cost?"""
    asked = [_asked(runs, "tuned", "affine", measure) for measure in (KL, "p1")]
    if not all(asked):
        return ""
    model, run = runs[0]
    ends = [run["runs"][0]["layers"][place] for place in (0, -1)]
    where = [f"at layer {i} from {_at(run, 'affine', i):.2f} to {_at(run, 'tuned', i):.2f} nats" for i in ends]
    cost = [f"{_seconds(run, 'tuned')} on {name} ({_seconds(run, 'affine')})" for name, run in runs]
    return _lines(
        _verdict(asked[0]),
        *map(_told, asked),
        f"On {model} it takes KL {_listed(where)}.",
        f"Processor seconds of tuning, and of all closed forms: {_listed(cost)}.",
    )


def jacobian(runs: Named) -> str:
    """2: is `jacobian` better at latent words and worse at next tokens?"""
    latent = [_asked(runs, "jacobian", minus, LATENT) for minus in ("mat", "id")]
    tokens = [_asked(runs, "jacobian", *what) for what in (("mat", KL), ("mat", "p1"), ("id", "p1"))]
    if not all(latent + tokens):
        return ""
    return _lines(
        f"Better at latent words than `mat`: {_verdict(latent[0]).lower()}",
        *map(_told, latent),
        f"Better at next tokens than `mat`: {_verdict(tokens[0]).lower()}",
        *map(_told, tokens),
    )


def future(runs: Named) -> str:
    """3: is `future` as good as `jacobian`, without a backward pass?"""
    asked = [_asked(runs, "future", "jacobian", measure) for measure in (LATENT, KL, "p1")]
    if not all(asked):
        return ""
    cost = [f"{_seconds(run, 'future')} s against {_seconds(run, 'jacobian')} on {model}" for model, run in runs]
    return _lines(_verdict(asked[1]), *map(_told, asked), f"Its fit cost {_listed(cost)}.")


def low_rank(runs: Named) -> str:
    """4: how much of `mat` do a few dimensions keep?"""
    said = []
    for name, run in runs:
        kept = {(r["lens"], r["measure"]): r for r in run["answers"] if r["question"] == 4}
        parts = [
            f"{lens.removeprefix('low_rank_')} dimensions keep {_shown(kept[lens, KL])} in KL and "
            f"{_shown(kept[lens, 'p1'])} in Precision@1"
            for lens in sorted({lens for lens, _ in kept}, key=lambda lens: -int(lens.rpartition("_")[2]))
        ]
        if kept:
            said.append(f"On {name} (n = {next(iter(kept.values()))['n']}) {_listed(parts)}.")
    return _lines("As shares of what `mat` gains over `id`:", *said)


def transfer(runs: Named) -> str:
    """5: does a lens transfer to other text, relative to the floor of a second fit?"""
    said = []
    mat = [(name, r) for name, run in runs for r in run["answers"] if r["minus"] == "mat" and r["lens"][:4] == "mat@"]
    if not mat:
        return ""
    for name, run in runs:
        own = [r for r in run["answers"] if r["question"] == 5 and r["measure"] == KL]
        moved = [r for r in own if "@" in r["lens"] and r["minus"] in TRANSFERRED]
        ordered = [r for r in own if "@" in r["minus"]]
        floors = [r for r in own if "@" not in r["lens"]]
        if moved:
            other, n = moved[0]["lens"].partition("@")[2], moved[0]["n"]
            changes = [f"`{r['minus']}` by {_shown(r)}" for r in moved]
            floor = [f"`{r['lens'].removesuffix('_first')}` by {_shown(r)}" for r in floors]
            said.append(
                f"On {name} (n = {n}) lenses fitted on {other} differ in KL from those fitted there, "
                f"{_listed(changes)} nats; the floor, two fits on the same text, differ, {_listed(floor)}."
            )
            said += [f"There `{r['lens']}` differs from `{r['minus']}` by {_shown(r)} nats." for r in ordered]
    return _lines(f"Without loss: {_verdict(mat).lower()}", *said)


def agreeing(runs: Named) -> str:
    """6: do the answers agree between models?"""
    signs: dict[str, list[int]] = {}
    for _, run in runs:
        for record in run["answers"]:
            if record["minus"] != KEPT and record["question"] < 5 and record["measure"] != LATENT:
                what = f"{LABELS[record['measure']]} of `{record['lens']}` − `{record['minus']}`"
                signs.setdefault(what, []).append(_sign(record))
    shared = {what: set(own) for what, own in signs.items() if len(own) == len(runs)}
    apart = [what for what, own in shared.items() if len(own) > 1 or own == {0}]
    end = f"; the exception is {_listed(apart)}." if apart else "."
    return (
        f"Of {len(shared)} comparisons of all {len(runs)} models {len(shared) - len(apart)} come out the same way{end}"
    )


def chance(of: str, trained: Run, drawn: Run) -> str:
    """What a lens finds in a model of random weights, beside what it finds in the trained one."""
    found = [{record["lens"]: record for record in run["pooled"]} for run in (trained, drawn)]
    lenses = [lens for lens in ("jacobian", "mat", "id") if all(lens in own for own in found)]
    words = [f"`{lens}` {_shown(found[1][lens])} where it is {_shown(found[0][lens])} in {of}" for lens in lenses]
    prompts = sum(drawn["runs"][0]["prompts"].values())
    agreement = [{r["lens"]: r for r in run["summary"] if r["measure"] == "p1"} for run in (trained, drawn)]
    best = [f"`{lens}` {_shown(agreement[1][lens])} where it is {_shown(agreement[0][lens])}" for lens in lenses]
    return (
        f"In random weights pass@5 (n = {prompts} prompts) is of {_listed(words)}. Precision@1 (n = "
        f"{drawn['runs'][0]['sentences']:,} sentences) is of {_listed(best)}."
    )


# --- words -------------------------------------------------------------------------------------------------------


def _asked(runs: Named, lens: str, minus: str, measure: str) -> Answers:
    what = (lens, minus, measure)
    return [(name, r) for name, run in runs for r in run["answers"] if (r["lens"], r["minus"], r["measure"]) == what]


def _sign(record: Record) -> int:
    return decided(record, -1 if record["measure"] == KL else 1)


def _verdict(answers: Answers) -> str:
    signs = {_sign(record) for _, record in answers}
    return "**Yes.**" if signs == {1} else "**No.**" if signs == {-1} else "**Not everywhere.**"


def _told(answers: Answers) -> str:
    """One comparison over all models in a sentence."""
    clauses = []
    for way, word in ((1, "more"), (-1, "less"), (0, "")):
        own = [(name, record) for name, record in answers if decided(record, 1) == way]
        if own:
            what, lens, minus = (own[0][1][key] for key in ("measure", "lens", "minus"))
            amounts = [f"{_shown(r, way or 1)}{UNITS.get(what, '')} on {name} ({_counted(r)})" for name, r in own]
            claim = f"`{lens}` has {word} {LABELS[what]} than `{minus}`, by"
            nothing = f"in {LABELS[what]} nothing is decided between `{lens}` and `{minus}`:"
            clauses.append(f"{claim if way else nothing} {_listed(amounts)}")
    text = "; ".join(clauses)
    return f"{text[0].upper()}{text[1:]}."


def _counted(record: Record) -> str:
    way = _sign(record)
    if not way or "layers" not in record:
        return f"n = {record['n']}"
    return f"n = {record['n']}, at {record['better' if way == 1 else 'worse']} of {record['layers']} layers"


def _shown(record: Record, sign: int = 1) -> str:
    """A value and its interval, or what is taken off where the sign is -1."""
    low, high = sorted(sign * record[key] for key in ("low", "high"))
    return f"{sign * record['value']:.3f} [{low:.3f}, {high:.3f}]"


def _at(run: Run, lens: str, layer: int) -> float:
    what = (lens, layer, KL)
    return next(float(r["value"]) for r in run["by_layer"] if (r["lens"], r["layer"], r["measure"]) == what)


def _seconds(run: Run, lens: str) -> str:
    return next(f"{record['seconds']:,.1f}" for record in run["costs"] if record["lens"] == lens)


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else parts[0]


def _lines(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)

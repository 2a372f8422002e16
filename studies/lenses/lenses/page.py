"""The study's answers and tables as parts of its README, made from what was measured."""

from __future__ import annotations

from collections.abc import Mapping

from lenses.fitted import CONTROLS
from lenses.report import MEAN, Found
from linear_shortcuts.scores import Table
from linear_shortcuts.scores.agreement import KL
from linear_shortcuts.scores.tables import markdown

NAMES = ("summary", "answers", "costs", "latent")


def parts(found: list[Found], made: Mapping[str, Table]) -> dict[str, str]:
    """By the `NAMES`: a summary over layers of every lens, the answers, the costs, and what prompts bring to mind."""
    return {
        "summary": "\n\n".join(f"**{own.model}**\n\n{summary(own, made['agreement'])}" for own in found),
        "answers": "\n\n".join(f"**{own.model}**\n\n{answers(own)}" for own in found),
        "costs": "\n\n".join(f"**{own.model}**\n\n{costs(own.model, made['costs'])}" for own in found),
        "latent": "\n\n".join(f"**{own.model}**\n\n{latent(own, made['latent'])}" for own in found if own.latent)
        or "Not measured in this run.",
    }


def shown(record: Mapping[str, float], prefix: str = "") -> str:
    """A value with its interval, in bold where a difference is decided: where the interval leaves 0 out."""
    value, low, high = (record[key] for key in _keys(prefix))
    text = f"{value:.3f} [{low:.3f}, {high:.3f}]"
    return f"**{text}**" if prefix and (low > 0 or high < 0) else text


def _keys(prefix: str) -> tuple[str, str, str]:
    return (prefix, f"{prefix}_low", f"{prefix}_high") if prefix else ("value", "low", "high")


def summary(found: Found, table: Table) -> str:
    """A row a lens: mean over layers of KL and Precision@1, with the paired differences of KL."""
    rows = []
    for lens in found.lenses:
        own = {r["measure"]: r for r in table if (r["model"], r["lens"], r["layer"]) == (found.model, lens, MEAN)}
        mark = "" if lens in CONTROLS or found.beats_controls(lens) else " (no better than a control)"
        kl = own[KL]
        bits = shown(own["cross_entropy_bits"]) if "cross_entropy_bits" in own else None
        rows.append([lens + mark, shown(kl), shown(kl, "minus_mat"), shown(kl, "minus_id"), shown(own["p1"]), bits])
    header = ["lens", "KL (nats)", "minus `mat`", "minus `id`", "Precision@1", "cross-entropy (bits per byte)"]
    return markdown(header, rows)


def answers(found: Found) -> str:
    """The questions, each with its numbers; what was not fitted is said to be not measured."""
    asked = {
        "Does `tuned` beat `affine`? Its KL minus `affine`'s": ("tuned", "affine", KL),
        "Is `jacobian` worse at what the model says next? Its KL minus `mat`'s": ("jacobian", "mat", KL),
        "and its Precision@1 minus `id`'s": ("jacobian", "id", "p1"),
        "Is `future` as good as `jacobian`? Its KL minus `jacobian`'s": ("future", "jacobian", KL),
        "What does `affine` gain by its intercept? Its KL minus `mat`'s": ("affine", "mat", KL),
        "What does the penalty gain? KL of `ridge` minus `affine`'s": ("ridge", "affine", KL),
        "The floor: KL of `affine` on one half of the text minus the other's": ("affine_first", "affine_second", KL),
    }
    lines = []
    for question, (lens, other, measure) in asked.items():
        there = lens in found.lenses and other in found.lenses
        number = shown(found.difference(lens, other, measure)) if there else "not measured yet"
        lines.append(f"- {question}: {number}.")
    kept = found.settings.ranks
    for rank in kept:
        if (name := f"low_rank_{rank}") in found.lenses:
            p1 = {lens: float(found.agreement[lens, "p1"].mean()) for lens in ("mat", "id", name)}
            share = (p1[name] - p1["id"]) / (p1["mat"] - p1["id"])
            lines.append(f"- Of what `mat` gains over `id` in Precision@1, {rank} dimensions keep {share:.0%}.")
    return "\n".join(lines)


def costs(model: str, table: Table) -> str:
    """A row a lens."""
    own = [r for r in table if r["model"] == model]
    header = ["lens", "fit (s)", "saw", "peak memory (GiB)", "parameters", "FLOPs a vector"]
    rows = [
        [r["lens"], _plain(r["seconds"]), r["saw"], _plain(r["peak_gib"]), f"{r['parameters']:,}", f"{r['flops']:,}"]
        for r in own
        if r["lens"] not in CONTROLS
    ]
    return markdown(header, rows)


def _plain(value: float | None) -> str | None:
    return None if value is None else f"{value:g}"


def latent(found: Found, table: Table) -> str:
    """A row a lens, a column a set: pass@5 over all layers, in bold where it differs from `id`'s decidedly."""
    own = [r for r in table if (r["model"], r["k"], r["layer"]) == (found.model, 5, "any")]
    sets = list(dict.fromkeys(r["set"] for r in own))
    rows = []
    for lens in dict.fromkeys(r["lens"] for r in own):
        cells = {r["set"]: r for r in own if r["lens"] == lens}
        decided = {k: r["minus_id_low"] > 0 or r["minus_id_high"] < 0 for k, r in cells.items()}
        rows.append([lens, *(f"**{shown(cells[k])}**" if decided[k] else shown(cells[k]) for k in sets)])
    return markdown(["lens", *sets], rows)

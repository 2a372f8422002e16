"""Which blocks a model misses least: cheap scores rank all cuts, KL on held-out text decides among the first."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from linear_shortcuts.files import WORK, InputError, Partial, fingerprint
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.shorten.corrections import Correction
from linear_shortcuts.shorten.judgement import judge, tokens_per_second
from linear_shortcuts.shorten.methods import METHODS, fit, replaced
from linear_shortcuts.shorten.observation import cosines
from linear_shortcuts.shorten.surgery import Cut, down_projection
from linear_shortcuts.text.article_rows import Row

CANDIDATES = 6
Bars = Callable[[Iterable[Row], str], Iterable[Row]]  # rows and what is done with them


@dataclass(frozen=True)
class Shortened:
    """A shorter model and what is known of it.

    model: it, in memory, sharing weights with the original. made: how, for its card. candidates: a record a cut that
    was scored, the chosen one first. report: `whole` and `shorter` -> perplexity, KL and agreement with intervals,
    parameters and tokens a second.
    """

    model: LanguageModel
    made: dict[str, Any]
    candidates: list[dict[str, Any]]
    report: dict[str, dict[str, Any]]


def shorten(
    model: LanguageModel,
    rows: Mapping[str, Sequence[Row]],
    blocks: int,
    *,
    method: str = "fold",
    start: int | None = None,
    candidates: int = CANDIDATES,
    seed: int = 0,
    work: Path = WORK,
    bars: Bars = lambda rows, what: rows,
) -> Shortened:
    """Leave out `blocks` consecutive blocks of a model, with what `method` puts in their place.

    rows: the splits `fit`, `choose` and `report`, as `split_rows` makes them. start: the first block left out, counted
    from 0; None: the one, of some candidates, that costs least KL on `choose`. What is finished waits in `work`.

    Raises `InputError` for a cut that the model does not have, and for a model into which nothing folds.
    """
    cuts = possible_cuts(model, blocks, start, method)
    asked = {"blocks": blocks, "method": method, "start": start, "candidates": candidates, "seed": seed}
    ids = {name: [row.ids for row in own] for name, own in rows.items()}
    with resumable(model, ids, f"{method}.{blocks}", asked, work, code=__file__) as partial:
        if "cosines" not in partial:
            found = cosines(model, rows["choose"], cuts, lambda own: bars(own, "rank")) if len(cuts) > 1 else [None]
            partial.save("cosines", {}, list(found))
        ranked = _first(cuts, partial.note("cosines"), 2 * candidates)
        if "corrections" not in partial:
            solved = fit(model, [(cut, method) for cut, _ in ranked], rows, lambda own: bars(own, "fit"))
            files = {f"{cut.start}.pickle": vars(one) for (cut, _), one in solved.items() if one is not None}
            partial.save("corrections", files)
        corrections = {cut: _correction(partial, cut) for cut, _ in ranked}
        ranked = _second(ranked, corrections, candidates)
        if "choice" not in partial:
            others = {str(cut.start): replaced(model, (cut, method), corrections[cut]) for cut, _ in ranked}
            judged = judge(model, others, rows["choose"], lambda own: bars(own, "choose"))
            partial.save("choice", {}, {name: own.record(seed) for name, own in judged.items()})
        table = [_record(cut, cosine, corrections[cut], partial.note("choice")) for cut, cosine in ranked]
        table.sort(key=lambda record: record["kl"])
        cut = Cut(table[0]["start"], table[0]["start"] + blocks)
        shorter = replaced(model, (cut, method), corrections[cut])
        if "report" not in partial:
            partial.save("report", {}, report(model, shorter, rows["report"], seed, lambda own: bars(own, "report")))
        made = {"method": method, "left_out": str(cut), "start": cut.start, "end": cut.end, "of": model.layers}
        if (correction := corrections[cut]) is not None:
            made["penalty"] = correction.penalty
        return Shortened(shorter, made, table, partial.note("report"))


def resumable(
    model: LanguageModel,
    ids: Mapping[str, Sequence[Tensor]],
    what: str,
    asked: Mapping[str, Any],
    work: Path,
    *,
    code: str,
) -> Partial:
    """Where the finished steps of a run wait. ids: what it reads, by split; code: the file that it is written in."""
    read = {name: fingerprint([row.tolist() for row in own]) for name, own in ids.items()}
    recipe = {"model": dict(model.identity), **asked, "rows": read}
    item = re.sub(r"[^\w.-]+", "_", model.name).strip("._") or "model"
    return Partial("shorten", f"{item}.{what}", recipe, root=work, code=code)


def report(
    model: LanguageModel, shorter: LanguageModel, rows: Sequence[Row], seed: int, progress: Any = iter
) -> dict[str, dict[str, Any]]:
    """What the whole model and a shorter one are worth on rows that neither fitting nor choosing has seen, and cost."""
    models = {"whole": model, "shorter": shorter}
    judged = judge(model, models, rows, progress)
    room = min(model.max_tokens or 64, 64)
    speeds = tokens_per_second(models, rows[0].ids[: room // 2], tokens=room // 2)
    return {
        name: {
            **judged[name].record(seed),
            "parameters": sum(parameter.numel() for parameter in own.network.parameters()),
            "tokens_per_second": speeds[name],
        }
        for name, own in models.items()
    }


def possible_cuts(model: LanguageModel, blocks: int, start: int | None, method: str) -> list[Cut]:
    """The cuts there are to choose from; the first block is always kept, for something has to be corrected.

    Raises `InputError`; see `shorten`.
    """
    if method not in METHODS:
        raise InputError(f"method {method!r} is not known; use {', '.join(METHODS)}")
    if not 1 <= blocks < model.layers:
        raise InputError(
            f"{blocks} blocks cannot be left out of {model.layers} with the first one kept; give 1 to "
            f"{model.layers - 1}"
        )
    if start is not None and not 1 <= start <= model.layers - blocks:
        raise InputError(
            f"{blocks} blocks from block {start} on are not there with the first one kept; start at 1 to "
            f"{model.layers - blocks}"
        )
    if method == "fold":
        down_projection(model, 0)  # raises where nothing folds
    starts = range(1, model.layers - blocks + 1) if start is None else (start,)
    return [Cut(first, first + blocks) for first in starts]


def _first(cuts: Sequence[Cut], found: Sequence[float | None], most: int) -> list[tuple[Cut, float | None]]:
    """The cuts whose blocks turn the stream least."""
    return sorted(zip(cuts, found, strict=True), key=lambda pair: -(pair[1] or 0.0))[:most]


def _second(
    ranked: list[tuple[Cut, float | None]], corrections: Mapping[Cut, Correction | None], most: int
) -> list[tuple[Cut, float | None]]:
    """Half of the candidates the first by cosine, the others the first of the rest by r2, where there is one."""
    head, rest = ranked[: -(-most // 2)], ranked[-(-most // 2) :]
    rest = sorted(rest, key=lambda pair: -own.r2 if (own := corrections[pair[0]]) is not None else 0.0)
    return [*head, *rest[: most // 2]]


def _correction(partial: Partial, cut: Cut) -> Correction | None:
    name = f"{cut.start}.pickle"
    return Correction(**partial.load(name)) if name in partial.checksums() else None


def _record(
    cut: Cut, cosine: float | None, correction: Correction | None, judged: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    r2 = None if correction is None else correction.r2
    return {"start": cut.start, "end": cut.end, "cosine": cosine, "r2": r2, **judged[str(cut.start)]}

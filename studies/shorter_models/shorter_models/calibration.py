"""Which blocks are left out, how many at a time, and what is fitted to stand in their place, on one text.

For each number of blocks one cut serves all methods, so that they differ in nothing else: of the candidates that turn
the stream least the one whose fold costs least KL, on rows that nothing was fitted on and nothing is reported on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from linear_shortcuts.files import InputError, Partial
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.shorten.corrections import Correction
from linear_shortcuts.shorten.judgement import judge
from linear_shortcuts.shorten.methods import fit, replaced
from linear_shortcuts.shorten.observation import cosines
from linear_shortcuts.shorten.surgery import Cut
from linear_shortcuts.text import articles_of, split_rows
from linear_shortcuts.text.article_rows import Row
from shorter_models.settings import Settings

METHODS = ("drop", "patch", "fold", "matrix")  # from nothing to the bound
Bars = Callable[[Iterable[Row], str], Iterable[Row]]  # rows and what is done with them
Calibrated = Mapping[str, Any]


def rows_of(settings: Settings, text: str, model: LanguageModel, tokenizer: Any) -> dict[str, list[Row]]:
    """The rows of a text by split; `InputError` if the model is a masked one, or no text comes out."""
    if not model.family.causal:
        raise InputError(
            f"{model.name} is a masked model, of which this study has no perplexity; leave it out of models"
        )
    length = min(settings.length, model.max_tokens or settings.length)
    sizes = vars(settings.rows)
    return split_rows(
        articles_of(settings.file(text)), tokenizer, sizes, length=length, masked=False, seed=settings.seed
    )


def calibrate(
    model: LanguageModel, rows: Mapping[str, Sequence[Row]], settings: Settings, partial: Partial, bars: Bars
) -> Calibrated:
    """By number of blocks: the cut (start, end) and all candidates; by number and method: the correction's parts.

    Finished steps wait in `partial`. Raises `InputError` for more blocks than there are, the first one kept.
    """
    ranked = _ranked(model, rows["choose"], settings, partial, bars)
    tried = [cut for cuts in ranked.values() for cut, _ in cuts]
    if "folds" not in partial:
        partial.save("folds", _fitted(model, [(cut, "fold") for cut in tried], rows, bars))
    if "choice" not in partial:
        others = {str(cut): replaced(model, (cut, "fold"), _correction(partial, cut, "fold")) for cut in tried}
        judged = judge(model, others, rows["choose"], lambda own: bars(own, "choose"))
        partial.save("choice", {}, {name: own.mean_kl for name, own in judged.items()})
    kl = partial.note("choice")
    chosen = {number: min((cut for cut, _ in cuts), key=lambda cut: kl[str(cut)]) for number, cuts in ranked.items()}
    if "others" not in partial:
        tasks = [(cut, method) for cut in chosen.values() for method in ("patch", "matrix")]
        partial.save("others", _fitted(model, tasks, rows, bars))
    return {
        "cuts": {number: (cut.start, cut.end) for number, cut in chosen.items()},
        "candidates": [
            {"blocks": number, "start": cut.start, "end": cut.end, "cosine": cosine, "kl": kl[str(cut)]}
            for number, cuts in ranked.items()
            for cut, cosine in cuts
        ],
        "corrections": {
            f"{number}/{method}": vars(_correction(partial, cut, method))
            for number, cut in chosen.items()
            for method in METHODS
            if method != "drop"
        },
    }


def shorter_models(
    model: LanguageModel, calibrated: Calibrated, methods: Sequence[str] = METHODS
) -> dict[str, LanguageModel]:
    """The shorter models of a calibration, sharing the model's weights, by BLOCKS/METHOD."""
    found = {}
    for number, ends in calibrated["cuts"].items():
        for method in methods:
            parts = calibrated["corrections"].get(f"{number}/{method}")
            correction = None if parts is None else Correction(**parts)
            found[f"{number}/{method}"] = replaced(model, (Cut(*ends), method), correction)
    return found


def _ranked(
    model: LanguageModel, rows: Sequence[Row], settings: Settings, partial: Partial, bars: Bars
) -> dict[int, list[tuple[Cut, float]]]:
    """By number of blocks, the cuts whose blocks turn the stream least, with the cosine across them."""
    if max(settings.blocks) >= model.layers or min(settings.blocks) < 1:
        raise InputError(
            f"blocks lists {list(settings.blocks)}, but {model.name} has {model.layers} blocks and keeps the first: "
            f"give 1 to {model.layers - 1}"
        )
    cuts = {k: [Cut(start, start + k) for start in range(1, model.layers - k + 1)] for k in settings.blocks}
    every = [cut for own in cuts.values() for cut in own]
    if "cosines" not in partial:
        partial.save("cosines", {}, cosines(model, rows, every, lambda own: bars(own, "rank")))
    found = dict(zip(every, partial.note("cosines"), strict=True))
    return {
        number: sorted(((cut, found[cut]) for cut in own), key=lambda pair: -pair[1])[: settings.candidates]
        for number, own in cuts.items()
    }


def _fitted(
    model: LanguageModel, tasks: Sequence[tuple[Cut, str]], rows: Mapping[str, Sequence[Row]], bars: Bars
) -> dict[str, Any]:
    fitting = {split: rows[split] for split in ("fit", "choose")}
    solved = fit(model, tasks, fitting, lambda own: bars(own, "fit"))
    return {_file(cut, method): vars(one) for (cut, method), one in solved.items() if one is not None}


def _correction(partial: Partial, cut: Cut, method: str) -> Correction:
    return Correction(**partial.load(_file(cut, method)))


def _file(cut: Cut, method: str) -> str:
    return f"{method}.{cut.start}.{cut.end}.pickle"

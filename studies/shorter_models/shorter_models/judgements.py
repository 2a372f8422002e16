"""What all shorter models are worth beside the whole one, on one row of text at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

from linear_shortcuts.models import LanguageModel
from linear_shortcuts.shorten.comparison import SideBySide
from linear_shortcuts.shorten.judgement import sums
from linear_shortcuts.text.article_rows import IGNORED, Row
from shorter_models.calibration import METHODS, Calibrated, shorter_models

WHOLE = "whole"
TRANSFERRED = ("fold", "matrix")  # judged on the other texts too
COUNTED = ("loss", "kl", "agree", "positions", "right", "words")  # of each row: sums over it


def beside(model: LanguageModel, calibrations: Mapping[str, Calibrated], text: str) -> SideBySide:
    """The shorter models by TEXT/BLOCKS/METHOD: all that are calibrated on `text`, of others what is transferred."""
    others = {
        f"{source}/{name}": shorter
        for source, calibrated in calibrations.items()
        for name, shorter in shorter_models(model, calibrated, METHODS if source == text else TRANSFERRED).items()
    }
    return SideBySide(model, others)


def of_row(models: SideBySide, row: Row, words: Sequence[tuple[int, int]]) -> dict[str, list[float]]:
    """Of each model, and of the `WHOLE` one, what is `COUNTED`; words: the spans of tokens to be guessed."""
    labels = row.labels[row.labels != IGNORED].to(models.whole.device)
    ids = row.ids.to(models.whole.device)
    running = models(row)
    _, log_p = next(running)
    p, found = log_p.exp(), {}
    for name, log_q in chain([(WHOLE, log_p)], running):
        best = log_q.argmax(-1)
        right = sum(bool((best[first - 1 : end - 1] == ids[first:end]).all()) for first, end in words)
        found[name] = [*sums(log_p, p, log_q, labels), float(right), float(len(words))]
    return found

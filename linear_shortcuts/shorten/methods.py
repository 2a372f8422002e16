"""What stands where blocks are left out: nothing, a folded matrix, LinearPatch, or the full matrix.

`fold` and `drop` make ordinary models. `patch` and `matrix` multiply the stream itself, for which no ordinary
checkpoint has a place: they are there to be compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from linear_shortcuts.models import LanguageModel
from linear_shortcuts.shorten.corrections import Correction, Moments, best
from linear_shortcuts.shorten.observation import Passage, Progress, observe
from linear_shortcuts.shorten.patches import Sizes
from linear_shortcuts.shorten.surgery import Cut, add_product, down_projection, fold, without
from linear_shortcuts.text.article_rows import Row

METHODS = ("fold", "drop", "patch", "matrix")
SAVED = ("fold", "drop")
_REGRESSIONS = ("fold", "matrix")

Task = tuple[Cut, str]  # and a method


def fit(
    model: LanguageModel, tasks: Sequence[Task], rows: Mapping[str, Sequence[Row]], progress: Progress = iter
) -> dict[Task, Correction | None]:
    """What each method adds in the place of each cut, in one pass over the rows; None where it adds nothing.

    rows: `fit` to fit on, `choose` to choose the penalty by.
    """
    statistics = {split: {task: _statistics(model, task) for task in tasks if task[1] != "drop"} for split in rows}
    layers = {layer for cut, _ in tasks for layer in (cut.start, cut.end)}
    blocks = {cut.start - 1 for cut, method in tasks if method == "fold"}
    for split, own in statistics.items():
        for passage in observe(model, rows[split], layers, blocks, progress):
            for (cut, method), moments in own.items():
                moments.update(*_pair(passage, cut, method))
    return {task: _solution(model, task, {split: own.get(task) for split, own in statistics.items()}) for task in tasks}


def replaced(model: LanguageModel, task: Task, solution: Correction | None) -> LanguageModel:
    """The model with a cut made and what `fit` found put in its place; the original is left as it is."""
    cut, method = task
    shorter = without(model, cut)
    if solution is not None:
        put = fold if method == "fold" else add_product
        put(shorter, cut.start - 1, solution.matrix, solution.shift)
    return shorter


def _statistics(model: LanguageModel, task: Task) -> Any:
    return (Moments if task[1] in _REGRESSIONS else Sizes)(model.width, model.device)


def _pair(passage: Passage, cut: Cut, method: str) -> tuple[Any, Any]:
    before, behind = passage.states[cut.start], passage.states[cut.end]
    if method == "patch":
        return before, behind
    return passage.written[cut.start - 1] if method == "fold" else before, behind - before


def _solution(model: LanguageModel, task: Task, statistics: Mapping[str, Any]) -> Correction | None:
    cut, method = task
    if method == "drop":
        return None
    if method == "patch":
        return Correction(statistics["fit"].solve(), None, 0.0)
    return best(statistics["fit"], statistics["choose"], intercept=has_intercept(model, cut))


def has_intercept(model: LanguageModel, cut: Cut) -> bool:
    """Whether a folded correction may have one: the layer that it goes into has a bias to hold it."""
    if not model.family.down:
        return False
    return getattr(down_projection(model, cut.start - 1), "bias", None) is not None

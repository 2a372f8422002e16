"""Everything that decoding fits, from rows of text: drafts, exits, what fills the caches, the short list.

Closed form throughout: least squares with intercept (`maps.regression`), on the states of every token of a row but its
first few, which models put to uses of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from linear_shortcuts.decoding.exit_fits import FITTED_FILLS, AffineFit, ExitFit, check_exits
from linear_shortcuts.decoding.projections import Projections
from linear_shortcuts.decoding.shortcuts import Shortcuts, stack_of
from linear_shortcuts.decoding.stack import Stack
from linear_shortcuts.files import InputError
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.states import SequenceRecorder
from linear_shortcuts.text import encode, tokens

SKIPPED = 8  # first tokens of a row: attention rests on them, and their states are like no others
ROWS_AT_ONCE = 4


@torch.inference_mode()
def calibrate(
    model: LanguageModel,
    rows: Tensor,
    *,
    exits: Sequence[int] = (),
    draft_layer: int = 0,
    draft_middle: int | None = None,
    draft_levels: int = 3,
    short_list: int = 8192,
    fills: Sequence[str] = FITTED_FILLS,
) -> Shortcuts:
    """Fit what early exit and self-speculation need.

    rows: (n, tokens) ids of running text. exits: layers in 1..L-1 that may be left at.
    draft_layer: E in 0..L-1, whose states drafts are made of; draft_middle: a layer in E..L-1, whose state of the token
        before is one source more, by default two thirds of the way up; draft_levels: how many tokens ahead, 1 or more.
    short_list: how many tokens a draft and an exit choose among, the most frequent of the rows.
    fills: what is fitted for blocks that a token does not reach: `map`, `kv_map`, both or none.

    Raises `InputError` for too few tokens, and for layers that the model does not have.
    """
    stack = stack_of(model)
    middle = max(draft_layer, 2 * model.layers // 3) if draft_middle is None else draft_middle
    _check(model, rows, exits, draft_layer, middle, draft_levels)
    projections = Projections(stack) if exits and "kv_map" in fills else None
    drafts = [AffineFit(model.width * (level + 3)) for level in range(draft_levels)]
    fits = [ExitFit(layer, stack.layers, model.width, fills) for layer in exits]
    starts = range(0, len(rows), ROWS_AT_ONCE)
    for start in tqdm(starts, desc=f"{model.name}: calibrate", unit="batch", disable=None):
        states, made = _watch(model, rows[start : start + ROWS_AT_ONCE], projections, stack)
        read = states[-1]
        for module in stack.head[:-1]:
            read = module(read)
        for level, draft in enumerate(drafts):
            drafted = [_behind(states[draft_layer], up, level + 1) for up in range(level + 1)]
            above = [_behind(states[layer], level + 1, level + 1) for layer in (middle, -1)]
            draft.update([*drafted, *above], [_behind(read, 0, level + 1)])
        if fits:
            flat = [_behind(value, 0, 0) for value in states]
            parts = [[_behind(value, 0, 0) for value in block] for block in made]
        for fit in fits:
            fit.update(flat, parts)
    maps = {f"draft.{level}": draft.solve()[0] for level, draft in enumerate(drafts)}
    for fit in fits:
        maps |= fit.maps()
    listed = tokens.most_frequent(torch.bincount(rows.flatten(), minlength=model.vocabulary), short_list)
    on = {"rows": len(rows), "tokens": rows.shape[1], "skipped": SKIPPED}
    return Shortcuts.of(model, maps, listed, on, draft_layer, middle)


def rows_of(tokenizer: Any, texts: Iterable[str], tokens: int) -> Tensor:
    """Running text as rows of ids, (n, tokens); the end of each text that fills no row is left out.

    Raises `InputError` where no text fills one.
    """
    rows = [
        ids[start : start + tokens]
        for ids in encode(tokenizer, list(texts))["input_ids"]
        for start in range(0, len(ids) - tokens + 1, tokens)
    ]
    if not rows:
        raise InputError(f"no text has {tokens} tokens, which make a row; give longer ones")
    return torch.tensor(rows)


def _behind(values: Tensor, up: int, level: int) -> Tensor:
    """Of values (batch, tokens, e), those `up` places before each token that is read at a level, (m, e)."""
    return values[:, SKIPPED + level - up : values.shape[1] - up].flatten(0, 1)


def _watch(
    model: LanguageModel, rows: Tensor, projections: Projections | None, stack: Stack
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """h_0..h_L of rows, and of every block what its projections gave; nothing where these are not asked for."""
    recorder = SequenceRecorder()
    with ExitStack() as stays:
        stays.enter_context(model.watch(recorder))
        made = [stays.enter_context(projections.record(block)) for block in range(stack.layers)] if projections else []
        model.encode(rows.to(model.device), None)
    return recorder.states, made


def _check(
    model: LanguageModel, rows: Tensor, exits: Sequence[int], draft_layer: int, draft_middle: int, draft_levels: int
) -> None:
    if rows.ndim != 2 or rows.is_floating_point():
        raise InputError(f"rows are {rows.dtype} of shape {tuple(rows.shape)}; they must be ids (n, tokens)")
    if not 0 <= draft_layer < model.layers:
        raise InputError(
            f"draft_layer is {draft_layer}, but {model.name} has layers 0..{model.layers - 1} before its last"
        )
    if not draft_layer <= draft_middle < model.layers:
        raise InputError(
            f"draft_middle is {draft_middle}; it is a layer from the draft's, {draft_layer}, to {model.layers - 1}"
        )
    if draft_levels < 1:
        raise InputError(f"draft_levels is {draft_levels}; a draft looks one token ahead or more")
    check_exits(exits, model)
    longest = model.max_tokens
    if longest is not None and rows.shape[1] > longest:
        raise InputError(f"rows have {rows.shape[1]} tokens, but {model.name} reads {longest} at most")
    seen = len(rows) * max(0, rows.shape[1] - SKIPPED - draft_levels)
    needed = model.width * (draft_levels + 2) + 1
    if seen < needed:
        raise InputError(
            f"{len(rows)} rows of {rows.shape[1]} tokens give {seen:,} to fit on, but {needed:,} are needed for "
            f"drafts {draft_levels} tokens ahead; give more text"
        )

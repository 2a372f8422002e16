"""Text generation in one call: three ways, one result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch

from linear_shortcuts.decoding.choice import Choice, Sampler, greedy
from linear_shortcuts.decoding.early_exit import early_exit, threshold
from linear_shortcuts.decoding.filling import WAYS, Guesses, Waiting, Way
from linear_shortcuts.decoding.full import Step, full, full_batch
from linear_shortcuts.decoding.lookup import Lookup
from linear_shortcuts.decoding.projections import Projections
from linear_shortcuts.decoding.shortcuts import Shortcuts, stack_of
from linear_shortcuts.decoding.speculation import speculative
from linear_shortcuts.decoding.stack import Stack, new_cache
from linear_shortcuts.files import InputError
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.states import provenance

Method = Literal["full", "early-exit", "self-speculative"]
METHODS: tuple[Method, ...] = get_args(Method)
FLAT = tuple(1 + 0.03 * more for more in range(8))  # of a check of 1..8 tokens, where nothing was measured


@dataclass
class Generated:
    """What was made of one prompt.

    ids: new tokens, the one that ended it included. layers: of each, how many blocks made it. drafted: how many tokens
    were guessed, held: how many of them came true. steps: passes. seconds: all of it, reading the prompt included.
    """

    ids: list[int] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)
    drafted: int = 0
    held: int = 0
    steps: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return len(self.ids) / self.seconds if self.seconds else float("inf")

    def take(self, step: Step, room: int, stops: Sequence[int]) -> list[int]:
        """Add a step's tokens, up to `room` in all and to the first that stops; which were added."""
        made: list[int] = []
        for token in step.tokens[: room - len(self.ids)]:
            made.append(token)
            if token in stops:
                break
        self.ids += made
        self.layers += step.layers[: len(made)]
        self.steps += 1
        self.drafted += step.drafted
        self.held += min(len(made), len(step.tokens) - 1)
        return made


@torch.inference_mode()
def generate(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    *,
    new_tokens: int = 64,
    method: Method = "full",
    shortcuts: Shortcuts | None = None,
    fill: Way = "kv_map",
    confidence: float = 0.5,
    whole_head: bool = False,
    width: int = 4,
    costs: Sequence[float] = FLAT,
    lookup: bool = False,
    temperature: float = 0.0,
    seed: int = 0,
    stops: Sequence[int] = (),
    tell: Callable[[int, list[int], Step], None] | None = None,
) -> list[Generated]:
    """Continue prompts of token ids.

    method: `full`, all prompts in one batch; `early-exit` and `self-speculative`, which need `shortcuts`, one prompt
        after the other. What `self-speculative` gives is what `full` gives.
    fill, confidence, whole_head: of early exit: what later blocks are told of a token that left, see `filling`; lambda
        of the threshold, see `threshold`; whether exits choose among all tokens and not the short list.
    width, costs, lookup: of self-speculation: see `Draft` and `speculative`; whether the text itself is asked, too.
    temperature: 0 takes the best token; above, one is drawn from the softmax of logits / temperature, of every prompt
        by its own generator; not where tokens leave early, since that would be another distribution.
    stops: tokens that end a text. tell: is called with the number of a prompt, its new tokens and their step.

    Raises `InputError` for an empty prompt, one that leaves no room, ids the model does not have, and settings out of
    range.
    """
    stack = stack_of(model)
    _check(model, prompts, new_tokens, method, shortcuts, fill, confidence, temperature, costs)
    made = [Generated() for _ in prompts]
    choices = [greedy if not temperature else Sampler(temperature, seed + n) for n in range(len(prompts))]
    short_list = None
    if shortcuts is not None:
        shortcuts = shortcuts.to(model.device, model.network.dtype)
        short_list = None if whole_head or method != "early-exit" else shortcuts.head(stack)
    if method == "full" and len(prompts) > 1:
        _batch(stack, prompts, choices, made, new_tokens, stops, tell)
        return made
    for number, (prompt, choose) in enumerate(zip(prompts, choices, strict=True)):
        steps: Iterator[Step]
        if method == "full" or shortcuts is None:
            steps = full(stack, prompt, choose)
        elif method == "early-exit":
            sure, projections = threshold(confidence, new_tokens), None
            if fill == "kv_map":
                projections = Projections(stack)
                _check_sizes(shortcuts.guesses(fill), projections)
            waiting = Waiting(stack, new_cache(), fill, shortcuts.guesses(fill), projections)
            steps = early_exit(stack, prompt, choose, shortcuts.exit_maps(), sure, waiting, short_list)
        else:
            text = Lookup(prompt) if lookup else None
            steps = speculative(stack, prompt, choose, shortcuts.draft(stack, width), costs, model.max_tokens, text)
        _one(steps, made[number], number, new_tokens, stops, tell)
    return made


def _check_sizes(guesses: Guesses, projections: Projections) -> None:
    for (layer, block), affine in guesses.items():
        if len(affine.weight) != (needed := sum(projections.sizes(block))):
            raise InputError(
                f"kv_map.{layer}.{block} of the shortcuts gives {len(affine.weight)} numbers, but keys and values of "
                f"block {block} take {needed}; fit them anew"
            )


Tell = Callable[[int, list[int], Step], None] | None


def _one(
    steps: Iterator[Step], made: Generated, number: int, new_tokens: int, stops: Sequence[int], tell: Tell
) -> None:
    began = time.perf_counter()
    while len(made.ids) < new_tokens and not (made.ids and made.ids[-1] in stops):
        step = next(steps)
        new = made.take(step, new_tokens, stops)
        if tell is not None:
            tell(number, new, step)
    made.seconds = time.perf_counter() - began


def _batch(
    stack: Stack,
    prompts: Sequence[Sequence[int]],
    choices: Sequence[Choice],
    made: Sequence[Generated],
    new_tokens: int,
    stops: Sequence[int],
    tell: Tell,
) -> None:
    """All prompts in one batch; a text that has ended goes on unseen until the last one has."""
    began, steps = time.perf_counter(), full_batch(stack, prompts, choices)
    while any(len(one.ids) < new_tokens and not (one.ids and one.ids[-1] in stops) for one in made):
        for number, (one, token) in enumerate(zip(made, next(steps), strict=True)):
            if len(one.ids) < new_tokens and not (one.ids and one.ids[-1] in stops):
                step = Step((token,), (stack.layers,))
                new = one.take(step, new_tokens, stops)
                one.seconds = time.perf_counter() - began
                if tell is not None:
                    tell(number, new, step)


def _check(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    method: Method,
    shortcuts: Shortcuts | None,
    fill: Way,
    confidence: float,
    temperature: float,
    costs: Sequence[float],
) -> None:
    if method not in METHODS:
        raise InputError(f"method is {method!r}; it must be one of {', '.join(METHODS)}")
    if new_tokens < 1:
        raise InputError(f"new_tokens is {new_tokens}; ask for 1 or more")
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature is {temperature}; it must be 0, for the best token, or more")
    if not math.isfinite(confidence):
        raise InputError(f"confidence is {confidence}; give 0, to leave soon, to 1.2, to leave never")
    for number, prompt in enumerate(prompts):
        if not len(prompt):
            raise InputError(f"prompt {number} has no token; begin it with one, such as the tokenizer's bos_token")
        if not all(0 <= token < model.vocabulary for token in prompt):
            raise InputError(
                f"prompt {number} has ids outside 0..{model.vocabulary - 1}; encode it with {model.name}'s tokenizer"
            )
        longest = model.max_tokens
        if longest is not None and len(prompt) + new_tokens - 1 > longest:
            raise InputError(
                f"prompt {number} has {len(prompt)} tokens and {new_tokens} are to follow, but {model.name} reads "
                f"{longest} at most; shorten either"
            )
    if method == "full":
        return
    if shortcuts is None:
        raise InputError(f"method {method} needs shortcuts; fit them with calibrate")
    provenance.check_model(shortcuts.card, model, "this set of shortcuts")
    if method == "self-speculative":
        shortcuts.check_drafts()
        if not len(costs) or min(costs) <= 0:
            raise InputError(f"costs are {list(costs)}; give the time of a check of 1, 2, … tokens, above 0")
        return
    if temperature:
        raise InputError("method early-exit takes the best token only; set temperature to 0, or use another method")
    if fill not in WAYS:
        raise InputError(f"fill is {fill!r}; it must be one of {', '.join(WAYS)}")
    if not shortcuts.exits:
        raise InputError("the shortcuts have no exits; fit them with the layers that may be left at")
    if fill in ("map", "kv_map"):
        wanted = {(i, j) for i in shortcuts.exits for j in range(i, model.layers) if fill == "kv_map" or j > i}
        if missing := sorted(wanted - shortcuts.guesses(fill).keys()):
            raise InputError(
                f"the shortcuts have nothing for fill {fill} from layer {missing[0][0]} to block {missing[0][1] + 1}; "
                "fit them with it, or use copy or recompute"
            )

"""Self-speculation: whatever the draft guesses, the tokens are those of full decoding."""

from collections import Counter
from dataclasses import replace

import decoders
import pytest
import torch

from linear_shortcuts.decoding.choice import Sampler, greedy
from linear_shortcuts.decoding.full import full
from linear_shortcuts.decoding.short_list import ShortList
from linear_shortcuts.decoding.speculation import speculative

COSTS = [1 + 0.01 * more for more in range(8)]
TOKENS = 24  # of every family; there are 26 architectures, three layers and two shapes: 3,744 tokens in all


@pytest.mark.parametrize("name", decoders.CAUSAL)
@torch.inference_mode()
def test_the_tokens_are_those_of_full_decoding(name):
    stack = decoders.stack(name)
    wanted = decoders.full_tokens(stack, TOKENS)
    for layer in range(stack.layers):
        for width in (1, 3):
            draft = decoders.draft(stack, layer, width)
            steps = speculative(stack, decoders.PROMPT, greedy, draft, COSTS, 32)
            assert decoders.tokens(steps, TOKENS) == wanted, (layer, width)


@torch.inference_mode()
def test_guesses_that_hold_save_steps():
    """The positive control: all of the commonest tokens of a text are guessed, one ahead, so that one of them holds."""
    for name in ("codegen", "gptj", "gpt_neo"):
        stack = decoders.stack(name)
        common = [token for token, _ in Counter(decoders.full_tokens(stack, TOKENS)).most_common(len(COSTS) - 1)]
        short_list = ShortList.of(stack, torch.tensor(common))
        draft = replace(
            decoders.draft(stack, 1, len(common)), short_list=short_list, least=2.0
        )  # chances are no more than 1
        steps, made = [], 0
        for step in speculative(stack, decoders.PROMPT, greedy, draft, [1.0] * len(COSTS), 32):
            steps.append(step)
            made += len(step.tokens)
            if made >= TOKENS:
                break
        assert all(step.drafted < len(COSTS) for step in steps)
        assert made - len(steps) >= 3, name


@torch.inference_mode()
def test_draws_are_those_of_full_decoding_with_the_same_seed():
    stack = decoders.stack("llama")
    wanted = decoders.tokens(full(stack, decoders.PROMPT, Sampler(0.7, 3)), TOKENS)
    draft = decoders.draft(stack, 1, 3)
    steps = speculative(stack, decoders.PROMPT, Sampler(0.7, 3), draft, COSTS, 32)
    assert decoders.tokens(steps, TOKENS) == wanted != decoders.full_tokens(stack, TOKENS)


@pytest.mark.parametrize("name", ["gpt2", "opt", "llama"])
@torch.inference_mode()
def test_nothing_is_drafted_beyond_what_the_model_can_read(name):
    stack = decoders.stack(name)
    steps = speculative(stack, [5] * 27, greedy, decoders.draft(stack, 1, 2), COSTS, 32)
    assert decoders.tokens(steps, 6) == decoders.full_tokens(stack, 6, [5] * 27)


@pytest.mark.parametrize("layer", [0, 1])
@torch.inference_mode()
def test_guessing_ends_where_little_is_likely_to_hold(layer):
    stack, free = decoders.stack("llama"), [1.0] * 8  # as many checks as one likes at the price of one
    draft = decoders.draft(stack, layer, 2)
    deepest = []
    for least in (0.0, 2.0):  # chances of a level sum up to 1 at most
        steps = speculative(stack, decoders.PROMPT, greedy, replace(draft, least=least), free, 32)
        deepest.append(max(next(steps).drafted for _ in range(6)))
    assert deepest == [2 * len(draft.levels), 2]


@torch.inference_mode()
def test_dear_checks_draft_nothing():
    stack = decoders.stack("llama")
    steps = speculative(stack, decoders.PROMPT, greedy, decoders.draft(stack, 1, 3), [1.0, 9.0], 32)
    first, *others = [next(steps) for _ in range(6)]
    assert [step.drafted for step in others] == [0] * 5

"""Early exit: nobody leaves where nobody is sure; who leaves says what the exit says."""

import itertools

import decoders
import pytest
import tiny
import torch

from linear_shortcuts.decoding.choice import greedy
from linear_shortcuts.decoding.early_exit import early_exit, threshold
from linear_shortcuts.decoding.filling import WAYS, Waiting
from linear_shortcuts.decoding.full import full
from linear_shortcuts.decoding.short_list import ShortList
from linear_shortcuts.decoding.stack import Affine, new_cache
from linear_shortcuts.scores.early_exit import thresholds


def exits(stack):
    return dict.fromkeys((1, 2), Affine(torch.eye(stack.network.config.get_text_config().hidden_size)))


def noting(logits_seen):
    return lambda logits: logits_seen.append(logits) or greedy(logits)


@pytest.mark.parametrize("way", WAYS)
@torch.inference_mode()
def test_with_a_threshold_nobody_reaches_it_is_the_full_model_to_the_bit(way):
    for name in decoders.CAUSAL[::4]:
        stack = decoders.stack(name)
        seen: dict[str, list[torch.Tensor]] = {"full": [], "early": []}
        waiting = Waiting(stack, new_cache(), way)
        early = early_exit(stack, decoders.PROMPT, noting(seen["early"]), exits(stack), lambda t: 1.0, waiting)
        for steps in (early, full(stack, decoders.PROMPT, noting(seen["full"]))):
            assert all(step.layers == (stack.layers,) for step in itertools.islice(steps, 12))
        assert all(map(torch.equal, seen["early"], seen["full"]))


@torch.inference_mode()
def test_who_is_always_sure_leaves_at_the_first_exit_with_a_listed_token():
    stack = decoders.stack("llama")
    short = ShortList.of(stack, torch.tensor([7, 40, 41]))
    waiting = Waiting(stack, new_cache(), "copy")
    steps = early_exit(stack, decoders.PROMPT, greedy, exits(stack), lambda t: -1.0, waiting, short)
    first, *others = itertools.islice(steps, 10)
    assert first.layers == (stack.layers,)
    assert {step.layers for step in others} == {(1,)}
    assert {step.tokens[0] for step in others} <= {7, 40, 41}


def test_the_threshold_is_the_studys():
    positions = torch.arange(19)  # the mean of t + 1 is 10
    rule = threshold(0.4, 10)
    torch.testing.assert_close(
        torch.tensor([rule(t) for t in range(19)], dtype=torch.float64), thresholds(0.4, positions)
    )
    assert tiny.LAYERS == 3

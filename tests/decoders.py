"""Stacks, drafts and prompts for the tests of decoding: every causal architecture of `tiny`, small and random."""

import itertools

import tiny
import torch

from linear_shortcuts.decoding.choice import greedy
from linear_shortcuts.decoding.full import full
from linear_shortcuts.decoding.short_list import ShortList
from linear_shortcuts.decoding.shortcuts import stack_of
from linear_shortcuts.decoding.speculation import Draft
from linear_shortcuts.decoding.stack import Affine

MASKED = ("bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "modernbert")
CAUSAL = [name for name in tiny.ARCHITECTURES if name not in MASKED]
PROMPT = [5, 9, 20, 33]


def stack(name):
    return stack_of(tiny.architecture(name))


def tokens(steps, number):
    """The first `number` tokens of an endless decoding."""
    found = itertools.chain.from_iterable(step.tokens for step in steps)
    return list(itertools.islice(found, number))


def full_tokens(made, number, prompt=PROMPT):
    return tokens(full(made, prompt, greedy), number)


def random_maps(outputs, width, levels, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [Affine(torch.randn(outputs, (level + 3) * width, generator=generator)) for level in range(levels)]


def draft(made, layer, width, listed=tiny.VOCABULARY, levels=3):
    """A draft that knows nothing: what holds of it holds by chance, which is often enough among few tokens."""
    last = made.head[-1]
    maps = random_maps(last.in_features, made.network.config.get_text_config().hidden_size, levels)
    return Draft(layer, made.layers - 1, maps, ShortList.of(made, torch.arange(listed)), width)

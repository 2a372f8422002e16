"""Guesses from the text itself, against a search from its start; what decoding makes of them is what it would make."""

import decoders
import pytest
import torch
from hypothesis import given, strategies as st

from linear_shortcuts.decoding.choice import greedy
from linear_shortcuts.decoding.lookup import Lookup
from linear_shortcuts.decoding.speculation import speculative
from linear_shortcuts.decoding.tree import Tree

TEXTS = st.lists(st.integers(0, 3), min_size=1, max_size=30)


def sought(ids, longest, most):
    """What followed the last occurrence of the longest end that stood before, token by token."""
    for length in range(min(longest, len(ids)), 0, -1):
        for start in range(len(ids) - length - 1, -1, -1):
            if ids[start : start + length] == ids[-length:]:
                return ids[start + length : start + length + most]
    return []


@given(TEXTS, st.integers(1, 4), st.integers(1, 5), st.integers(0, 6), st.data())
def test_a_branch_is_what_followed_the_longest_end_that_stood_before(ids, longest, most, deepest, data):
    cut = data.draw(st.integers(0, len(ids)))
    lookup = Lookup(ids[:cut], longest, most)
    lookup.extend(ids[cut:])
    tree = Tree([ids[-1]])
    lookup.grow(tree, deepest)
    assert tree.tokens[1:] == sought(ids, longest, min(most, deepest))
    assert tree.is_chain
    assert all(0 < below <= above for above, below in zip(tree.chances, tree.chances[1:]))  # noqa: B905 (neighbours)


def test_what_the_tree_has_already_is_not_added_again_but_may_become_likelier():
    lookup, tree = Lookup([7, 5, 6, 9, 7]), Tree([7])
    for token, parent, chance in ((5, 0, 0.9), (8, 0, 0.1), (6, 1, 0.01)):
        tree.add(token, parent, chance)
    lookup.grow(tree, 3)
    assert tree.tokens == [7, 5, 8, 6, 9]
    assert tree.parents == [-1, 0, 0, 1, 3]
    assert tree.chances == [1.0, 0.9, 0.1, 0.25, 0.125]


def test_guesses_that_held_are_trusted_more_and_others_less():
    def trust(ids):
        lookup, tree = Lookup([]), Tree([ids[-1]])
        for token in ids:  # one by one, as a text is made
            lookup.extend([token])
        lookup.grow(tree, 1)
        return tree.chances[1]

    assert trust([1, 2, 3] * 6) > 0.9
    assert trust([1, 2, 1, 3, 1, 4, 1, 5, 1, 6, 1]) < 0.2


REPEATED = [5, 9, 20, 33] * 3


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "bloom", "phi"])
@torch.inference_mode()
def test_the_tokens_are_those_of_full_decoding(name):
    stack = decoders.stack(name)
    wanted = decoders.full_tokens(stack, 16, REPEATED)
    for layer in (0, 1):
        draft = decoders.draft(stack, layer, 3)
        steps = speculative(stack, REPEATED, greedy, draft, [1 + 0.01 * n for n in range(8)], 32, Lookup(REPEATED))
        assert decoders.tokens(steps, 16) == wanted


@torch.inference_mode()
def test_a_text_that_repeats_itself_takes_fewer_steps():
    """The positive control: what a small random model makes goes round in circles before long."""
    stack = decoders.stack("gptj")
    draft, costs = decoders.draft(stack, 0, 1), [1.0] * 8

    def taken(lookup):
        steps, made, number = speculative(stack, REPEATED, greedy, draft, costs, 32, lookup), 0, 0
        while made < 18:
            made, number = made + len(next(steps).tokens), number + 1
        return number

    assert taken(Lookup(REPEATED)) < taken(None)

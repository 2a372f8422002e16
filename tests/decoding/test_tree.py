"""Trees of drafts: masks and choices against brute force, for trees that hypothesis makes."""

from itertools import combinations

import torch
from hypothesis import given, settings, strategies as st

from linear_shortcuts.decoding.tree import Tree


@st.composite
def trees(draw, most=7):
    tree = Tree([0])
    for token in range(1, draw(st.integers(1, most))):
        parent = draw(st.integers(0, token - 1))
        tree.add(token, parent, tree.chances[parent] * draw(st.floats(0.01, 1)))
    return tree


def above(tree, node):
    return set() if node < 0 else {node} | above(tree, tree.parents[node])


@settings(deadline=None, max_examples=50)
@given(trees(), st.integers(0, 4))
def test_a_node_sees_all_that_is_past_itself_and_those_above_it(tree, past):
    mask = tree.mask(past, 0, torch.float32)[0, 0]
    for node in range(len(tree.tokens)):
        seen = {place for place, value in enumerate(mask[node].tolist()) if value == 0}
        assert seen == set(range(past)) | {past + place for place in above(tree, node)}
        assert tree.depths[node] == len(above(tree, node)) - 1
    last = len(tree.tokens) - 1
    assert torch.equal(tree.mask(past, last, torch.float32), tree.mask(past, 0, torch.float32)[:, :, last:])
    assert tree.is_chain == (tree.depths == list(range(len(tree.tokens))))


@settings(deadline=None, max_examples=50)
@given(trees(), st.lists(st.floats(0.05, 0.5), min_size=7, max_size=7))
def test_no_set_of_nodes_promises_more_tokens_a_second(tree, increments):
    costs = [sum(increments[: n + 1]) + 1 for n in range(7)]
    nodes = tree.worth(costs)
    assert nodes[0] == 0
    assert nodes == sorted(nodes)
    assert all(tree.parents[node] in nodes for node in nodes[1:])

    def rate(chosen):
        return sum(tree.chances[node] for node in chosen) / costs[len(chosen) - 1]

    others = range(1, len(tree.tokens))
    best = max(rate([0, *some]) for n in range(len(tree.tokens)) for some in combinations(others, n))
    assert rate(nodes) >= best - 1e-9


@settings(deadline=None, max_examples=30)
@given(trees())
def test_a_part_of_a_tree_keeps_who_follows_whom(tree):
    nodes = tree.worth([1.0, 1.1, 1.2])
    part = tree.only(nodes)
    for number, node in enumerate(nodes):
        assert part.tokens[number] == tree.tokens[node]
        assert [nodes[place] for place in part.way(number)] == tree.way(node)

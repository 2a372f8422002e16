"""Self-speculation that wastes nothing: draft with the first blocks and a fitted map, check with the rest.

A draft keeps its keys, values and states; the check runs the later blocks only, on all drafted tokens at once, and the
caches are cut back to what held. What comes out is what full decoding gives: the full model makes every token, and the
draft only says which it may be spared to wait for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from linear_shortcuts.decoding.choice import Choice
from linear_shortcuts.decoding.full import Step
from linear_shortcuts.decoding.lookup import Lookup
from linear_shortcuts.decoding.short_list import ShortList
from linear_shortcuts.decoding.stack import Affine, Calls, Stack, keep, new_cache
from linear_shortcuts.decoding.tree import Tree


@dataclass(frozen=True)
class Draft:
    """How tokens are guessed.

    layer: E, the blocks that a guess runs through; 0: none.
    middle: a layer in E..L-1, whose state of the token above the root is read beside its h_L.
    levels: the map of each level of the tree, from the states one after the other of the token at layer E, of those
        above it up to the root, nearest first, and at last of h_middle and h_L of the token above the root; to what the
        head's last module reads there, the normalised h_L.
    short_list: the tokens among which a guess chooses.
    width: nodes of a level that have children, and the most that one has.
    least: guessing ends where the chance that one of a level holds is thought to be below this.
    """

    layer: int
    middle: int
    levels: Sequence[Affine]
    short_list: ShortList
    width: int = 4
    least: float = 0.1


def speculative(
    stack: Stack,
    prompt: Sequence[int],
    choose: Choice,
    draft: Draft,
    costs: Sequence[float],
    most: int | None = None,
    lookup: Lookup | None = None,
) -> Iterator[Step]:
    """Decode without end; of every step the tokens that held and one more.

    costs: the time of a check of 1, 2, … tokens, in any unit; as many as may be checked at once.
    most: tokens that the model can read; None: any number.
    lookup: of the prompt, for a branch of guesses from the text itself where drafts may branch; None: none.
    """
    device, cache = stack.network.device, new_cache()
    calls = stack.prepare(torch.tensor([list(prompt)], device=device), 0)
    middles = stack.run(calls, calls.states, 0, draft.middle, cache)
    ends = stack.run(calls, middles, draft.middle, stack.layers, cache)
    above, token = torch.cat([middles[0, -1], ends[0, -1]]), choose(stack.decode(ends[0, -1]))
    yield Step((token,), (stack.layers,))
    past = len(prompt)
    if lookup is not None:
        lookup.extend([token])
    while True:
        room = len(costs) if most is None else most - past
        tree, states = guess(stack, Tree([token]), above, draft, past, room, cache)
        if lookup is not None and stack.branches(past + len(tree.tokens) + lookup.most):
            first = len(tree.tokens)
            lookup.grow(tree, room - 1)
            if draft.layer and len(tree.tokens) > first:
                states = torch.cat([states, _enter(stack, tree, past, first, draft.layer, cache)], dim=1)
        nodes = tree.worth(costs)
        tree = tree.only(nodes)
        keep(cache, past, nodes, range(draft.layer))
        calls = _calls(stack, tree, past, 0)
        states = states[:, nodes] if draft.layer else calls.states
        middles = stack.run(calls, states, draft.layer, draft.middle, cache)
        ends = stack.run(calls, middles, draft.middle, stack.layers, cache)
        logits = stack.decode(ends[0])
        path, made = [0], [choose(logits[0])]
        while (held := tree.child(path[-1], made[-1])) is not None:
            path.append(held)
            made.append(choose(logits[held]))
        keep(cache, past, path)
        past, token, end = past + len(path), made[-1], path[-1]
        above = torch.cat([middles[0, end], ends[0, end]])
        if lookup is not None:
            lookup.extend(made)
        yield Step(tuple(made), (stack.layers,) * len(made), len(tree.tokens) - 1)


def guess(
    stack: Stack, tree: Tree, above: Tensor, draft: Draft, past: int, room: int, cache: DynamicCache
) -> tuple[Tree, Tensor]:
    """A tree of guesses below the root, and the states (1, nodes, d) at the draft's layer of its nodes.

    Of all of them, but for a draft of layer 0: those of the deepest level, below which none is guessed, are left out.
    above: h_middle and h_L of the token above the root, (2 d,). room: the most tokens from the root down.
    """
    levels = draft.levels[: max(0, room - 1)]
    width = draft.width if stack.branches(past + 1 + draft.width * len(levels)) else 1
    states, frontier = _enter(stack, tree, past, 0, draft.layer, cache), [0]
    for deep, level in enumerate(levels, 1):
        read = torch.stack([torch.cat([*states[0, tree.way(node)], above]) for node in frontier])
        logits = stack.bound(draft.short_list.head(level(read)))
        best = torch.softmax(logits.float(), dim=-1).topk(width)
        tokens = draft.short_list.ids[best.indices]
        chances = best.values * torch.tensor([[tree.chances[node]] for node in frontier], device=tokens.device)
        chosen, first = chances.flatten().topk(width), len(tree.tokens)
        for chance, place in zip(chosen.values.tolist(), chosen.indices.tolist(), strict=True):
            tree.add(int(tokens.flatten()[place]), frontier[place // width], chance)
        frontier = list(range(first, len(tree.tokens)))
        ends = deep == len(levels) or float(chosen.values.sum()) < draft.least
        if draft.layer or not ends:
            states = torch.cat([states, _enter(stack, tree, past, first, draft.layer, cache)], dim=1)
        if ends:
            break
    return tree, states


def _enter(stack: Stack, tree: Tree, past: int, first: int, layer: int, cache: DynamicCache) -> Tensor:
    """The states (1, nodes, d) at a layer of the nodes from `first` on."""
    if layer == 0:
        return stack.embed(*_placed(stack, tree, past, first))
    calls = _calls(stack, tree, past, first)
    return stack.run(calls, calls.states, 0, layer, cache)


def _calls(stack: Stack, tree: Tree, past: int, first: int) -> Calls:
    """What the blocks are given for the nodes from `first` on, behind `past` tokens."""
    ids, before, positions = _placed(stack, tree, past, first)
    if positions is None:
        return stack.prepare(ids, before)
    mask = tree.mask(past, first, stack.network.dtype).to(ids.device)
    return stack.prepare(ids, before, positions, mask)


def _placed(stack: Stack, tree: Tree, past: int, first: int) -> tuple[Tensor, int, Tensor | None]:
    """Ids of the nodes from `first` on, (1, nodes); the tokens before them; their positions, if they branch."""
    device = stack.network.device
    ids = torch.tensor([tree.tokens[first:]], device=device)
    if tree.is_chain:
        return ids, past + first, None
    return ids, past + first, torch.tensor([tree.depths[first:]], device=device) + past

"""Drafted tokens as a tree: each follows the token above it, the root is the last token that is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Tree:
    """tokens: ids, the root first, parents before their children. parents: places in `tokens`; -1 above the root.

    chances: of each, how likely it is thought that it and all above it hold; 1 for the root.
    """

    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [-1])
    chances: list[float] = field(default_factory=lambda: [1.0])

    def add(self, token: int, parent: int, chance: float) -> None:
        """A child of the node at `parent`."""
        self.tokens.append(token)
        self.parents.append(parent)
        self.chances.append(chance)

    def child(self, parent: int, token: int) -> int | None:
        """The child of a node that guessed this token, if there is one."""
        for node in range(parent + 1, len(self.tokens)):
            if self.parents[node] == parent and self.tokens[node] == token:
                return node
        return None

    def way(self, node: int) -> list[int]:
        """The places from a node up to the root."""
        places = [node]
        while self.parents[places[-1]] >= 0:
            places.append(self.parents[places[-1]])
        return places

    @property
    def depths(self) -> list[int]:
        """How many tokens stand between each and the one above the root."""
        return [len(self.way(node)) - 1 for node in range(len(self.tokens))]

    @property
    def is_chain(self) -> bool:
        """Whether every token follows the one before it, so that no mask is needed."""
        return self.parents == list(range(-1, len(self.tokens) - 1))

    def mask(self, past: int, first: int, dtype: torch.dtype) -> Tensor:
        """What is added to the scores of the nodes from `first` on: (1, 1, nodes, past + all nodes).

        0 where a node may look: at all `past` tokens, at itself and those above it; the lowest number elsewhere.
        """
        nodes = len(self.tokens)
        mask = torch.full((nodes - first, past + nodes), torch.finfo(dtype).min, dtype=dtype)
        mask[:, :past] = 0
        for node in range(first, nodes):
            mask[node - first, torch.tensor(self.way(node)) + past] = 0
        return mask[None, None]

    def only(self, nodes: Sequence[int]) -> Tree:
        """The tree of some nodes, rising, the root and the parent of each among them."""
        place = {-1: -1} | {node: number for number, node in enumerate(nodes)}
        return Tree(
            [self.tokens[node] for node in nodes],
            [place[self.parents[node]] for node in nodes],
            [self.chances[node] for node in nodes],
        )

    def worth(self, costs: Sequence[float]) -> list[int]:
        """The nodes for which most tokens are expected in the time of their check, rising, the root among them.

        costs: the time of a check of 1, 2, … tokens. A token is expected of the full model in any case, and one more
        for every node with its chance; so the most likely nodes are taken while that pays.
        """
        order = sorted(range(len(self.tokens)), key=lambda node: -self.chances[node])[: len(costs)]
        rates, expected = [], 0.0
        for node, cost in zip(order, costs, strict=False):
            expected += self.chances[node]
            rates.append(expected / cost)
        return sorted(order[: rates.index(max(rates)) + 1])

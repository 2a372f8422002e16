"""Guesses from the text itself: what followed the last few tokens where they stood before (prompt lookup decoding)."""

from __future__ import annotations

from collections.abc import Sequence

from linear_shortcuts.decoding.tree import Tree


class Lookup:
    """A text that grows, and what is likely to follow it by its own example.

    longest: tokens at its end that are sought, fewer where these are not found. most: tokens that are guessed.
    """

    def __init__(self, ids: Sequence[int], longest: int = 3, most: int = 6) -> None:
        self.longest, self.most = longest, most
        self.ids: list[int] = []
        self.places: dict[tuple[int, ...], int] = {}  # what last followed such tokens, by its place
        self.tried, self.held = [2] * (longest + 1), [1] * (longest + 1)  # by the tokens found; as if of two one held
        self.extend(ids)

    def extend(self, ids: Sequence[int]) -> None:
        """Let tokens follow; the first says whether what was guessed held."""
        if len(ids) and (found := self._found()) is not None:
            length, place = found
            self.tried[length] += 1
            self.held[length] += self.ids[place] == ids[0]
        for token in ids:
            for length in range(1, min(self.longest, len(self.ids)) + 1):
                self.places[tuple(self.ids[-length:])] = len(self.ids)
            self.ids.append(token)

    def grow(self, tree: Tree, deepest: int) -> None:
        """Add a branch to a tree whose root is the last token, of at most so many tokens.

        A token that the tree has already is as likely as the likelier of the two guesses says.
        """
        if (found := self._found()) is None:
            return
        length, place = found
        chance, parent = self.held[length] / self.tried[length], 0
        for depth, token in enumerate(self.ids[place : place + max(0, min(self.most, deepest))], 1):
            child = tree.child(parent, token)
            if child is None:
                tree.add(token, parent, chance**depth)
                child = len(tree.tokens) - 1
            else:
                tree.chances[child] = max(tree.chances[child], chance**depth)
            parent = child

    def _found(self) -> tuple[int, int] | None:
        """How many tokens at the end stood before, and the place of what followed them there."""
        for length in range(min(self.longest, len(self.ids)), 0, -1):
            if (place := self.places.get(tuple(self.ids[-length:]))) is not None:
                return length, place
        return None

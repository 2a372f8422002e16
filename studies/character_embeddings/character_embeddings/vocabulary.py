"""Characters as numbers, and names as pairs of a context and the character that follows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from linear_shortcuts.files import InputError, artifacts

UNKNOWN = "▮"  # id 0: a character that is not in the vocabulary
END = "."  # id 1: ends every name and fills the context before it
UNKNOWN_ID, END_ID = 0, 1


@dataclass(frozen=True)
class Vocabulary:
    """tokens: one character an id; the first two are reserved, for the unknown character and for the end."""

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        twice = [token for token, times in Counter(self.tokens).items() if times > 1]
        if twice:
            raise InputError(f"the vocabulary has {twice[0]!r} twice; the first two tokens are reserved")

    @classmethod
    def of(cls, names: Iterable[str], unknown: str = UNKNOWN, end: str = END) -> Vocabulary:
        """The reserved tokens, then the characters of all names by falling count, equal ones as they first appear."""
        counts = Counter(character for name in names for character in name)
        return cls((unknown, end, *(character for character, _ in counts.most_common())))

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def encode(self, text: str) -> list[int]:
        """The id of every character."""
        return [self.ids.get(character, UNKNOWN_ID) for character in text]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self.tokens[number] for number in ids)

    def save(self, path: Path) -> None:
        artifacts.save_json(path, {"unknown": self.tokens[0], "end": self.tokens[1], "tokens": list(self.tokens)})

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        return cls(
            tuple(artifacts.load_json(path, made_by="studies/character_embeddings/01_prepare_names.py")["tokens"])
        )


class Pairs(NamedTuple):
    """contexts: (n, block_size) int64, oldest character first; targets: (n,) int64, what follows."""

    contexts: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Pairs:
        return Pairs(self.contexts.to(device), self.targets.to(device))


def pairs(names: Sequence[str], vocabulary: Vocabulary, block_size: int) -> Pairs:
    """For each character of each name, and its end, the `block_size` characters before it.

    Before a name stand as many ends as it takes.
    """
    if block_size < 1:
        raise InputError(f"block_size is {block_size}; it must be at least 1")
    pads = [END_ID] * block_size
    ids = [number for name in names for number in (*pads, *vocabulary.encode(name), END_ID)]
    lengths = np.array([len(name) + 1 for name in names])
    windows = np.lib.stride_tricks.sliding_window_view(np.array(ids, dtype=np.int64), block_size + 1)
    # A window belongs to a name if its last character does: all but the pads that follow each end.
    starts = np.cumsum(lengths + block_size) - (lengths + block_size)
    rows = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())
    chosen = torch.from_numpy(windows[rows])
    return Pairs(chosen[:, :-1].contiguous(), chosen[:, -1].contiguous())


def split(names: Sequence[str], train_share: float) -> tuple[Sequence[str], Sequence[str]]:
    """The first names to train on, the others for validation; never one name's pairs on both sides."""
    cut = int(train_share * len(names))
    if not 0 < cut < len(names):
        raise InputError(
            f"train_share {train_share:g} of {len(names):,} names leaves one side empty; give more names or change it"
        )
    return names[:cut], names[cut:]

"""Pairs of segments for next-sentence prediction (NSP) and sentence-order prediction (SOP), from documents.

NSP asks whether the second segment follows the first (label 0) or comes from another document (label 1), as in BERT
(Devlin et al., 2019); SOP whether two segments that follow one another stand in their order (0) or are swapped (1), as
in ALBERT (Lan et al., 2020).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from linear_shortcuts.files import InputError, artifacts, derive
from linear_shortcuts.text import encode

Task = Literal["nsp", "sop"]
Lines = list[list[int]]  # a document as the token ids of its lines
SPECIAL_TOKENS = 3  # [CLS] first [SEP] second [SEP]
SHORTEST_BLOCK = SPECIAL_TOKENS + 2
VALIDATION = "validation"  # the epoch of pairs that are masked the same every time


class Pair(NamedTuple):
    first: list[int]
    second: list[int]
    label: int


# --- documents to pairs ----------------------------------------------------------------------------------------


def tokenize(documents: Sequence[Sequence[str]], tokenizer: Any) -> list[Lines]:
    """The token ids of every line, without special tokens; lines and documents of unknown tokens alone are left out."""
    lines = [line for document in documents for line in document]
    # Special tokens that are written out in the text are text.
    encoded = encode(tokenizer, lines, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    special = set(tokenizer.all_special_ids)
    ids = iter(line if not special.issuperset(line) else [] for line in encoded)
    found = ([line for _, line in zip(document, ids, strict=False) if line] for document in documents)
    return [document for document in found if document]


def make_pairs(
    documents: Sequence[Lines], task: Task, block_size: int, short_probability: float, seed: int
) -> tuple[list[Pair], Counter[str]]:
    """Cut every document into pairs of segments of together at most `block_size` - 3 tokens.

    Lines are collected up to that many tokens, or with `short_probability` up to a smaller number drawn at random, and
    split between two lines. A draw depends on the seed and the document alone. Returns the pairs and, for SOP, how
    many single lines, which have no order, were left out.
    """
    if block_size < SHORTEST_BLOCK:
        raise InputError(f"block_size is {block_size}; a pair takes at least {SHORTEST_BLOCK} tokens")
    if task == "nsp" and len(documents) < 2:
        raise InputError(
            f"next-sentence prediction needs 2 documents or more to draw from, but the text has {len(documents)}; end "
            "documents with heading lines ( = Title = ), or predict the order of sentences (--sop, task: sop)"
        )
    pairs: list[Pair] = []
    left_out: Counter[str] = Counter()
    room = block_size - SPECIAL_TOKENS
    for number, document in enumerate(documents):
        draw = random.Random(derive(seed, "pairs", number))
        if task == "sop" and len(document) == 1:
            left_out["documents of a single line"] += 1
            continue
        # The line that crosses the target is longer than most. Half of the documents are cut from their end, so that
        # the later of two segments is not the longer one, by which their order could be told.
        backwards = task == "sop" and draw.random() < 0.5
        if backwards:
            document = document[::-1]
        start = 0
        while start < len(document):
            target = draw.randint(2, room) if draw.random() < short_probability else room
            end = _collect(document, start, target, at_least=2 if task == "sop" else 1)
            if task == "sop" and end - start == 1:
                left_out["single lines at an end"] += 1
                break
            middle = start + draw.randint(1, max(1, end - start - 1))
            one, other = document[start:middle], document[middle:end]
            first, second = (_join(other[::-1]), _join(one[::-1])) if backwards else (_join(one), _join(other))
            label = int(end - middle == 0 or draw.random() < 0.5) if task == "nsp" else 0
            if label:
                # No longer than what it replaces, but for the rest of its last line: lengths shall not tell the label.
                wanted = min(len(second) or target, target - len(first))
                second = _elsewhere(documents, number, wanted, draw)
                end = middle
            if task == "sop" and draw.random() < 0.5:
                first, second, label = second, first, 1
            # After the swap: otherwise the place of the cut would tell the label.
            pairs.append(Pair(*_fit(first, second, room), label))
            start = end
    if not pairs:
        raise InputError("no document has two lines or more, so that there is no order to predict; give longer ones")
    return pairs, left_out


def _collect(document: Lines, start: int, target: int, at_least: int) -> int:
    """Where to stop collecting lines from `start` for `target` tokens."""
    end, length = start, 0
    while end < len(document) and (length < target or end - start < at_least):
        length += len(document[end])
        end += 1
    return end


def _join(lines: Lines) -> list[int]:
    return [token for line in lines for token in line]


def _elsewhere(documents: Sequence[Lines], number: int, target: int, draw: random.Random) -> list[int]:
    """Lines of `target` tokens or a little more, from a document other than `number`, each document equally likely.

    They start at a line after which the document is long enough, each equally likely; at its first if there is none.
    """
    other = draw.randrange(len(documents) - 1)
    document = documents[other + (other >= number)]
    last, length = len(document) - 1, len(document[-1])
    while last and length < target:
        last -= 1
        length += len(document[last])
    start = draw.randrange(last + 1)
    return _join(document[start : _collect(document, start, target, at_least=1)])


def _fit(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """Shorten the longer segment, or both, to `room` tokens together: the first loses its start, the second its end."""
    keep = min(len(first), max(room - len(second), (room + 1) // 2))
    return first[len(first) - keep :], second[: room - keep]


# --- pairs as a dataset ----------------------------------------------------------------------------------------


@dataclass
class PairDataset:
    """Pairs as [CLS] first [SEP] second [SEP], for a torch `DataLoader`.

    ids: (tokens,) int32, all pairs one after the other. lengths, firsts, labels: (n,) the tokens of a pair, those of
    its first segment with [CLS] and [SEP], and its label. epoch: what masks are drawn for, besides the pair's number.
    """

    ids: np.ndarray
    lengths: np.ndarray
    firsts: np.ndarray
    labels: np.ndarray
    epoch: int | str = 0

    def __post_init__(self) -> None:
        self._starts = np.concatenate([[0], np.cumsum(self.lengths)])

    @classmethod
    def of(cls, pairs: Sequence[Pair], tokenizer: Any, epoch: int | str = 0) -> PairDataset:
        check_tokenizer(tokenizer)
        start, end = [tokenizer.cls_token_id], [tokenizer.sep_token_id]
        rows = [start + pair.first + end + pair.second + end for pair in pairs]
        return cls(
            np.array([token for row in rows for token in row], dtype=np.int32),
            np.array([len(row) for row in rows], dtype=np.int64),
            np.array([len(pair.first) + 2 for pair in pairs], dtype=np.int64),
            np.array([pair.label for pair in pairs], dtype=np.int64),
            epoch,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        start, end = self._starts[index : index + 2]
        return {
            "ids": self.ids[start:end],
            "first": int(self.firsts[index]),
            "label": int(self.labels[index]),
            "key": (self.epoch, index),
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """What `PairDataset(**arrays)` makes it of."""
        return {"ids": self.ids, "lengths": self.lengths, "firsts": self.firsts, "labels": self.labels}

    @property
    def sha256(self) -> str:
        return artifacts.fingerprint({name: array.tolist() for name, array in self.arrays().items()})


def check_tokenizer(tokenizer: Any) -> None:
    """Raise `InputError` unless the tokenizer has the special tokens of BERT."""
    missing = [name for name in ("cls", "sep", "mask", "pad") if getattr(tokenizer, f"{name}_token_id") is None]
    if missing:
        names = ", ".join(f"[{name.upper()}]" for name in missing)
        raise InputError(f"the tokenizer has no {names}; give a BERT tokenizer")


def make_datasets(
    train: Sequence[Sequence[str]],
    validation: Sequence[Sequence[str]],
    tokenizer: Any,
    task: Task,
    *,
    block_size: int,
    short_probability: float,
    duplicates: int,
    seed: int,
) -> tuple[PairDataset, PairDataset, Mapping[str, int]]:
    """The pairs to train on, `duplicates` times with other draws, and those for validation; why lines were left out."""
    check_tokenizer(tokenizer)
    lines = tokenize(train, tokenizer)
    pairs: list[Pair] = []
    for duplicate in range(duplicates):
        found, left_out = make_pairs(lines, task, block_size, short_probability, derive(seed, "train", duplicate))
        pairs += found
    held_out, _ = make_pairs(
        tokenize(validation, tokenizer), task, block_size, short_probability, derive(seed, "validation")
    )
    datasets = PairDataset.of(pairs, tokenizer), PairDataset.of(held_out, tokenizer, VALIDATION)
    return *datasets, dict(sorted(left_out.items()))

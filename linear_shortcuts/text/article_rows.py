"""Running text as rows of tokens, for whatever needs the context of a model: fitted, chosen and reported apart.

An article lies in one of the splits, whole: what is reported was neither fitted on nor chosen by, and whoever resamples
does so by article, because the rows of one resemble each other.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError, derive
from linear_shortcuts.settings import FileCorpus
from linear_shortcuts.text import corpora, docstrings
from linear_shortcuts.text.tokens import encode

IGNORED = -100  # as the library marks positions that no loss is taken of
SHORTEST = 32  # tokens of an article that is shorter than a row; of fewer there is no context worth the name
MASKED = 0.15  # share of a row's tokens that a masked model has to guess, as BERT was trained


@dataclass(frozen=True)
class Row:
    """A piece of an article.

    ids: (n,) int64 as the model reads them. labels: (n,) the token to be guessed at each position, or `IGNORED`: for
    a causal model the one after it, for a masked model the one behind the mask. article: its number.
    """

    ids: Tensor
    labels: Tensor
    article: int


def articles_of(path: str | None) -> list[str]:
    """The articles of a file, .txt, .jsonl or .parquet; without one, the embedded text, in which a source file is one.

    Raises `InputError` for a file that is not there or has no articles to read.
    """
    if path is None:
        return ["\n\n".join(map(corpora.unwrap, articles)) for articles in docstrings.python_files()]
    return list(corpora.read_articles(FileCorpus(source="file", path=path, unit="articles"), 0))


def split_rows(
    articles: Iterable[str], tokenizer: Any, sizes: Mapping[str, int], *, length: int, masked: bool, seed: int
) -> dict[str, list[Row]]:
    """Rows of up to `length` tokens for each split, drawn from a seed; articles are dealt, each to one split.

    sizes: split -> rows wanted. If there are fewer in all, each split gets its share. As few rows are taken of an
    article as do, so that there are many articles.

    Raises `InputError` if the text has not an article for every split.
    """
    pieces = [_pieces(ids, length) for ids in _encoded(articles, tokenizer, length)]
    pieces = [found for found in pieces if found]
    if len(pieces) < len(sizes):
        raise InputError(
            f"the text has {len(pieces)} articles of at least {SHORTEST} tokens, which do not make the {len(sizes)} "
            f"splits {', '.join(sizes)}; give more text, its articles separated by blank lines"
        )
    wanted = sum(sizes.values())
    most = -(-wanted // len(pieces))
    while sum(min(len(found), most) for found in pieces) < wanted and most < max(map(len, pieces)):
        most *= 2
    order = list(range(len(pieces)))
    random.Random(derive(seed, "articles", *sizes)).shuffle(order)
    dealt: dict[str, list[Row]] = {name: [] for name in sizes}
    for number in order:
        name = min(sizes, key=lambda name: len(dealt[name]) / sizes[name])
        room = min(most, sizes[name] - len(dealt[name]))
        for place, ids in enumerate(pieces[number][: max(room, 0)]):
            dealt[name].append(_row(ids, tokenizer, masked, number, derive(seed, "masks", number, place)))
    return dealt


def _encoded(articles: Iterable[str], tokenizer: Any, length: int) -> list[Sequence[int]]:
    texts = [article for article in articles if article.strip()]
    if not texts:
        raise InputError("the text is empty; give some articles")
    return encode(tokenizer, texts, add_special_tokens=False)["input_ids"]


def _pieces(ids: Sequence[int], length: int) -> list[Tensor]:
    pieces = torch.tensor(ids, dtype=torch.int64).split(length)
    return [piece for piece in pieces if len(piece) == length] or [piece for piece in pieces if len(piece) >= SHORTEST]


def _row(ids: Tensor, tokenizer: Any, masked: bool, article: int, seed: int) -> Row:
    """A row with the special tokens that the tokenizer puts around a text, within the length it had."""
    around = torch.tensor(tokenizer("")["input_ids"], dtype=torch.int64)
    before, after = (around[:1], around[1:]) if masked else (around, around[:0])
    ids = torch.cat([before, ids[: len(ids) - len(around)], after])
    labels = torch.full_like(ids, IGNORED)
    if not masked:
        labels[:-1] = ids[1:]
        return Row(ids, labels, article)
    inside = torch.arange(len(before), len(ids) - len(after))
    generator = torch.Generator().manual_seed(seed % 2**63)
    chosen = inside[torch.randperm(len(inside), generator=generator)[: max(1, round(MASKED * len(inside)))]]
    labels[chosen] = ids[chosen]
    ids[chosen] = tokenizer.mask_token_id
    return Row(ids, labels, article)

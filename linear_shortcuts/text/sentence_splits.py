"""Sentences in three parts: fitted, chosen and reported apart. An article lies in one of them, whole."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

from linear_shortcuts.files import InputError, derive
from linear_shortcuts.text.corpora import Splitter, article_sentences

SHORTEST = 20  # characters: what is shorter is a heading or a scrap


def split_sentences(
    articles: Iterable[str],
    split: Splitter,
    sizes: Mapping[str, int],
    *,
    seed: int,
    wanted: Callable[[str], bool] = lambda sentence: len(sentence) >= SHORTEST,
) -> dict[str, list[str]]:
    """Distinct sentences for each split, from articles that are dealt from a seed, each to one split.

    sizes: split -> sentences. If there are fewer in all, each split gets its share. split: as `make_splitter` has it.

    Raises `InputError` if there is no sentence for some split.
    """
    order = list(articles)
    random.Random(derive(seed, "articles", *sizes)).shuffle(order)
    dealt: dict[str, list[str]] = {name: [] for name in sizes}
    seen: set[str] = set()
    for article in order:
        name = min(sizes, key=lambda name: len(dealt[name]) / sizes[name])
        if len(dealt[name]) >= sizes[name]:
            break  # the least full one is full
        fresh = [own for own in dict.fromkeys(article_sentences(article, split)) if wanted(own) and own not in seen]
        fresh = fresh[: sizes[name] - len(dealt[name])]
        seen.update(fresh)
        dealt[name] += fresh
    empty = [name for name, sentences in dealt.items() if not sentences]
    if empty:
        raise InputError(
            f"the text has {len(seen)} usable sentences in {len(order)} articles, and none for {', '.join(empty)}; "
            "give more text, its articles separated by blank lines"
        )
    return dealt

"""Sentences in three parts: no article is in two of them, and no sentence comes twice."""

import pytest
from hypothesis import given, settings, strategies as st

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.text.sentence_splits import split_sentences


def by_bar(text):
    return text.split("|")


@settings(max_examples=40, deadline=None)
@given(
    articles=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=6), min_size=12, max_size=40),
    seed=st.integers(0, 99),
)
def test_parts_share_no_sentence_and_no_article_and_keep_their_sizes(articles, seed):
    texts = [
        "|".join(f"this is sentence number {one} of article {n % 20}" for one in own) for n, own in enumerate(articles)
    ]
    sizes = {"fit": 9, "choose": 2, "report": 4}
    parts = split_sentences([*texts, "short|x"], by_bar, sizes, seed=seed)
    every = [sentence for own in parts.values() for sentence in own]
    assert len(every) == len(set(every))
    assert "short" not in every
    assert all(1 <= len(parts[name]) <= size for name, size in sizes.items())
    assert parts == split_sentences([*texts, "short|x"], by_bar, sizes, seed=seed)
    for text in texts:
        if len(set(text.split("|")) & set(every)) == len(set(text.split("|"))) == 1:
            continue
        if texts.count(text) == 1 and sum(text.rpartition(" ")[2] == other.rpartition(" ")[2] for other in texts) == 1:
            homes = {name for name, own in parts.items() if set(own) & set(text.split("|"))}
            assert len(homes) <= 1


def test_too_little_text_is_refused():
    with pytest.raises(InputError, match="1 usable sentences in 1 articles, and none for report"):
        split_sentences(["this is one sentence and no more"], by_bar, {"fit": 2, "report": 1}, seed=0)

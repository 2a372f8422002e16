"""Rows of running text: splits that share no article, labels that are the tokens to be guessed."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from linear_shortcuts.files.errors import InputError
from linear_shortcuts.models.loading import load_tokenizer
from linear_shortcuts.text.article_rows import IGNORED, MASKED, SHORTEST, split_rows


@pytest.fixture(scope="module")
def tokenizers(repository):
    return {name: load_tokenizer(repository / "models" / name) for name in ("tiny-gpt2", "tiny-bert")}


def articles(number: int, words: int) -> list[str]:
    return [" ".join(f"word number {place} of {article}" for place in range(words)) for article in range(number)]


@settings(max_examples=15, deadline=None)
@given(number=st.integers(3, 30), words=st.integers(15, 60), seed=st.integers(0, 100))
def test_every_article_lies_in_one_split_and_sizes_are_kept(tokenizers, number, words, seed):
    sizes = {"fit": 9, "choose": 2, "report": 5}
    rows = split_rows(articles(number, words), tokenizers["tiny-gpt2"], sizes, length=40, masked=False, seed=seed)
    homes = [{row.article for row in own} for own in rows.values()]
    assert sum(map(len, homes)) == len(set.union(*homes))
    assert all(1 <= len(rows[name]) <= size for name, size in sizes.items())
    assert all(SHORTEST <= len(row.ids) <= 40 for own in rows.values() for row in own)


def test_the_label_of_a_causal_row_is_the_next_token(tokenizers):
    [row, *_] = split_rows(articles(9, 30), tokenizers["tiny-gpt2"], {"a": 2, "b": 1}, length=40, masked=False, seed=0)[
        "a"
    ]
    assert row.labels[-1] == IGNORED
    assert torch.equal(row.labels[:-1], row.ids[1:])
    text = articles(9, 30)[row.article]
    assert text.startswith(tokenizers["tiny-gpt2"].decode(row.ids)[:80])


def test_a_masked_row_hides_what_its_labels_show(tokenizers):
    tokenizer = tokenizers["tiny-bert"]
    [row, *_] = split_rows(articles(9, 30), tokenizer, {"a": 2, "b": 1}, length=40, masked=True, seed=0)["a"]
    hidden = row.labels != IGNORED
    assert (row.ids[hidden] == tokenizer.mask_token_id).all()
    assert int(hidden.sum()) == round(MASKED * (len(row.ids) - 2))
    assert [int(row.ids[0]), int(row.ids[-1])] == tokenizer("")["input_ids"]
    assert tokenizer.decode(torch.where(hidden, row.labels, row.ids)[1:-1]).startswith("word number 0 of")


def test_there_are_as_many_articles_in_a_split_as_do(tokenizers):
    sizes = {"fit": 4, "report": 4}
    rows = split_rows(articles(8, 60), tokenizers["tiny-gpt2"], sizes, length=40, masked=False, seed=0)
    assert [len({row.article for row in own}) for own in rows.values()] == [
        4,
        4,
    ]  # one row of each, though there are more


def test_the_draw_depends_on_the_seed_alone(tokenizers):
    def drawn(seed):
        rows = split_rows(
            articles(20, 30), tokenizers["tiny-gpt2"], {"a": 5, "b": 5}, length=40, masked=False, seed=seed
        )
        return [row.article for own in rows.values() for row in own]

    assert drawn(0) == drawn(0)
    assert drawn(0) != drawn(1)


@pytest.mark.parametrize("texts", [[], ["", " "], ["too short"] * 5, articles(2, 30)])
def test_too_little_text_is_refused_with_the_mend(tokenizers, texts):
    with pytest.raises(InputError, match=r"give (more text|some articles)"):
        split_rows(texts, tokenizers["tiny-gpt2"], {"a": 2, "b": 2, "c": 2}, length=40, masked=False, seed=0)


def test_text_that_is_no_unicode_is_refused(tokenizers):
    """As a row of JSON may hold it, in an escape."""
    with pytest.raises(InputError, match="is no valid Unicode"):
        split_rows(["odd \ud800"], tokenizers["tiny-gpt2"], {"a": 2}, length=40, masked=False, seed=0)

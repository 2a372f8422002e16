"""Rows of text: every token once, in order."""

import pytest
import torch
from hypothesis import given, strategies as st

from linear_shortcuts import InputError
from linear_shortcuts.text.rows import packed
from linear_shortcuts.text.tokens import Tokens


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 7))
def test_rows_hold_the_sentences_tokens_once_and_in_order(lengths, length):
    ids = torch.arange(sum(lengths))
    tokens = Tokens(list(ids.split(lengths)), torch.zeros(len(lengths), dtype=torch.int64))
    number = len(ids) // length
    assert torch.equal(packed(tokens, length, number, "file").flatten(), ids[: number * length])
    with pytest.raises(InputError, match=f"file fills {number} rows"):
        packed(tokens, length, number + 1, "file")

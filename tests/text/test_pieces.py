"""Bytes of tokens add up to the bytes of the text."""

import pytest

from linear_shortcuts import load_tokenizer
from linear_shortcuts.text.pieces import byte_counts


@pytest.mark.parametrize(
    ("name", "text"), [("tiny-gpt2", "Gibt die Größe, naïve – 日本 zurück."), ("tiny-bert", "the values")]
)
def test_the_bytes_of_a_text_are_those_of_its_tokens(repository, name, text):
    tokenizer = load_tokenizer(repository / "models" / name)
    counts = byte_counts(tokenizer, 5000)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    spaces = text.count(" ") if name == "tiny-bert" else 0
    assert int(counts[ids].sum()) == len(text.encode()) - spaces
    assert counts[4999] == 0


class Pieces:
    def get_vocab(self):
        return {"▁the": 0, "<0x0A>": 1, "é": 2}


def test_sentencepiece_marks_are_spaces_and_bytes():
    assert byte_counts(Pieces(), 4).tolist() == [4, 1, 2, 0]

"""Tokens as one can tell them apart."""

import pytest

from linear_shortcuts import InputError, load_tokenizer
from linear_shortcuts.peek.pieces import piece, token_of, visible


@pytest.fixture(scope="module")
def tokenizer(repository):
    return load_tokenizer(repository / "models" / "tiny-gpt2")


def test_every_byte_that_is_no_character_is_shown_as_that_byte(tokenizer):
    """Against the tokenizer itself: the bytes of text that it has no token for."""
    for text in ("é", "漢", "🙂", "ש"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        shown = "".join(piece(tokenizer, token) for token in ids)
        assert shown == text or bytes.fromhex(shown.replace("⟨", "").replace("⟩", " ")) == text.encode()
    single = {piece(tokenizer, token) for token in range(len(tokenizer))}
    assert {f"⟨{byte:02X}⟩" for byte in range(0x80, 0xC0)} <= single  # they can only continue a character


def test_spaces_and_line_breaks_are_seen(tokenizer):
    ids = tokenizer(" the\n", add_special_tokens=False)["input_ids"]
    assert "".join(piece(tokenizer, token) for token in ids) == "·the⏎"
    assert visible("a\u200bb\u202ec\t👩\u200d🚀") == "a⟨U+200B⟩b⟨U+202E⟩c⇥👩\u200d🚀"


def test_a_vocabulary_of_sentencepiece_is_shown_alike(shared_data):
    own = load_tokenizer(shared_data / "stories260k")
    assert [piece(own, token) for token in (5, 200, 300)] == ["⟨02⟩", "⟨C5⟩", "·ha"]


def test_a_word_is_one_token_or_refused_with_its_parts(tokenizer):
    assert piece(tokenizer, token_of(tokenizer, "array")) == "·array"
    assert piece(tokenizer, token_of(tokenizer, "%")) in ("·%", "%")
    with pytest.raises(InputError, match=r"'?zyzzyva'? is \d tokens, .*; follow one of them"):
        token_of(tokenizer, "zyzzyva")


def test_a_row_without_a_name_is_shown_by_its_number(tokenizer):
    assert piece(tokenizer, 10**6) == "⟨1000000⟩"

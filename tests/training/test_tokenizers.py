"""Tokenizers of our own read back what they wrote, and rows are filled with whole sentences."""

import numpy as np
import pytest
from tokenizers import BertWordPieceTokenizer

from linear_shortcuts.training.tokenizers import pack, train_byte_pairs, train_word_pieces


def test_a_tokenizer_reads_back_what_it_wrote(small):
    text = small.files[0][0]
    ids = small.tokenizer(text, add_special_tokens=False)["input_ids"]
    back = small.tokenizer.decode(ids)
    assert "".join(back.split()) == "".join((text if small.settings.kind == "gpt2" else text.lower()).split())
    assert len(small.tokenizer) <= small.settings.vocabulary


@pytest.mark.parametrize("train", [train_byte_pairs, train_word_pieces])
def test_the_same_sentences_give_the_same_tokens_with_the_same_ids(small, train):
    """The library's trainer numbers WordPiece's alphabet anew each time: a stopped run would go on in another order."""
    sentences = [text for file in small.files for text in file]
    one, *others = (train(iter(sentences), 300, 64).backend_tokenizer.to_str() for _ in range(4))
    assert others == [one] * 3


def test_word_pieces_are_those_of_the_library(small):
    """Where the whole of every word is learnt, no tie can decide what is; then the library has the same pieces."""
    sentences = [text for file in small.files for text in file]
    library = BertWordPieceTokenizer()
    library.train_from_iterator(
        sentences, vocab_size=10_000, min_frequency=0, limit_alphabet=10_000, show_progress=False
    )
    own = train_word_pieces(sentences, 10_000, 64)
    words = {word for text in sentences for word in own.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text.lower())}
    assert {word for word, _ in words} <= own.get_vocab().keys() & library.get_vocab().keys()
    assert own.tokenize(sentences[0]) == library.encode(sentences[0], add_special_tokens=False).tokens


def test_every_row_is_full_and_starts_a_sentence(small):
    rows = pack(small.files, small.tokenizer, 24)
    assert rows.dtype == np.int32
    assert rows.shape == (len(rows), 24)
    assert len(rows) > 10
    encoded = [small.tokenizer(text, add_special_tokens=False)["input_ids"] for file in small.files for text in file]
    start = [] if small.settings.kind == "gpt2" else [small.tokenizer.cls_token_id]
    for row in rows.tolist():
        assert row[: len(start)] == start
        read = row[len(start) :]
        assert any(read[: len(ids)] == ids[: len(read)] for ids in encoded)
    assert pack([], small.tokenizer, 24).shape == (0, 24)

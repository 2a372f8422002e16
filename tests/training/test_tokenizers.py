"""Tokenizers of our own read back what they wrote, and rows are filled with whole sentences."""

import numpy as np

from linear_shortcuts.training.tokenizers import pack


def test_a_tokenizer_reads_back_what_it_wrote(small):
    text = small.files[0][0]
    ids = small.tokenizer(text, add_special_tokens=False)["input_ids"]
    back = small.tokenizer.decode(ids)
    assert "".join(back.split()) == "".join((text if small.settings.kind == "gpt2" else text.lower()).split())
    assert len(small.tokenizer) <= small.settings.vocabulary


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

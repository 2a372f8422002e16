"""What the tokens of a tokenizer stand for, in bytes of text."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import Tensor


def byte_counts(tokenizer: Any, vocabulary: int) -> Tensor:
    """(vocabulary,) the UTF-8 bytes of each token, a space that it begins with included; 0 beyond the tokenizer's end.

    Byte-level tokens have a character a byte; of SentencePiece `▁` is a space and `<0x0A>` one byte; the mark `##` of
    WordPiece counts nothing, and no more do the spaces that it leaves out.
    """
    spelled = tokenizer.get_vocab()
    byte_level = any("Ġ" in piece for piece in spelled)
    counts = torch.zeros(vocabulary, dtype=torch.int64)
    for piece, token in spelled.items():
        if token >= vocabulary:
            continue
        if byte_level:
            counts[token] = len(piece)
        elif re.fullmatch("<0x[0-9A-F]{2}>", piece):
            counts[token] = 1
        else:
            counts[token] = len(piece.removeprefix("##").replace("▁", " ").encode())
    return counts

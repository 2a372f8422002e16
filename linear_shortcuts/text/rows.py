"""Rows of text of one length, for what looks at whole stretches of it rather than at sentences."""

from __future__ import annotations

import torch
from torch import Tensor

from linear_shortcuts.files import InputError
from linear_shortcuts.text.tokens import Tokens


def packed(tokens: Tokens, length: int, number: int, path: object) -> Tensor:
    """Token ids (number, length): sentences after each other, in their order, cut into rows; the rest is left out.

    Sentences keep the special tokens that they have, and those of a masked model their mask.
    Raises `InputError`, naming `path`, where they do not fill so many rows.
    """
    there = int(tokens.lengths.sum()) // length
    if there < number:
        raise InputError(
            f"{path} fills {there:,} rows of {length} tokens, fewer than {number:,}; ask for fewer or shorter"
        )
    return torch.cat(tokens.sentences)[: number * length].reshape(number, length)

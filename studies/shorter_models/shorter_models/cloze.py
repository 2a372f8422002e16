"""Last words of sentences to be guessed, by LAMBADA's rule (arXiv 1606.06031), inside rows of running text.

A word is asked for if it ends a sentence, enough text stands before it in the row, and it occurs in that text, as most
of LAMBADA's last words do: it can be known from the passage, seldom from the sentence. It counts as guessed if every
one of its tokens is the most probable one. LAMBADA's people, who kept what a reader can guess, are not here: compare
models with each other, not with numbers published for LAMBADA.
"""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

_LAST = re.compile(r" (?P<word>[A-Za-z]{3,})[.!?](?=\s+[A-Z])")


def last_words(ids: Tensor, tokenizer: Any, context: int) -> list[tuple[int, int]]:
    """Of a row's ids (n,), the spans (first, end) of tokens that are such words.

    context: words before it. A word whose ends are not ends of tokens is left out.
    """
    pieces = [tokenizer.decode([token], clean_up_tokenization_spaces=False) for token in ids.tolist()]
    begins: dict[int, int] = {}  # character -> the token that begins there
    length = 0
    for number, piece in enumerate(pieces):
        begins.setdefault(length, number)
        length += len(piece)
    text, found = "".join(pieces), []
    for match in _LAST.finditer(text):
        before = re.findall(r"[A-Za-z]+", text[: match.start()].lower())
        first, end = begins.get(match.start()), begins.get(match.end("word"))
        if first is not None and end is not None and len(before) >= context and match["word"].lower() in before:
            found.append((first, end))
    return found

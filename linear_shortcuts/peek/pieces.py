"""Tokens as a reader can tell them apart: spaces, bytes and signs that print nothing are made visible."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from linear_shortcuts.files import InputError, shown
from linear_shortcuts.text import encode

SIGNS = {" ": "·", "\n": "⏎", "\r": "␍", "\t": "⇥"}
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how vocabularies of SentencePiece spell a byte


def piece(tokenizer: Any, token: int) -> str:
    """One token of a tokenizer: a space is `·`, a line break `⏎`, bytes that are no character `⟨E2 80⟩`."""
    raw = tokenizer.convert_ids_to_tokens(int(token))
    if raw is None:
        return f"⟨{int(token)}⟩"  # the model has rows for more tokens than its tokenizer names
    if match := _BYTE.fullmatch(raw):
        return f"⟨{match[1]}⟩"
    text = tokenizer.decode([int(token)], clean_up_tokenization_spaces=False)
    if "\ufffd" in text:
        letters = _letters()
        return f"⟨{' '.join(f'{letters[sign]:02X}' for sign in raw if sign in letters)}⟩"
    if raw.startswith("▁") and not text.startswith(" "):
        text = " " + text
    return visible(text) or f"⟨{raw}⟩"


def visible(text: str) -> str:
    """A text whose spaces, line breaks and signs without a picture can be seen."""
    return "".join(map(_sign, text))


def _sign(sign: str) -> str:
    if sign in SIGNS:
        return SIGNS[sign]
    unseen = unicodedata.category(sign) in ("Cc", "Cf", "Co", "Cn", "Zl", "Zp", "Zs") and sign != "\u200d"
    return f"⟨U+{ord(sign):04X}⟩" if unseen else sign  # a zero-width joiner holds an emoji together


def _letters() -> dict[str, int]:
    """The letters by which vocabularies of byte-level BPE spell the bytes: those that print stand for themselves."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + n): byte for n, byte in enumerate(others)}


def token_of(tokenizer: Any, word: str) -> int:
    """The one token that a word is inside a sentence, after a space if it can be; `InputError` if it is several."""
    tried: Iterable[str] = (" " + word, word) if word.strip() and not word[0].isspace() else (word,)
    for text in tried:
        ids = encode(tokenizer, [text], add_special_tokens=False)["input_ids"][0]
        if len(ids) == 1:
            return ids[0]
    parts = " ".join(piece(tokenizer, token) for token in ids)
    raise InputError(f"{shown(word)} is {len(ids)} tokens, {parts}; follow one of them")

"""The noun probe: what would a head look for, and say, if common nouns reached it unchanged?

A device, not what the model computes: raw word vectors are fed to every block as if they arrived there untouched,
without positions, and each noun attends only to itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError
from traveling_words.attention import Attention
from traveling_words.geometry import Norm
from traveling_words.nearest import Rows, nearest


@dataclass(frozen=True)
class Nouns:
    """The nouns that are one token, with their ids, and how many of the list are not."""

    words: list[str]
    ids: list[int]
    dropped: int


def read_nouns(path: str | Path, encode: Callable[[str], Sequence[int]]) -> Nouns:
    """The nouns of a file, one a line, that are one token at the start of a text.

    Byte-level tokenizers then read them without a space before them, those of SentencePiece with one.

    Raises `InputError` if the file cannot be read, by `encode` either, or none is one token.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"nouns: {path} cannot be read as text ({error}); give a file with one noun a line") from error
    words = list(dict.fromkeys(word for line in lines if (word := line.strip())))
    try:
        single = [(word, ids[0]) for word in words if len(ids := list(encode(word))) == 1]
    except InputError as error:
        raise InputError(f"nouns: of {path} {error}") from error
    if not single:
        raise InputError(
            f"nouns: of {len(words)} in {path} none is a single token of this model; give a list of words it knows"
        )
    return Nouns([word for word, _ in single], [token for _, token in single], len(words) - len(single))


def probe_nouns(
    attention: Attention,
    embeddings: Tensor,
    readout: Tensor,
    final_norm: Norm,
    nouns: Sequence[int],
    heads: Sequence[int],
    k: int,
    distance: int = 0,
) -> dict[str, Tensor]:
    """Nearest keys and values of N nouns in one block.

    embeddings, readout: (V, d); nouns: ids; heads: of the block, S of them; distance: see `Attention.qk_factors`.
    With e the nouns' word vectors and x = norm(e) for the whole vocabulary:

        keys          the k rows of x nearest to x_noun W_QK, without the biases of queries and keys
        update        U = x_noun W_VO + b_v Wo, for each head
        values        the k rows of `readout` nearest to final_norm(e_noun + U + b_o)
        layer sum     the same with U summed over all heads of the block, whichever are listed

    Returns `key_ids`, `key_scores`, `value_ids`, `value_scores` (N, S, k), `norms` |U| (N, S), `sum_ids`,
    `sum_scores` (N, k), `sum_norms` (N,).
    """
    e = embeddings[list(nouns)].to(attention.query)
    x = attention.norm(e)
    normed = Rows(embeddings, attention.norm)
    words = Rows(readout)
    a, b = (factor[list(heads)] for factor in attention.qk_factors(distance))
    queries = (x @ a @ b.mT).transpose(0, 1)  # (N, S, d)
    updates = (x @ attention.value @ attention.output + attention.value_bias_out[:, None]).transpose(0, 1)  # (N, H, d)
    total = updates.sum(1)
    chosen = updates[:, list(heads)]
    keys = nearest(queries.flatten(0, 1), normed, k)
    values = nearest(final_norm(e[:, None] + chosen + attention.output_bias).flatten(0, 1), words, k)
    together = nearest(final_norm(e + total + attention.output_bias), words, k)
    shape = (len(e), len(heads), -1)
    return {
        "key_ids": keys.ids.reshape(shape),
        "key_scores": keys.scores.reshape(shape),
        "value_ids": values.ids.reshape(shape),
        "value_scores": values.scores.reshape(shape),
        "norms": chosen.norm(dim=-1),
        "sum_ids": together.ids,
        "sum_scores": together.scores,
        "sum_norms": total.norm(dim=-1),
    }


def summarize(probe: dict[str, Any], nouns: Sequence[int]) -> dict[str, float]:
    """How often a noun is found again: shares over nouns and heads, and over nouns for the layer sum.

    key_is_noun, value_is_noun: the nearest key or value is the noun itself.
    sum_is_noun: so is the nearest token of the layer sum.
    """
    own = torch.tensor(list(nouns))
    return {
        "key_is_noun": float((probe["key_ids"][:, :, 0].cpu() == own[:, None]).double().mean()),
        "value_is_noun": float((probe["value_ids"][:, :, 0].cpu() == own[:, None]).double().mean()),
        "sum_is_noun": float((probe["sum_ids"][:, 0].cpu() == own).double().mean()),
        "mean_update_norm": float(probe["norms"].mean()),
        "mean_sum_norm": float(probe["sum_norms"].mean()),
    }


def shared(a: Tensor, b: Tensor) -> float:
    """The share of the ids (..., k) of one list that stand in the other too, whatever their order; mean over lists."""
    return float((a[..., :, None] == b[..., None, :]).any(-1).double().mean())

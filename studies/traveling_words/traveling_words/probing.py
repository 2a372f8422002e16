"""One block of one model, probed in one call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linear_shortcuts.files import InputError
from linear_shortcuts.models import load_model, load_tokenizer
from traveling_words import heads as head_probe, nouns as noun_probe, tables
from traveling_words.attention import read_attention
from traveling_words.settings import NOUNS
from traveling_words.subject import Subject, subject_of
from traveling_words.tables import Table


@dataclass(frozen=True)
class BlockProbe:
    """What the probes find in one block, as tables.

    keys, values: of nouns, see `key_records` and `value_records`. singular: see `singular_records`. biases: see
    `bias_records`. Each has a row a head and more.
    """

    keys: Table
    values: Table
    singular: Table
    biases: Table


def probe_block(
    model: str | Path | Subject,
    block: int,
    *,
    heads: Sequence[int] | None = None,
    nouns: str | Path = NOUNS,
    pairs: int = 20,
    k: int = 5,
    distance: int = 0,
) -> BlockProbe:
    """Probe a block with nouns, and read its singular vectors and biases as words.

    model: a checkpoint's folder or hub id, or what `subject_of` makes of a model in memory. block, heads: counted from
    0; None: all heads. nouns: a file, one a line. pairs: leading singular pairs. k: nearest tokens. distance: of key
    and query in a model with rotary positions.

    Raises `InputError` for a block or a head that the model does not have, and for a model that cannot be read.
    """
    subject = model if isinstance(model, Subject) else subject_of(load_model(model), load_tokenizer(model))
    if not 0 <= block < subject.model.layers:
        raise InputError(f"block is {block}; {subject.model.name} has blocks 0 to {subject.model.layers - 1}")
    attention = read_attention(subject.model, block)
    chosen = list(range(attention.heads)) if heads is None else list(heads)
    if not chosen or not all(0 <= head < attention.heads for head in chosen):
        raise InputError(f"heads is {chosen}; block {block} has heads 0 to {attention.heads - 1}")
    listed = noun_probe.read_nouns(nouns, subject.vocabulary.encode)
    embeddings, readout, norm = subject.embeddings, subject.readout, subject.final_norm
    found = noun_probe.probe_nouns(attention, embeddings, readout, norm, listed.ids, chosen, k, distance)
    singular = head_probe.probe_singular_vectors(attention, embeddings, readout, chosen, pairs, k, distance)
    biases = head_probe.probe_biases(attention, embeddings, chosen, k)
    of_nouns = {block: {**found, "heads": chosen}}
    of_heads = {block: {**singular, "biases": biases, "heads": chosen}}
    text = subject.vocabulary.text
    return BlockProbe(
        tables.key_records(of_nouns, listed.words, text),
        tables.value_records(of_nouns, listed.words, text),
        tables.singular_records(of_heads, text),
        tables.bias_records(of_heads, text),
    )

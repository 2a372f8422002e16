"""Tokenizers of our own, and rows of token ids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from linear_shortcuts.settings import Training
from linear_shortcuts.text import encode


def train_tokenizer(settings: Training, sentences: Iterable[str]) -> Any:
    """A tokenizer of the model's kind: byte-level BPE for GPT-2, lower-casing WordPiece for BERT."""
    train = train_byte_pairs if settings.kind == "gpt2" else train_word_pieces
    return train(sentences, settings.vocabulary, settings.context)


def train_byte_pairs(sentences: Iterable[str], vocabulary: int, context: int) -> Any:
    """Byte-level BPE as GPT-2's, of up to so many tokens, for a model that reads `context` of them."""
    import tokenizers as tk
    from transformers import PreTrainedTokenizerFast

    end = "<|endoftext|>"
    tokenizer = tk.Tokenizer(tk.models.BPE())
    tokenizer.pre_tokenizer = tk.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tk.decoders.ByteLevel()
    trainer = tk.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[end],
        initial_alphabet=tk.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    special = {"bos_token": end, "eos_token": end, "unk_token": end}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context, **special)


def train_word_pieces(sentences: Iterable[str], vocabulary: int, context: int) -> Any:
    """Lower-casing WordPiece as BERT's, of up to so many tokens, for a model that reads `context` of them.

    The same sentences give the same tokens with the same ids, so that a stopped training goes on with what it has.
    """
    import tokenizers as tk
    from transformers import PreTrainedTokenizerFast

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    lines = list(sentences)
    # The trainer numbers pieces such as ##a in the order of a hash table, another one each time, and breaks ties
    # between merges by these numbers; what it is given first keeps its place. So it runs for the alphabet alone, and
    # again with the alphabet in order.
    alphabet = set(_pieces(lines, len(names), names)) - set(names)
    pieces = _pieces(lines, vocabulary, [*names, *sorted(alphabet)])
    tokenizer = _word_piece_tokenizer(tk.models.WordPiece(pieces, unk_token="[UNK]"))
    tokenizer.add_special_tokens(names)
    tokenizer.post_processor = tk.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    special = {f"{name[1:-1].lower()}_token": name for name in names}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=context, **special)


def _pieces(lines: list[str], vocabulary: int, first: list[str]) -> dict[str, int]:
    """The ids of a trained WordPiece's tokens, of which some are given; no fewer than they and the alphabet."""
    import tokenizers as tk

    tokenizer = _word_piece_tokenizer(tk.models.WordPiece(unk_token="[UNK]"))
    trainer = tk.trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=first, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer.get_vocab()


def _word_piece_tokenizer(model: Any) -> Any:
    import tokenizers as tk

    tokenizer = tk.Tokenizer(model)
    tokenizer.normalizer = tk.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tk.pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = tk.decoders.WordPiece()
    return tokenizer


def pack(files: Iterable[list[str]], tokenizer: Any, context: int) -> np.ndarray:
    """Rows of `context` token ids, (rows, context) int32, filled with whole sentences of one file after the other.

    Every row starts at the start of a sentence, as the study's inputs do. A sentence cut at the end of a row starts
    the next one.
    """
    start = [] if tokenizer.cls_token_id is None else [tokenizer.cls_token_id]
    end = [tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id]
    sentences = [sentence for file in files for sentence in file]
    encoded = encode(tokenizer, sentences, add_special_tokens=False)["input_ids"] if sentences else []
    rows, row = [], list(start)
    for ids in encoded:
        row += ids + end
        if len(row) >= context:
            rows.append(row[:context])
            cut = len(row) > context and len(start + ids + end) <= context
            row = start + ids + end if cut else list(start)
    return np.array(rows, dtype=np.int32).reshape(-1, context)

"""Sentences to token ids, and the one position sampled in each."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from linear_shortcuts.files import InputError, again, artifacts, compare, derive, shapes, shown
from linear_shortcuts.files.cards import PLAIN, TOKENIZER
from linear_shortcuts.files.shapes import Whole, check
from linear_shortcuts.settings import Drawing, Params
from linear_shortcuts.text import corpora

NO_LIMIT = 10**9  # tokenizers that know no limit state an even larger one
AT_ONCE = 64  # texts
PATIENCE, SLOWEST = 10.0, 1000  # seconds, and characters a second; honest tokenizers read a million


@dataclass(frozen=True)
class Tokens:
    """Token ids of n sentences and, for each, the position at which everything is measured."""

    sentences: list[Tensor]  # n tensors (tokens,) int64; a masked model's sampled token is [MASK] already
    positions: Tensor  # (n,) int64, counted from 0, special tokens included
    cut: int = 0  # sentences longer than the limit
    skipped: int = 0  # sentences that had no token to sample

    def __len__(self) -> int:
        return len(self.sentences)

    def __repr__(self) -> str:
        return f"Tokens({len(self):,} sentences, {sum(map(len, self.sentences)):,} tokens)"

    @property
    def lengths(self) -> Tensor:
        """(n,) tokens of each sentence."""
        return torch.tensor([len(ids) for ids in self.sentences], dtype=torch.int64)

    def counts(self, vocabulary: int) -> Tensor:
        """(vocabulary,) how often each token occurs."""
        return torch.bincount(torch.cat(self.sentences), minlength=vocabulary)

    def part(self, first: int, last: int) -> Tokens:
        """Sentences first..last-1."""
        return Tokens(self.sentences[first:last], self.positions[first:last])


def tokenize(
    sentences: Sequence[str],
    tokenizer: Any,
    *,
    causal: bool,
    max_tokens: int | None,
    seed: int,
    compatibility: Literal["original"] | None = None,
) -> Tokens:
    """Tokenize, cut to `max_tokens`, and sample one position per sentence, uniformly over its ordinary tokens.

    The position depends on the seed and the sentence alone, not on its place or its neighbours. Unless `causal`, or
    for an encoder that predicts no token, the sampled one is replaced by the tokenizer's mask token. With `max_tokens`
    None nothing is cut.

    compatibility: `original` does as the study's own programs. Special tokens may be sampled too, and a tokenizer
    without a padding token is given the full stop for one, so that it cuts every full stop off, in `...` and `3.5` too.
    """
    if not causal and tokenizer.mask_token_id is None:
        raise InputError("the model is a masked one but its tokenizer has no mask token; check the checkpoint")
    if not sentences:
        return Tokens([], torch.empty(0, dtype=torch.int64))
    original = compatibility == "original"
    if original and tokenizer.pad_token is None:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.add_special_tokens({"pad_token": "."})
    encoded = encode(tokenizer, sentences, return_special_tokens_mask=True)
    # The mask knows the special tokens that the tokenizer added, not those that are written out in the text.
    names = ("bos", "eos", "cls", "sep", "pad", "mask")
    control = {getattr(tokenizer, f"{name}_token_id", None) for name in names}
    added = {token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special}
    control |= added - {tokenizer.unk_token_id}  # an unknown word is an ordinary word of the text
    kept: list[Tensor] = []
    positions: list[int] = []
    cut = skipped = 0
    for text, ids, special in zip(sentences, encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
        if max_tokens is not None and len(ids) > max_tokens:
            cut += 1
            ids, special = _cut(ids, special, max_tokens)
        ordinary = [
            position
            for position, is_special in enumerate(special)
            if original or (not is_special and ids[position] not in control)
        ]
        if not ordinary:
            skipped += 1
            continue
        position = ordinary[derive(seed, "position", text) % len(ordinary)]
        tensor = torch.tensor(ids, dtype=torch.int64)
        if not causal:
            tensor[position] = tokenizer.mask_token_id
        kept.append(tensor)
        positions.append(position)
    return Tokens(kept, torch.tensor(positions, dtype=torch.int64), cut, skipped)


def encode(tokenizer: Any, texts: Sequence[str], **options: Any) -> Any:
    """What a tokenizer makes of some texts: a BatchEncoding, its `input_ids` and the like a list for each text.

    Raises `InputError` where it gives up, as over a pattern that backtracks on, or over characters it has no token for,
    where it is so slow that it would not end, and for text that is no Unicode, as a command line of other bytes than
    UTF-8 is.
    """
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"the text {shown(text)!r} is no valid Unicode; give it in UTF-8") from error
    from transformers import BatchEncoding

    # Some at a time, the more the longer it goes well; an interrupt is heard in between.
    parts: list[Any] = []
    first, number = 0, 1
    while not parts or first < len(texts):
        some = texts[first : first + number]
        began = time.monotonic()
        parts.append(_encode(tokenizer, some, **options))
        seconds, characters = time.monotonic() - began, sum(map(len, some))
        if seconds > PATIENCE + characters / SLOWEST:
            raise InputError(
                f"the tokenizer of {_name(tokenizer)} took {seconds:.0f} seconds for {characters:,} characters; check "
                "the patterns in its tokenizer.json"
            )
        first, number = first + number, min(2 * number, AT_ONCE)
    whole = {key: [value for part in parts for value in part[key]] for key in parts[0]}
    return BatchEncoding(whole, [row for part in parts for row in getattr(part, "encodings", None) or ()] or None)


def _encode(tokenizer: Any, texts: Sequence[str], **options: Any) -> Any:
    try:
        return tokenizer(list(texts), verbose=False, **options)
    except BaseException as error:
        # The library is written in Rust. Its panics are no `Exception`, and their class can be imported from nowhere;
        # its errors are an `Exception` and nothing more.
        panic = type(error).__name__ == "PanicException"
        if not panic and type(error) is not Exception:
            raise
        did = "gave up" if panic else "cannot read all of the text"
        mend = "check the patterns in its tokenizer.json" if panic else "leave out characters that it does not know"
        raise InputError(f"the tokenizer of {_name(tokenizer)} {did} ({shown(str(error), 100)}); {mend}") from error


def _name(tokenizer: Any) -> str:
    return shown(tokenizer.name_or_path or "the model")


def _cut(ids: list[int], special: list[int], max_tokens: int) -> tuple[list[int], list[int]]:
    """Shorten to `max_tokens`, keeping the special tokens that close the sequence, such as [SEP]."""
    closing = 0
    while closing < len(ids) and special[-1 - closing]:
        closing += 1
    opening = max(0, max_tokens - closing)
    tail = len(ids) - closing
    return ids[:opening] + ids[tail:], special[:opening] + special[tail:]


def load_sentences(path: Path, params: Params, *, made_by: str) -> dict[str, Any]:
    """Sentences by split, and their card; `InputError` if they were not drawn under these settings."""
    sentences = shapes.load(path, {"train": [str], "validation": [str], "card": PLAIN}, made_by=made_by)
    numbers = {split: len(sentences[split]) for split in ("train", "validation")}
    for claims in (sentences["card"], {**sentences["card"], **numbers}):
        compare(claims, corpora.card_of(params), path, f"rerun {made_by}")
    try:
        "".join(sentences["train"] + sentences["validation"]).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path} has a sentence that is not valid Unicode; rerun {made_by}") from error
    return sentences


def describe_tokenizer(tokenizer: Any, name: str, revision: str | None) -> dict[str, str | None]:
    """What a tokenizer is known by: the vocabulary decides, so that a folder may move."""
    vocabulary = {"tokens": tokenizer.get_vocab(), "special": sorted(tokenizer.all_special_ids)}
    return {
        "id": name,
        "revision": revision,
        "class": type(tokenizer).__name__,
        "vocabulary_sha256": artifacts.fingerprint(vocabulary),
    }


def card_of(params: Params | Drawing, tokenizer: dict[str, Any], max_tokens: int | None, split: str) -> dict[str, Any]:
    """What tokens that are made under these settings say of themselves; tokenizer: see `describe_tokenizer`."""
    return {
        "corpus": corpora.card_of(params),
        "split": split,
        "tokenizer": tokenizer,
        "max_tokens": max_tokens,
        "seed": params.seed,
        "compatibility": params.compatibility,
    }


def check_card(card: dict[str, Any], asked: dict[str, Any], path: Path, *, made_by: str) -> None:
    """Raise `InputError`, naming both sides, if tokens were not made as is asked for; asked: see `card_of`."""
    check(card, _CARD, path, f"run {made_by} again; tokens of your own need no card", {})
    theirs, ours = card["tokenizer"], asked["tokenizer"]
    revisions = {theirs["revision"], ours["revision"]} - {None}  # a folder on disk may have none
    if theirs["vocabulary_sha256"] != ours["vocabulary_sha256"] or len(revisions) > 1:
        raise InputError(
            f"{path} was made with the tokenizer {_describe(theirs)}, but the model's own is {_describe(ours)}; "
            f"rerun {made_by} for this model"
        )
    compare(card, {**asked, "tokenizer": {"class": ours["class"]}}, path, f"rerun {made_by}")


_CARD = {
    "corpus": PLAIN, "sentences_sha256": str, "split": str, "tokenizer": TOKENIZER, "max_tokens": (None, Whole(1)),
    "seed": Whole(), "compatibility": (None, str),
}  # fmt: skip


def _describe(tokenizer: dict[str, Any]) -> str:
    revision = f" at {shown(tokenizer['revision'])}" if tokenizer["revision"] else ""
    return f"{shown(tokenizer['id'])}{revision} (vocabulary {shown(tokenizer['vocabulary_sha256'][:12])}…)"


def limit(tokenizer: Any, longest: int | None, max_tokens: int | None) -> int | None:
    """The most tokens a sentence may have: the model's own limit, or a lower one the user set; None if neither is.

    longest: what the model can read, None where it sets no limit. Raises `InputError` if that is no number of tokens,
    or less than the user set.
    """
    stated = {"the model's configuration": longest, "model_max_length of its tokenizer": tokenizer.model_max_length}
    for where, value in stated.items():
        if value is not None and not (type(value) in (int, float) and value >= 1):
            raise InputError(f"{where} says that it reads {shown(value)} tokens; set it to a whole number above 0")
    # The tokenizer states a huge number where it does not know.
    own = min((int(value) for value in stated.values() if value is not None and value < NO_LIMIT), default=None)
    if max_tokens is not None and own is not None and max_tokens > own:
        raise InputError(f"tokenize.max_tokens is {max_tokens} but the model takes at most {own}; lower it or use null")
    return max_tokens or own


def save_tokens(path: Path, tokens: Tokens, card: dict[str, Any]) -> None:
    """Write the study's two keys, so that tokens can also come from elsewhere, and a card."""
    value = {"tokenized_sentences": tokens.sentences, "token_positions": tokens.positions, "card": card}
    artifacts.save(path, value)


def load_tokens(path: Path, *, made_by: str | None = None) -> tuple[Tokens, dict[str, Any]]:
    """Read a tokens file, ours or any pickle with `tokenized_sentences` and `token_positions`, and its card (or {}).

    made_by: the program that makes the file, named in the error where it is missing.

    Raises `InputError` if the two do not fit together, naming the sentence.
    """
    value = artifacts.load(path, made_by=made_by)
    missing = {"tokenized_sentences", "token_positions"} - set(value if isinstance(value, dict) else ())
    if missing:
        raise InputError(f"{path} lacks {' and '.join(sorted(missing))}; give it both, with one entry a sentence")
    listed = value["tokenized_sentences"]
    if not isinstance(listed, (list, tuple)):
        raise InputError(f"{path}: tokenized_sentences is a {type(listed).__name__}; it must be a list, one a sentence")
    sentences = [_sentence(ids, f"{path}: sentence {number}") for number, ids in enumerate(listed)]
    if not listed or not isinstance(value.get("card", {}), dict):
        raise InputError(f"{path} has {'a card that is no mapping' if listed else 'no sentences'}; make it anew")
    positions = _whole_numbers(value["token_positions"], f"{path}: token_positions")
    if positions.shape != (len(sentences),):
        raise InputError(
            f"{path} has {len(sentences)} sentences but positions of shape {tuple(positions.shape)}; one for each"
        )
    for number, (ids, position) in enumerate(zip(sentences, positions.tolist(), strict=True)):
        if not 0 <= position < len(ids):
            raise InputError(f"{path}: sentence {number} has {len(ids)} tokens, so position {position} is outside it")
    return Tokens(sentences, positions), value.get("card", {})


def _sentence(values: Any, what: str) -> Tensor:
    """The ids (tokens,) of one sentence, which may come as a batch of one, (1, tokens)."""
    ids = _whole_numbers(values, what)
    if ids.ndim != 1 and (ids.ndim != 2 or len(ids) != 1):
        raise InputError(f"{what} has shape {tuple(ids.shape)}; it must be one row of token ids")
    if not ids.numel():
        raise InputError(f"{what} has no tokens; leave it and its position out")
    return ids.flatten()


def _whole_numbers(values: Any, what: str) -> Tensor:
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} is not a list of whole numbers ({error})") from error
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
        raise InputError(f"{what} has {tensor.dtype} values; they must be whole numbers")
    return tensor.to(torch.int64)


def bring(source: Path, target: Path) -> Tokens:
    """Check a tokens file of the user's and write it anew, without a card: how it was made is not known here.

    Raises `InputError` if there is no such file, or if its two keys do not fit together.
    """
    if not source.is_file():
        raise InputError(
            f"{source} does not exist; put your tokenized_sentences and token_positions there, or set `path` of this "
            "entry of corpora"
        )
    tokens, _ = load_tokens(source)
    save_tokens(target, tokens, {})
    return tokens


def load_states_tokens(path: Path, states_card: dict[str, Any], *, made_by: str | None = None) -> Tokens:
    """The tokens that hidden states were recorded from; `InputError` if the file has changed since.

    made_by: what to run to make both anew.
    """
    tokens, _ = load_tokens(path, made_by=made_by)  # a file that is not there or damaged says so
    if artifacts.file_sha256(path) != states_card["tokens_sha256"] or len(tokens) != states_card["sentences"]:
        raise InputError(f"{path} is not the file the hidden states were recorded from; {again(made_by)}")
    return tokens


def most_frequent(counts: Tensor, number: int) -> Tensor:
    """The `number` tokens that occur most, at most all, (number,) int64 in rising order; of equals the first.

    counts: (V,), as `Tokens.counts` gives them.
    """
    return torch.argsort(counts, descending=True, stable=True)[:number].sort().values


def check_fit(
    tokens: Tokens, vocabulary: int, max_tokens: int | None, path: str | Path, mask_token: int | None = None
) -> None:
    """Raise `InputError`, naming the sentence, if the model cannot read the tokens.

    mask_token: of a masked model, which must stand at every sampled position.
    """
    for number, (ids, position) in enumerate(zip(tokens.sentences, tokens.positions.tolist(), strict=True)):
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= vocabulary:
            raise InputError(
                f"{path}: sentence {number} has token id {low if low < 0 else high} but the model knows "
                f"0..{vocabulary - 1}; tokenize with the model's own tokenizer"
            )
        if max_tokens is not None and len(ids) > max_tokens:
            raise InputError(
                f"{path}: sentence {number} has {len(ids)} tokens but the model takes {max_tokens}; cut it"
            )
        if mask_token is not None and int(ids[position]) != mask_token:
            raise InputError(
                f"{path}: sentence {number} has token id {int(ids[position])} at its position {position}, where a "
                f"masked model needs its mask token, {mask_token}; put it there, counting special tokens too"
            )


def check_rows(rows: int, width: int) -> None:
    """Raise `InputError` if there are fewer rows than coordinates, so that no map could be determined."""
    if rows < width:
        raise InputError(
            f"{rows:,} train sentences cannot determine maps of a model of width {width:,}; take {width:,} or more"
        )

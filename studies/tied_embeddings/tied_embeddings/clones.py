"""Real text in which each common word has a clone: pairs of tokens known to mean the same and to share all contexts.

Whenever the text is read, each occurrence of a common word is, with probability one half, another token instead: its
clone. Exchanging the two changes nothing (semantic equivalence), and every context predicts both with equal
probability (conditional equivalence), so the distributional hypothesis holds for the pair by construction. Then tokens
are masked as for BERT, and a model has to guess them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import Params, known
from linear_shortcuts.text import corpora, tokens
from tied_embeddings.dataset import IGNORED, Batch, Dataset
from tied_embeddings.settings import STUDY
from tied_embeddings.text_settings import Clones

SHARES = {"train": 0.7, "validation": 0.1, "test": 0.2}  # shares of the sentences
KEPT, RANDOM = 0.1, 0.1  # of the masked tokens, as for BERT; the others become [MASK]
POOL = 8  # batches are cut from a pool this many times as large, sorted by length: little padding, no sentence favoured


# --- sentences ---------------------------------------------------------------------------------------------


Watch = Callable[[Iterable[str]], Iterable[str]]  # passes texts on, and may show how many


def read_sentences(
    params: Params, section: str, corpus: str, number: int, watch: Watch = lambda texts: texts
) -> dict[str, list[str]]:
    """Distinct sentences of one of the project's corpora, drawn with its seed and split as `SHARES` says.

    section: of the study's settings that asks for them, for errors.
    """
    known(f"{section}.corpus", corpus, params.corpora, "corpora of the project's params.yaml")
    chosen = params.corpora[corpus]
    split, _ = corpora.choose_splitter(chosen)
    train, validation = (round(SHARES[name] * number) for name in ("train", "validation"))
    articles = watch(corpora.read_articles(chosen, params.seed))
    try:
        drawn = corpora.draw(chosen, articles, split, train, number - train, params.seed)
    except InputError as error:  # it speaks of two numbers, of which this study sets the sum
        if "distinct usable sentences" not in str(error):
            raise
        found = str(error).partition(", and ")[0]
        raise InputError(f"{found}; lower {section}.sentences, which is {number:,}, or give a larger corpus") from error
    return {"train": drawn.train, "validation": drawn.validation[:validation], "test": drawn.validation[validation:]}


def encode(sentences: Sequence[str], tokenizer: Any, max_tokens: int) -> list[Tensor]:
    """Token ids of each sentence, cut to `max_tokens`, special tokens included: n tensors (tokens,) int64."""
    encoded = tokens.encode(tokenizer, sentences, truncation=True, max_length=max_tokens)["input_ids"]
    return [torch.tensor(ids, dtype=torch.int64) for ids in encoded]


# --- words -------------------------------------------------------------------------------------------------


def read_words(path: str | Path) -> list[str]:
    """The words of a file with one word a line, without blank lines and lines that start with #."""
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as words, one a line ({error}); give a text file or null") from error
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def most_common_words(sentences: Sequence[str], tokenizer: Any, number: int) -> list[str]:
    """The most common words that are one token, the commonest first; of equal ones the alphabetically first."""
    counts: Counter[int] = Counter()
    encoded = tokens.encode(tokenizer, sentences, add_special_tokens=False)
    for row, ids in enumerate(encoded["input_ids"]):
        tokens_of_word = Counter(encoded.word_ids(row))
        counts.update(
            token for token, word in zip(ids, encoded.word_ids(row), strict=True) if tokens_of_word[word] == 1
        )
    words = {tokenizer.decode([token]).strip(): count for token, count in counts.items()}
    # A single letter other than these is what is left of "it's", or a variable.
    ranked = sorted((-n, word) for word, n in words.items() if word.isalpha() and (len(word) > 1 or word in ("a", "i")))
    if len(ranked) < number:
        raise InputError(f"the text has {len(ranked)} words that are one token, but number is {number}; lower it")
    return [word for _, word in ranked[:number]]


def word_ids(words: Iterable[str], tokenizer: Any) -> list[int]:
    """The token of each word, looked up in lower case, as "I" must be.

    Raises `InputError` that names the words which are not one token, or which stand twice.
    """
    words = [word.lower() for word in words]
    encoded = tokens.encode(tokenizer, words, add_special_tokens=False)["input_ids"] if words else []
    wrong = [
        word for word, ids in zip(words, encoded, strict=True) if len(ids) != 1 or ids[0] == tokenizer.unk_token_id
    ]
    if wrong:
        raise InputError(
            f"{len(wrong)} of the words to clone are not one token of this tokenizer, such as "
            f"{', '.join(map(repr, wrong[:3]))}; leave them out, or choose another tokenizer"
        )
    repeated = [word for word, count in Counter(words).items() if count > 1]
    if repeated:
        raise InputError(f"the words to clone have {repeated[0]!r} {words.count(repeated[0])} times; list each once")
    return [ids[0] for ids in encoded]


# --- the data set ------------------------------------------------------------------------------------------


class ClonedText(Dataset):
    """Sentences of each split whose common words are cloned and whose tokens are masked anew at every access.

    sentences: split -> texts. words: W words, each one token. batch_size: sentences of a batch.

    Raises `InputError` for a word that is not one token, and a tokenizer that cannot mask or pad.
    """

    length = None  # sentences differ in length
    padding: int
    mask: int

    def __init__(
        self,
        sentences: Mapping[str, Sequence[str]],
        words: Sequence[str],
        tokenizer: Any,
        max_tokens: int = 128,
        batch_size: int = 128,
        masked: float = 0.15,
        clone_share: float = 0.5,
    ) -> None:
        if tokenizer.mask_token_id is None or tokenizer.pad_token_id is None:
            raise InputError("this tokenizer has no mask or padding token; choose a masked model's, such as tiny-bert")
        self.sentences = {split: encode(texts, tokenizer, max_tokens) for split, texts in sentences.items()}
        self.words = list(words)
        self.originals = torch.tensor(word_ids(words, tokenizer))
        self.tokens = len(tokenizer)  # without clones: word i's clone is token `tokens + i`
        self.vocabulary = self.tokens + len(self.words)
        self.special = torch.tensor(sorted(tokenizer.all_special_ids))
        self.padding = int(tokenizer.pad_token_id)
        self.mask = int(tokenizer.mask_token_id)
        self.batch_size, self.masked, self.clone_share = batch_size, masked, clone_share

    @property
    def pairs(self) -> Tensor:
        """(2 W,) the tokens whose distances are recorded: the words, then their clones in the same order."""
        return torch.cat([self.originals, torch.arange(self.tokens, self.vocabulary)])

    def clone(self, ids: Tensor, generator: torch.Generator) -> Tensor:
        """Token ids with each occurrence of a word replaced by its clone with probability `clone_share`.

        Also where the token is only the beginning of a longer word: else it would occur in contexts that its clone
        never occurs in, and the two would not be equivalent.
        """
        clone_of = torch.arange(self.tokens)
        clone_of[self.originals] = torch.arange(self.tokens, self.vocabulary)
        drawn = torch.rand(ids.shape, generator=generator) < self.clone_share
        return torch.where(drawn, clone_of[ids], ids)

    def exchange(self, ids: Tensor, step: int) -> Tensor:
        """Token ids with every word turned into the clone of the word `step` further on, and clones into that word."""
        other = torch.arange(self.vocabulary)
        words = len(self.words)
        originals, twins = self.pairs.split(words)
        other[originals], other[twins] = twins.roll(-step), originals.roll(-step)
        return other[ids]

    def hide(self, ids: Tensor, generator: torch.Generator) -> Batch:
        """Inputs and targets: ordinary tokens are masked as for BERT (Devlin et al. 2019, section 3.1)."""
        ordinary = ~torch.isin(ids, self.special)
        chosen = ordinary & (torch.rand(ids.shape, generator=generator) < self.masked)
        fate = torch.rand(ids.shape, generator=generator)
        others = torch.randint(self.vocabulary, ids.shape, generator=generator)
        inputs = torch.where(chosen & (fate >= KEPT), torch.where(fate < KEPT + RANDOM, others, self.mask), ids)
        return Batch(inputs, ids.masked_fill(~chosen, IGNORED))

    def batch(self, split: str, generator: torch.Generator) -> Batch:
        """Inputs and targets, both (batch_size, longest) int64; targets are -100 except where a token was masked."""
        sentences = self.sentences[split]
        pool = torch.randint(len(sentences), (POOL * self.batch_size,), generator=generator).tolist()
        pool.sort(key=lambda number: len(sentences[number]))
        first = int(torch.randint(POOL, (), generator=generator)) * self.batch_size
        rows = [sentences[number] for number in pool[first : first + self.batch_size]]
        ids = pad_sequence(rows, batch_first=True, padding_value=self.padding)
        return self.hide(self.clone(ids, generator), generator)

    def coin(self, targets: Tensor) -> float:
        """The mean loss, in nats per target, that the clones alone cost: nobody can tell which of the two comes."""
        wanted = targets[targets != IGNORED]
        share = self.clone_share
        entropy = -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
        return entropy * float(torch.isin(wanted, self.pairs).double().mean())


def load_text(settings: Clones, params: Params, watch: Watch = lambda texts: texts) -> ClonedText:
    """The text and the words that the study's settings name, tokenized; params: the project's own settings."""
    from linear_shortcuts.models import load_tokenizer

    entry = params.model(settings.tokenizer)
    tokenizer = load_tokenizer(entry.checkpoint, entry.revision, trust_remote_code=entry.trust_remote_code)
    sentences = read_sentences(params, "clones", settings.corpus, settings.sentences, watch)
    if settings.words is None:
        words = most_common_words(sentences["train"], tokenizer, settings.number)
    else:
        words = read_words(settings.words)
    return ClonedText(sentences, words, tokenizer, settings.max_tokens, settings.training.batch)


def recorded(corpus: str, variant: str) -> Path:
    """Where stage 04 puts what it recorded of a training, tied or untied."""
    return STUDY / "data" / "clones" / corpus / f"{variant}.pickle"


def random_pairs(words: int, number: int, seed: int) -> Tensor:
    """`number` different pairs (i, j), i < j, of `words` words, (number, 2) int64; all of them if there are no more."""
    pairs = torch.combinations(torch.arange(words))
    generator = torch.Generator().manual_seed(seed)
    return pairs[torch.randperm(len(pairs), generator=generator)[:number]]

"""Sentences: where they come from, how text is split into them, and how the study's are drawn."""

from __future__ import annotations

import json
import random
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from linear_shortcuts.files import InputError, derive, shown
from linear_shortcuts.settings import (
    Corpus,
    DocstringsCorpus,
    Drawing,
    FileCorpus,
    Params,
    TokensCorpus,
    WikipediaCorpus,
)
from linear_shortcuts.text import docstrings
from linear_shortcuts.text.parquet_pages import page_sizes

Splitter = Callable[[str], list[str]]  # one paragraph -> its sentences


@dataclass(frozen=True)
class Drawn:
    """The sentences of one study: distinct, the two splits never overlapping."""

    train: list[str]
    validation: list[str]
    articles: int  # read
    candidates: int  # distinct sentences they were drawn from
    left_out: dict[str, int]  # why -> how many sentences


def card_of(params: Params | Drawing) -> dict[str, Any]:
    """What sentences that are drawn under these settings say of themselves."""
    numbers = {"train": params.sentences.train, "validation": params.sentences.validation}
    return {"corpus": params.corpus, **vars(params.chosen_corpus), "seed": params.seed, **numbers}


# --- articles ----------------------------------------------------------------------------------------------


def read_articles(corpus: Corpus, seed: int) -> Iterator[str]:
    """The articles of a corpus, paragraphs separated by line breaks.

    Endless sources come in an order drawn from `seed`, every article equally likely to be first; finite ones in
    their own order, because all of their sentences are candidates.
    """
    if isinstance(corpus, DocstringsCorpus):
        return (unwrap(text) for text in docstrings.python_articles())
    if isinstance(corpus, WikipediaCorpus):
        return _hub_articles(corpus, seed)
    if isinstance(corpus, FileCorpus):
        return _file_texts(corpus)
    if isinstance(corpus, TokensCorpus):
        raise InputError(f"{corpus.path} holds tokens, which have no text to read; choose another entry of corpora")
    raise TypeError(f"no reader for {type(corpus).__name__}")


def unwrap(text: str) -> str:
    """Join the lines of each hard-wrapped paragraph (blank lines separate them) into one line."""
    paragraphs: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip():
            paragraphs[-1].append(line.strip())
        elif paragraphs[-1]:
            paragraphs.append([])
    return "\n".join(" ".join(lines) for lines in paragraphs if lines)


def _hub_articles(corpus: WikipediaCorpus, seed: int) -> Iterator[str]:
    try:
        import datasets
    except ImportError as error:
        raise InputError("the wikipedia source needs the datasets package; pip install datasets") from error
    datasets.disable_progress_bars()
    where = f"{corpus.dataset} {corpus.config or ''}".strip()
    try:
        stream = datasets.load_dataset(
            corpus.dataset, corpus.config, revision=corpus.revision, split="train", streaming=True
        )
        # Row groups (1,000 articles each in the dump) become the shards. 64 of them, drawn from the whole dump, feed
        # the buffer at a time: every article is equally likely, and only the groups that are drawn get downloaded.
        stream = stream.reshard().shuffle(
            seed=derive(seed, "articles") % 2**32, buffer_size=2000, max_buffer_input_shards=64
        )
        for row in stream:
            if not isinstance(row.get("text"), str):
                raise InputError(f"{where} has no text column; its columns are {_names(row)}")
            yield row["text"]
    except InputError:
        raise
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"cannot read {where} ({type(error).__name__}: {reason}); without network, give corpora a `file` entry "
            "with your own text, or use the docstrings corpus"
        ) from error


def _file_texts(corpus: FileCorpus) -> Iterator[str]:
    path = Path(corpus.path)
    readers = {".txt": _txt_texts, ".jsonl": _jsonl_texts, ".parquet": _parquet_texts}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise InputError(f"{path}: cannot read {suffix or 'a file without suffix'}; give {', '.join(readers)}")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; {_SET_PATH}") from error
    except (OSError, ValueError) as error:  # too long a name, a folder that may not be entered, a NUL in it
        raise InputError(f"{shown(corpus.path)} cannot be read ({_reason(error)}); {_SET_PATH}") from error
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise InputError(f"{path} is {what}, and no file; {_SET_PATH}")
    return readers[suffix](path, corpus)


_SET_PATH = "give the path of your text file"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _txt_texts(path: Path, corpus: FileCorpus) -> Iterator[str]:
    """One sentence a line, or articles of one paragraph a line separated by blank lines."""
    article: list[str] = []
    for line in _lines(path):
        if corpus.unit == "sentences":
            yield line
        elif line.strip():
            article.append(line)
        elif article:
            yield "\n".join(article)
            article = []
    if article:
        yield "\n".join(article)


def _jsonl_texts(path: Path, corpus: FileCorpus) -> Iterator[str]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not a JSON object ({error})") from error
        yield _text_of(row, corpus.text_field, f"{path}, line {number}")


def _parquet_texts(path: Path, corpus: FileCorpus) -> Iterator[str]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError(f"{path} needs pyarrow to be read; pip install pyarrow") from error
    field = corpus.text_field
    try:
        table = pyarrow.parquet.ParquetFile(path)
        if field not in table.schema_arrow.names:
            known = _names(table.schema_arrow.names)
            raise InputError(f"{path} has no column {field!r}; its columns are {known}: set text_field")
        kind = table.schema_arrow.field(field).type
        if kind.num_fields:  # before its parts are read
            raise InputError(f"{path}: {field!r} is a {shown(str(kind))}, not text; set text_field")
        stated = _Reach(path)
        stated.spend(0, table.metadata.num_rows)
        for size in page_sizes(path):
            stated.spend(size, 1)
        left = _Reach(path)
        # As a dictionary, so that a text which the file holds once and refers to often is held once here, too.
        table = pyarrow.parquet.ParquetFile(path, read_dictionary=[field])
        for batch in table.iter_batches(columns=[field]):
            for value in batch.column(0):
                text = _text_of({field: value.as_py()}, field, str(path))
                left.spend(len(text), 1)
                yield text
    except InputError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as error:  # one wrong bit can have any of them
        mend = "save it anew with the encoding PLAIN, or as .jsonl"
        raise InputError(f"{path} is not a Parquet file that can be read ({error}); {mend}") from error


class _Reach:
    """How much text may still come out of a compressed file: 256 times its size, and 16 MiB; a row counts 8 bytes.

    Prose shrinks to a fifth, lines that differ in a number to a fortieth; a file of 469 bytes may hold 500 MB.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.left = 2**24 + 256 * path.stat().st_size

    def spend(self, size: int, rows: int) -> None:
        self.left -= size + 8 * rows
        if self.left < 0:
            raise InputError(
                f"{self.path} unpacks to more than 256 times its size; if that is meant, save it as .jsonl or .txt"
            )


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open("rb") as start:
            head = start.read(4096)
        # Without a byte-order mark such text is UTF-8, too, with a NUL beside every letter.
        if head.startswith((b"\xff\xfe", b"\xfe\xff")) or head.count(0) > len(head) // 10:
            raise InputError(
                f"{path} is not UTF-8 text but looks like UTF-16 or UTF-32; save it as UTF-8, for instance with "
                "iconv -f utf-16le -t utf-8"
            )
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text (byte {error.object[error.start]:#04x}); save it as UTF-8, for instance with "
            f"iconv -f latin1 -t utf-8"
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {_SET_PATH}") from error


def _text_of(row: Any, text_field: str, where: str) -> str:
    if not isinstance(row, dict):
        raise InputError(f"{where} is a {type(row).__name__}, not a mapping with {text_field!r}; make it one")
    if text_field not in row:
        raise InputError(f"{where} has no {text_field!r}; it has {_names(row) or 'nothing'}: set text_field")
    if not isinstance(row[text_field], str):
        kind = "null" if row[text_field] is None else f"a {type(row[text_field]).__name__}"
        raise InputError(f"{where}: {text_field!r} is {kind}, not text; leave the row out, or set text_field")
    return row[text_field]


def _names(names: Iterable[Any]) -> str:
    """Keys of a stranger's file as part of a message."""
    listed = list(names)
    return ", ".join(map(shown, listed[:8])) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


# --- sentences ---------------------------------------------------------------------------------------------


def choose_splitter(corpus: Corpus) -> tuple[Splitter, str]:
    """The splitter a corpus asks for and its exact name; a file with one sentence a line is not split at all."""
    if isinstance(corpus, FileCorpus) and corpus.unit == "sentences":
        return whole_text, "one sentence a line"
    return make_splitter(corpus.splitter)


def make_splitter(name: str) -> tuple[Splitter, str]:
    """The sentence splitter called `name` and the exact name that goes into the records.

    `auto` is spaCy's trained pipeline en_core_web_sm where it is installed, and its rule-based sentencizer otherwise.
    """
    try:
        import spacy
    except ImportError as error:
        raise InputError("splitting articles into sentences needs spaCy; pip install spacy") from error

    trained = "en_core_web_sm"
    if name == "auto":
        name = trained if spacy.util.is_package(trained) else "sentencizer"
    if name == "sentencizer":
        pipeline = spacy.blank("en")
        pipeline.add_pipe("sentencizer")
    else:
        if not spacy.util.is_package(trained):
            raise InputError(
                f"splitter is {trained}, which is not installed; python -m spacy download {trained}, "
                "or set splitter to sentencizer"
            )
        pipeline = spacy.load(trained, disable=["tagger", "attribute_ruler", "lemmatizer", "ner"])
        name = f"{trained} {pipeline.meta['version']}"
    pipeline.max_length = 10**9  # no parse trees of whole articles here: a paragraph is all it ever sees
    return partial(_spacy_sentences, pipeline), f"{name} (spaCy {spacy.__version__})"


def _spacy_sentences(pipeline: Any, paragraph: str) -> list[str]:
    starts = [_before_opening(paragraph, sentence.start_char) for sentence in pipeline(paragraph).sents]
    return [paragraph[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]


def _before_opening(text: str, start: int) -> int:
    """Where a sentence starts that spaCy lets begin at `start`: it leaves an opening bracket or quote before it."""
    opening = start
    while opening and (unicodedata.category(text[opening - 1]) in ("Ps", "Pi") or text[opening - 1] in "\"'`¿¡"):
        opening -= 1
    return opening if opening and text[opening - 1].isspace() else start


def whole_text(text: str) -> list[str]:
    """The splitter for a corpus that already has one sentence a line or row, whatever line breaks are in it."""
    return [text.strip()]


def article_sentences(article: str, split: Splitter, *, paragraph_final: bool = False) -> Iterator[str]:
    """The sentences of an article whose paragraphs are lines; only the last of each paragraph if asked."""
    for paragraph in [article] if split is whole_text else article.splitlines():
        if paragraph.strip():
            sentences = [sentence for sentence in split(paragraph) if sentence]
            yield from sentences[-1:] if paragraph_final else sentences


def draw(corpus: Corpus, articles: Iterable[str], split: Splitter, train: int, validation: int, seed: int) -> Drawn:
    """Draw distinct sentences for the two splits, uniformly, from a seed.

    With `sentences_per_article` set, that many candidates are drawn from each article; without, all of its sentences
    are. A streamed corpus is read until there are enough. Raises `InputError` if there are too few.
    """
    wanted = train + validation
    candidates: dict[str, None] = {}  # a set that remembers its order
    left_out: Counter[str] = Counter()
    read = 0
    for article in articles:
        read += 1
        if not article.strip():
            left_out["empty"] += 1
        found: dict[str, None] = {}
        for sentence in article_sentences(article, split, paragraph_final=corpus.paragraph_final):
            if reason := _flaw(corpus, sentence):
                left_out[reason] += 1
            elif sentence in candidates or sentence in found:
                left_out["repeated"] += 1
            else:
                found[sentence] = None
        if corpus.sentences_per_article is not None:
            choose = random.Random(derive(seed, "article", article))
            found = dict.fromkeys(choose.sample(list(found), min(corpus.sentences_per_article, len(found))))
        candidates.update(found)
        if isinstance(corpus, WikipediaCorpus) and len(candidates) >= wanted and corpus.sentences_per_article:
            break  # its articles come in random order; a file is read whole, or its head would be favoured
    if len(candidates) < wanted:
        what = corpus.path if isinstance(corpus, FileCorpus) else "the corpus"
        raise InputError(
            f"{what} has {len(candidates):,} distinct usable sentences in {read:,} articles, and {train:,} "
            f"to train and {validation:,} for validation are asked for; lower either, or give a larger corpus"
        )
    drawn = random.Random(derive(seed, "sentences")).sample(list(candidates), wanted)
    return Drawn(drawn[:train], drawn[train:], read, len(candidates), dict(sorted(left_out.items())))


def _flaw(corpus: Corpus, sentence: str) -> str | None:
    """Why the sentence cannot be a candidate, if it cannot."""
    if len(sentence) < corpus.min_characters:
        return "too short"
    if len(sentence) > corpus.max_characters:
        return "too long"
    if any("\ud800" <= character <= "\udfff" for character in sentence):
        return "not valid Unicode"  # half of a surrogate pair, as JSON can hold: no tokenizer takes it
    if isinstance(corpus, DocstringsCorpus) and not docstrings.is_prose(sentence):
        return "not prose"
    return None

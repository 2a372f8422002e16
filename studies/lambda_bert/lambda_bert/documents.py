"""Documents for pre-training: what belongs together, as lines in their order."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lambda_bert.settings import DocstringsText, Source, WikitextText
from linear_shortcuts.files import InputError, derive
from linear_shortcuts.settings import FileCorpus
from linear_shortcuts.text import Splitter, corpora, docstrings

Document = list[str]  # its lines, or its sentences; at least one, none of them blank

ARTICLE_FILES = (".jsonl", ".parquet")  # an article a row; anything else has the layout of WikiText
LONGEST_SENTENCE = 400  # characters; longer ones in docstrings are mostly tables and lists
_HEADING = re.compile(r" = .* =\s*")


def wikitext_documents(lines: Iterable[str]) -> Iterator[Document]:
    """The documents of text in the layout of WikiText: a heading line of any level, ` = History = `, ends one.

    Headings are no part of a document, because the first line of every section would tell its order.
    """
    document: Document = []
    for line in lines:
        if not _HEADING.fullmatch(line):
            if line.strip():
                document.append(line.strip())
        elif document:
            yield document
            document = []
    if document:
        yield document


def read_documents(paths: Iterable[str | Path], text_field: str = "text") -> list[Document]:
    """The documents of some files: .jsonl and .parquet have an article a row, whose lines are its paragraphs."""
    documents: list[Document] = []
    for path in map(Path, paths):
        found = list(_file_documents(path, text_field))
        if not found:
            raise InputError(f"{path} has no line of text; give a file with documents")
        documents += found
    return documents


def _file_documents(path: Path, text_field: str) -> Iterator[Document]:
    if path.suffix not in ARTICLE_FILES:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            raise InputError(f"{path} does not exist; give the path of your text") from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read as UTF-8 text ({error}); save it as UTF-8") from error
        # Not splitlines, which also cuts at rarer characters that stand within the lines of WikiText.
        yield from wikitext_documents(text.split("\n"))
        return
    corpus = FileCorpus(source="file", path=str(path), unit="articles", text_field=text_field)
    for article in corpora.read_articles(corpus, seed=0):
        if document := [line.strip() for line in article.splitlines() if line.strip()]:
            yield document


def load_wikitext(source: WikitextText) -> tuple[list[Document], list[Document]]:
    """The documents to train on, and those for validation, of the hub's WikiText or a local copy of it."""
    import datasets

    where = f"{source.dataset}/{source.config}"
    files = {split: f"{where}/{split}-*.parquet" for split in ("train", "validation")}
    try:
        if Path(source.dataset).is_dir():
            splits = datasets.load_dataset("parquet", data_files=files, streaming=True)
        else:
            splits = datasets.load_dataset(source.dataset, source.config, revision=source.revision, streaming=True)
        train, validation = (list(wikitext_documents(row["text"] for row in splits[split])) for split in files)
    except KeyError as error:
        raise InputError(f"{where} has no column {error}; WikiText's lines are in 'text'") from error
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"cannot read {where} ({reason}); set `dataset` to the folder of a local copy, in which "
            f"{source.config}/train-*.parquet lies"
        ) from error
    if not train or not validation:
        raise InputError(f"{where} has no line of text in {'validation' if train else 'train'}; copy it anew")
    return train, validation


def docstring_documents(split: Splitter) -> list[Document]:
    """The `docstrings` corpus of the main pipeline, a document a source file or topic: its prose sentences in order."""
    found = (
        [
            sentence
            for article in articles
            for sentence in corpora.article_sentences(corpora.unwrap(article), split)
            if len(sentence) <= LONGEST_SENTENCE and docstrings.is_prose(sentence)
        ]
        for articles in docstrings.python_files()
    )
    return [sentences for sentences in found if len(sentences) > 1]


def in_sentences(documents: Iterable[Document], split: Splitter) -> list[Document]:
    """The same documents, their lines cut into sentences."""
    cut = ([sentence for line in document for sentence in split(line) if sentence] for document in documents)
    return [sentences for sentences in cut if sentences]


def hold_out(documents: list[Document], share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """Draw a share of the documents for validation; the rest is to train on. Each part gets two, if there are four.

    Lines of held-out documents that also stand in the rest are left out, so that nothing scored was seen.
    """
    if len(documents) < 2:
        raise InputError(
            "the text is one document, of which none can be held out; end documents with heading lines ( = Title = ), "
            "or give validation text of its own"
        )
    least = 2 if len(documents) >= 4 else 1  # next-sentence prediction draws from another document
    number = min(max(least, round(share * len(documents))), len(documents) - least)
    chosen = set(random.Random(derive(seed, "held out")).sample(range(len(documents)), number))
    train = [document for index, document in enumerate(documents) if index not in chosen]
    seen = {line for document in train for line in document}
    fresh = ([line for line in documents[index] if line not in seen] for index in sorted(chosen))
    held_out = [document for document in fresh if document]
    if not held_out:
        raise InputError(f"no line of the {number:,} held-out documents is new; hold out more, or give other text")
    return train, held_out


def read_source(source: Source, share: float, seed: int) -> tuple[list[Document], list[Document]]:
    """The documents of a source of the study's `params.yaml` to train on, and those for validation."""
    if isinstance(source, WikitextText):
        return load_wikitext(source)
    split, _ = corpora.make_splitter("sentencizer")
    if isinstance(source, DocstringsText):
        return hold_out(docstring_documents(split), share, seed)
    parts = [read_documents(paths, source.text_field) for paths in (source.train, source.validation) if paths]
    if source.sentences:
        parts = [in_sentences(documents, split) for documents in parts]
    return (parts[0], parts[1]) if len(parts) == 2 else hold_out(parts[0], share, seed)

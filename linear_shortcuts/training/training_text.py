"""What the shipped models read: documentation strings of the installed packages."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from linear_shortcuts.files import derive, fingerprint
from linear_shortcuts.settings import DocstringsCorpus
from linear_shortcuts.text import Splitter, article_sentences, docstrings, read_articles, unwrap

HELD_OUT_SHARE = 0.05  # of source files, never trained on


@dataclass(frozen=True)
class TrainingText:
    """Distinct prose sentences, one list per source file; held-out files are never trained on."""

    train: list[list[str]]
    held_out: list[list[str]]
    packages: dict[str, str]  # distribution -> version

    @property
    def sha256(self) -> str:
        return fingerprint([self.train, self.held_out])


def read_training_text(split: Splitter, packages: Iterable[Path], seed: int) -> TrainingText:
    """The prose of the packages' docstrings, without the sentences of the `docstrings` corpus.

    A sentence that occurs twice is kept where it stands first, in the training files before the held-out ones, so
    no held-out sentence was seen in training.
    """
    corpus = DocstringsCorpus(source="docstrings")
    seen = {_normal(s) for article in read_articles(corpus, seed) for s in article_sentences(article, split)}
    files: tuple[list[list[str]], list[list[str]]] = ([], [])
    for package in packages:
        for number, articles in enumerate(docstrings.package_articles(package)):
            sentences = [s for text in articles for s in article_sentences(unwrap(text), split)]
            prose = [s for s in sentences if len(s) <= 400 and docstrings.is_prose(s)]
            held_out = derive(seed, "held out", package.name, number) < HELD_OUT_SHARE * 2**64
            files[held_out].append(prose)
    train, held_out_files = ([_unseen(sentences, seen) for sentences in part] for part in files)
    versions = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return TrainingText(list(filter(None, train)), list(filter(None, held_out_files)), dict(sorted(versions.items())))


def _normal(sentence: str) -> str:
    return " ".join(sentence.casefold().split())


def _unseen(sentences: list[str], seen: set[str]) -> list[str]:
    fresh = []
    for sentence in sentences:
        if (normal := _normal(sentence)) not in seen:
            seen.add(normal)
            fresh.append(sentence)
    return fresh

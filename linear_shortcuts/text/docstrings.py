"""English prose that is on every machine with Python: docstrings, read from source files without importing them."""

from __future__ import annotations

import ast
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from linear_shortcuts.files import InputError

# Parts of the standard library that some systems package apart, and generated or vendored code. Leaving them out
# everywhere makes the corpus the same wherever the same Python is.
_OPTIONAL_PARTS = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip",
     "__phello__", "lib-dynload"}
)  # fmt: skip

# CPython's own prose is just enough for the study's 12,000 sentences on some versions and too little on others, so
# one pinned dependency adds its docstrings. Its text is kept out of the training text of the shipped models.
SUPPLEMENT = "numpy"


def python_articles() -> Iterator[str]:
    """The `docstrings` corpus: the standard library's docstrings, the `pydoc` topics, and the supplement's.

    One article per docstring or topic, in a fixed order, paragraphs separated by blank lines.
    """
    return (article for articles in python_files() for article in articles)


def python_files() -> Iterator[list[str]]:
    """The articles of the `docstrings` corpus, one list of them per source file, and per topic."""
    yield from _tree_articles(Path(sysconfig.get_path("stdlib")), _OPTIONAL_PARTS)
    from pydoc_data.topics import topics

    for name in sorted(topics):
        yield [topics[name]]
    supplement = Path(sysconfig.get_path("purelib")) / SUPPLEMENT
    if not supplement.is_dir():
        raise InputError(f"{SUPPLEMENT} is not installed as source in {supplement.parent}; pip install {SUPPLEMENT}")
    yield from _tree_articles(supplement, frozenset({"tests"}))


def installed_packages() -> list[Path]:
    """The importable packages of this environment that have sources, sorted, without the corpus's supplement."""
    root = Path(sysconfig.get_path("purelib"))
    return sorted(path for path in root.iterdir() if path.is_dir() and path.name != SUPPLEMENT and path.suffix == "")


def package_articles(package: Path) -> Iterator[list[str]]:
    """The docstrings of one installed package: one list of articles per source file, in a fixed order."""
    return _tree_articles(package, frozenset({"tests", "test", "testing"}))


def is_prose(sentence: str) -> bool:
    """Whether a sentence from a docstring reads as English rather than as code, a table or a signature.

    A guess that works well on numpydoc, Google and reStructuredText styles: it starts with a capital, ends like a
    sentence, has at least six words, and is almost all letters and spaces.
    """
    if not _SENTENCE.match(sentence) or _CODE.search(sentence) or sentence.count(" ") < 5:
        return False
    return sum(c.isalpha() or c == " " for c in sentence) >= 0.85 * len(sentence)


_SENTENCE = re.compile(r"""^["'(]?[A-Z].*[.!?]["')]?$""")
_CODE = re.compile(r">>>|::|--|==|\b\w+\(\w*=|\bself\.")
_MARKUP = re.compile(r":[a-z:]+:`~?([^`]+)`|`+([^`]+)`+|\*\*([^*]+)\*\*")


def _tree_articles(root: Path, skip: frozenset[str]) -> Iterator[list[str]]:
    for path in sorted(root.rglob("*.py")):
        if skip.isdisjoint(path.relative_to(root).parts) and (articles := list(_file_articles(path))):
            yield articles


def _file_articles(path: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError):  # templates and deliberately broken files
            return
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield _MARKUP.sub(lambda match: next(filter(None, match.groups())), text)

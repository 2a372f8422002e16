"""The prose of docstrings: read without running a file, and enough for the study."""

import json
from collections import Counter

import pytest
from filelock import FileLock

from linear_shortcuts.settings.params import DocstringsCorpus, read_params
from linear_shortcuts.text import corpora, docstrings


@pytest.fixture(scope="session")
def python_prose(tmp_path_factory, request, sentencizer):
    """The articles of the docstrings corpus and a splitter that knows their sentences: read once a test run."""
    in_parallel = hasattr(request.config, "workerinput")
    base = tmp_path_factory.getbasetemp()
    path = (base.parent if in_parallel else base) / "docstrings.json"  # what the workers of pytest-xdist share
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            articles = list(corpora.read_articles(DocstringsCorpus(source="docstrings"), 0))
            paragraphs = {p: sentencizer(p) for article in articles for p in article.splitlines() if p.strip()}
            path.write_text(json.dumps([articles, paragraphs]))
    articles, paragraphs = json.loads(path.read_text())
    return articles, paragraphs.__getitem__


@pytest.fixture(scope="session")
def shipped_docstrings(repository):
    params = read_params(repository / "params.yaml")
    return params.corpora["docstrings"], params.sentences


def test_python_itself_has_enough_prose_for_the_study(python_prose, shipped_docstrings):
    corpus, sentences = shipped_docstrings
    drawn = corpora.draw(corpus, *python_prose, sentences.train, sentences.validation, 0)
    assert drawn.candidates >= 12_000
    assert len({*drawn.train, *drawn.validation}) == 12_000
    assert corpora.draw(corpus, *python_prose, sentences.train, sentences.validation, 0) == drawn
    other = corpora.draw(corpus, *python_prose, sentences.train, sentences.validation, 1)
    assert (other.train, other.candidates) != (drawn.train, drawn.candidates)
    assert other.candidates == drawn.candidates


def test_the_prose_of_python_is_prose(python_prose, shipped_docstrings):
    corpus, _ = shipped_docstrings
    drawn = corpora.draw(corpus, *python_prose, 2000, 2, 0)
    for sentence in drawn.train:
        assert sentence[0].isupper() or sentence[0] in "\"'("
        assert 30 <= len(sentence) <= 400
        assert "\n" not in sentence
        assert ">>>" not in sentence
    words = Counter(word.casefold() for sentence in drawn.train for word in sentence.split())
    assert words.most_common(1)[0][0] == "the"  # as in English


@pytest.mark.parametrize(
    ("sentence", "prose"),
    [
        ("Return the sum of all values in the list.", True),
        ('"This is what the old manual said about it."', True),
        ("return the sum of all values in the list.", False),  # starts inside a sentence
        ("Return the sum of all values in the list", False),  # a heading
        ("Return the sum.", False),  # too short
        (">>> Return the sum of all values in it.", False),
        ("Call it as self.value of the object in question.", False),
        ("Use f(x=1) or g(y=2) to get all of the values.", False),
        ("A = 1; B = 2; C = 3 + 4 * 5 == 23 | 17 & 19.", False),
    ],
)
def test_prose_is_told_from_code(sentence, prose):
    assert docstrings.is_prose(sentence) is prose


def test_docstrings_are_read_without_running_the_file(tmp_path):
    package = tmp_path / "package"
    (package / "tests").mkdir(parents=True)
    canary = tmp_path / "canary"
    code = f'"""A module with `code` and :func:`~a.b`."""\nopen({str(canary)!r}, "w")\ndef f():\n    """Of f."""\n'
    (package / "module.py").write_text(code)
    (package / "broken.py").write_text("def (:\n")
    (package / "empty.py").write_text("")
    (package / "tests" / "test_it.py").write_text('"""Left out."""\n')
    assert list(docstrings.package_articles(package)) == [["A module with code and a.b.", "Of f."]]
    assert not canary.exists()

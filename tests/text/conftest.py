"""What the tests of this room share."""

import re

import pytest

from linear_shortcuts.text import corpora


@pytest.fixture(scope="session")
def sentencizer():
    split, name = corpora.make_splitter("sentencizer")
    assert re.fullmatch(r"sentencizer \(spaCy \d+\.\d+.*\)", name)
    return split

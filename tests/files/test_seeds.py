"""Seeds: pinned, since no stage names the file that derives them."""

import pytest
from hypothesis import given, strategies as st

from linear_shortcuts.files.seeds import derive


@pytest.mark.parametrize(
    ("names", "seed"),
    [
        ((0,), 6912158355717386040),
        ((0, "position", "The cat."), 17016811893693527926),
        ((3, "a", 1, "é"), 11435209093199676144),
    ],
)
def test_a_seed_is_what_it_always_was(names, seed):
    assert derive(*names) == seed


@given(st.integers(0, 2**63), st.lists(st.text(st.characters(exclude_characters="\0"))))
def test_every_stream_has_a_seed_of_its_own_in_64_bits(seed, names):
    found = derive(seed, *names)
    assert 0 <= found < 2**64
    assert found not in (derive(seed + 1, *names), derive(seed, *names, "more"))


def test_text_that_is_no_unicode_has_a_seed_too():
    assert derive(0, "\ud800") != derive(0, "\ud801")

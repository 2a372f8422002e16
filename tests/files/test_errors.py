"""What is said of a wrong input is short, printable, and ends with the mend."""

from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from linear_shortcuts.files.errors import InputError, again, check_kind, shown


@given(st.text(max_size=100), st.integers(1, 80))
def test_what_is_shown_of_a_name_is_printable_and_no_longer_than_allowed(text, longest):
    said = shown(text, longest)
    assert len(said) <= longest
    assert said.isprintable()
    assert said == text or not text.isprintable() or len(text) > longest


def test_the_mend_names_the_program_where_it_is_known():
    assert again("fit.py") == "run fit.py again"
    assert again(None) == "make it anew"


@pytest.mark.parametrize(
    ("value", "said"), [("models/x", "model is 'models/x'; load it"), (3, "model is a int; load it")]
)
def test_a_value_of_another_kind_is_shown_if_it_is_a_name_and_its_kind_named_if_not(value, said):
    check_kind("model", Path("x"), Path, "load it")
    with pytest.raises(InputError) as error:
        check_kind("model", value, Path, "load it")
    assert str(error.value) == said

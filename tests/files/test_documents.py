import pytest

from linear_shortcuts.files.documents import fill, filled
from linear_shortcuts.files.errors import InputError

TEXT = "Before.\n\n<!-- made: one -->\nold\n\nlines\n<!-- end -->\n\nBetween.\n\n<!-- made: two -->\nx\n<!-- end -->\n"


def test_parts_are_replaced_and_all_else_stays(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(TEXT)
    fill(path, {"two": "| a \\1 |", "one": "new\n"})
    assert path.read_text() == TEXT.replace("old\n\nlines", "new").replace("\nx\n", "\n| a \\1 |\n")
    assert filled(path.read_text(), {"two": "x", "one": "old\n\nlines"}, path) == TEXT


def test_a_part_may_be_empty_at_first():
    assert filled(TEXT.replace("old\n\nlines\n", ""), {"two": "x", "one": "old\n\nlines"}, "page") == TEXT


@pytest.mark.parametrize("parts", [{"one": "a"}, {"one": "a", "two": "b", "three": "c"}, {}])
def test_a_part_that_was_not_made_or_has_no_place_is_named(parts):
    with pytest.raises(InputError, match=r"page has the parts one, two; mend .*(two|three|one)"):
        filled(TEXT, parts, "page")
    with pytest.raises(InputError, match=r"one, two, one, two; mend .*\['one', 'two'\]"):
        filled(TEXT + TEXT, {"one": "a", "two": "b"}, "page")

"""Cards come back as they were written, know their own damage, and are compared key by key."""

import json

import invented
import pytest

from linear_shortcuts.files import InputError
from linear_shortcuts.files.cards import FILE, check_replaceable, compare, read_card, write_card

CARD = {**invented.CARD, "files": {"a.pickle": "2" * 64}}


def test_a_card_comes_back_as_it_was_written(tmp_path):
    write_card(tmp_path, CARD)
    assert read_card(tmp_path) == CARD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda card: card | {"width": 25}, "is damaged: it does not say what was written"),
        (lambda card: {key: value for key, value in card.items() if key != "seed"}, "is damaged"),
        (lambda card: [card], "is damaged"),
    ],
)
def test_a_card_that_was_edited_is_refused_with_the_mend(tmp_path, change, said):
    write_card(tmp_path, CARD)
    path = tmp_path / FILE
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=rf"{FILE} {said}.*; make it anew$"):
        read_card(tmp_path)
    with pytest.raises(InputError, match=r"; run fit\.py again$"):
        read_card(tmp_path, made_by="fit.py")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"layers": 0}, "layers"), ({"seed": "0"}, "seed"), ({"files": {"../a": "2"}}, "no file of its folder")],
)
def test_a_card_that_says_what_none_can_is_refused_though_it_is_whole(tmp_path, wrong, said):
    write_card(tmp_path, CARD | wrong)
    with pytest.raises(InputError, match=said):
        read_card(tmp_path)


def test_two_cards_are_compared_to_the_first_key_that_differs_inside_mappings_too():
    compare(CARD, {"seed": 0, "corpus": {"name": "text"}}, "maps", "mend it")
    with pytest.raises(InputError, match="^maps was made with name text, but the settings say other; mend it$"):
        compare(CARD, {"seed": 0, "corpus": {"name": "other"}}, "maps", "mend it")
    with pytest.raises(InputError, match="with dtype not said, but"):
        compare(CARD, {"dtype": "float32"}, "maps", "mend it")


def test_what_a_folder_cannot_be_named_is_one_line(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        check_replaceable(tmp_path / ("x" * 300))

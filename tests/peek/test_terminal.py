"""A reading as tables that fit the screen."""

import io
import re

import numpy as np
import pytest
import vision
from rich.console import Console

from linear_shortcuts.peek import read, terminal


@pytest.fixture
def found(small):
    return read(small.model, small.tokenizer, small.text, small.lenses, masked=small.masked, follow=[7])


def printed(tables, width=200):
    console = Console(width=width, record=True, file=None, force_terminal=True, color_system="truecolor", quiet=False)
    with console.capture() as capture:
        console.print(*tables, sep="\n")
    return re.sub(r"\x1b\[[\d;]*m", "", capture.get())


@pytest.mark.parametrize("width", [20, 40, 60, 200])
def test_every_cell_is_there_and_no_line_is_wider_than_the_screen(found, width):
    text = printed(terminal.tables(found, "mat", width), width)
    assert all(len(line) <= width for line in text.splitlines())
    words = re.findall(r"(✓?)(w\d+)", "\n".join(line for line in text.splitlines() if re.match(r" +\d+ ", line)))
    expected = sorted(
        (terminal.MARK if own == answer else "", f"w{own}")
        for row in found.lenses["mat"].ids[:, :, 0].tolist()
        for own, answer in zip(row, found.answers, strict=True)
    )
    assert sorted(words) == expected


@pytest.mark.parametrize("full", [terminal.BLUE, terminal.ORANGE])
def test_every_shade_can_be_read_and_more_is_told_from_less(full):
    for share in np.linspace(0, 1, 101):
        style = terminal._shaded("word", float(share), full).style
        ground = np.array(style.bgcolor.triplet) / 255
        assert vision.contrast(ground, style.color.name) > 4.5
    more, less = (np.array(color) / 255 for color in (terminal.BLUE, terminal.ORANGE))
    assert min(vision.distance(more, less, sight) for sight in vision.VISIONS) > 40


def test_one_word_shows_its_best_with_probabilities(found):
    lines = printed(terminal.column(found, "id", 2, 3)).splitlines()
    [row] = [line for line in lines if line.strip().startswith("1 ")]
    for word, probability in found.cell("id", 1, 2)[:3]:
        assert re.search(rf"{word} +{100 * probability:.1f} %", row)


def test_ranks_of_a_word_stand_under_every_word(found):
    lines = printed(terminal.ranks(found, "mat", 7, 200)).splitlines()
    [row] = [line for line in lines if line.strip().startswith("2 ")]
    assert [int(n) for n in row.split()[1:]] == [int(own[7][2]) for own in found.lenses["mat"].ranks]


def test_a_lens_differs_from_itself_by_nothing_and_lenses_agree_at_the_last_layer(found):
    assert set(re.findall(r"[+-]\d+\.\d", printed(terminal.differences(found, "id", "id", 200)))) == {"+0.0"}
    lines = printed(terminal.differences(found, "id", "mat", 200)).splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if re.match(r" +\d ", line)}
    assert set(rows["3"]) == {"+0.0"}
    assert set(rows["0"]) | set(rows["1"]) | set(rows["2"]) != {"+0.0"}


def test_a_reader_who_goes_away_is_left_to_the_program():
    class Gone(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        terminal.Screen(file=Gone()).print("x")

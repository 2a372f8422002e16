"""A reading as tables that fit the screen."""

import io
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
import vision
from rich.console import Console

from linear_shortcuts.peek import read, terminal
from linear_shortcuts.peek.reading import Cells


@pytest.fixture
def found(small):
    return read(small.model, small.tokenizer, small.text, small.lenses, masked=small.masked, follow=[7])


def printed(tables, width=200):
    console = Console(width=width, record=True, file=None, force_terminal=True, color_system="truecolor", quiet=False)
    with console.capture() as capture:
        console.print(*tables, sep="\n")
    return re.sub(r"\x1b\[[\d;]*m", "", capture.get())


@pytest.mark.parametrize("width", [20, 40, 51, 54, 60, 200])
def test_every_cell_is_there_and_no_line_is_wider_than_the_screen(found, width):
    text = printed(terminal.tables(found, "mat", width), width)
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text  # no cell is cut
    words = re.findall(r"(✓?)(w\d+)", "\n".join(line for line in text.splitlines() if re.match(r" +\d+ ", line)))
    expected = sorted(
        (terminal.MARK if own == answer else "", f"w{own}")
        for row in found.lenses["mat"].ids[:, :, 0].tolist()
        for own, answer in zip(row, found.answers, strict=True)
    )
    assert sorted(words) == expected


@pytest.mark.parametrize("view", [terminal.tables, lambda *given: terminal.ranks(*given[:2], 7, given[2])])
def test_two_lenses_stand_side_by_side_where_the_screen_is_wide_enough(found, view):
    alone = [printed(view(found, name, 200)).splitlines() for name in found.lenses]
    [rows] = {sum(bool(re.match(r" +\d ", line)) for line in lines) for lines in alone}
    needed = sum(max(len(line) for line in lines if "─" in line) for lines in alone) + terminal.BETWEEN
    for width, times in ((needed, 1), (needed - 1, 2)):
        text = printed(terminal.beside([view(found, name, width) for name in found.lenses], width), width)
        lines = [line.split() for line in text.splitlines() if re.match(r" +\d ", line)]
        each = [[line.split() for line in own if re.match(r" +\d ", line)] for own in alone]
        assert lines == ([a + b for a, b in zip(*each, strict=True)] if times == 1 else each[0] + each[1])
        assert len(lines) == rows * times
        assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize("full", [terminal.BLUE, terminal.ORANGE])
def test_every_shade_can_be_read_and_more_is_told_from_less(full):
    for share in np.linspace(0, 1, 101):
        style = terminal._shaded("word", float(share), full).style
        ground = np.array(style.bgcolor.triplet) / 255
        assert vision.contrast(ground, style.color.name) > 4.5
    more, less = (np.array(color) / 255 for color in (terminal.BLUE, terminal.ORANGE))
    assert min(vision.distance(more, less, sight) for sight in vision.VISIONS) > 40


def test_one_word_shows_its_best_with_probabilities(found):
    lines = printed(terminal.column(found, "id", 2, 3, 200)).splitlines()
    [row] = [line for line in lines if line.strip().startswith("1 ")]
    for word, probability in found.cell("id", 1, 2)[:3]:
        assert re.search(rf"{word} +{probability:.1%}", row)


def test_the_best_of_one_word_go_on_below_where_the_screen_ends(found):
    text = printed(terminal.column(found, "id", 0, 10, 63), 63)
    assert all(len(line) <= 63 for line in text.splitlines())
    assert "…" not in text
    assert len(re.findall(r"\d\.\d%", text)) == 10 * len(found.layers)
    assert {line.split()[0] for line in text.splitlines() if re.match(r" +\d ", line)} == {"0", "1", "2", "3"}


def test_what_diverged_is_said_in_every_view(found):
    cells = found.lenses["mat"]
    ids, chances = cells.ids.clone(), cells.probabilities.clone()
    ids[1], chances[1] = -1, float("nan")
    ranks = tuple(
        {token: own.where(torch.arange(len(own)) != 1, 0) for token, own in word.items()} for word in cells.ranks
    )
    lenses = {**found.lenses, "mat": Cells(ids, chances, ranks, cells.trajectories)}
    broken = replace(found, lenses=lenses, words={**found.words, -1: "diverged"})
    views = (
        terminal.tables(broken, "mat", 200),
        terminal.ranks(broken, "mat", 7, 200),
        terminal.differences(broken, "id", "mat", 200),
        terminal.column(broken, "mat", 0, 3, 200),
    )
    for number, view in enumerate(views):
        [row] = [line for line in printed(view).splitlines() if line.strip().startswith("1 ")]
        assert row.split()[1:] == ["diverged"] * (1 if number == 3 else len(found.ids))


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

"""A reading in the terminal: rows are layers, columns words, shaded by probability."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.style import Style
from rich.table import Table
from rich.text import Text

from linear_shortcuts.peek.reading import DIVERGED, Reading

CELL = 10  # columns of the screen that a word takes
LAYER, GAP = 7, 2  # columns that the number of a layer takes, and what stands between two words
BETWEEN = 3  # columns between two tables
PERCENT = "{:7.1%}"
MARK = "✓"  # stands where a word is already the final answer
WHITE, BLUE, ORANGE = (255, 255, 255), (0, 114, 178), (213, 94, 0)  # told apart by all readers


class Screen(Console):
    """A console that leaves a reader who goes away, as `head` does, to the program; rich would end it."""

    def on_broken_pipe(self) -> None:
        raise  # what is being handled


def tables(reading: Reading, lens: str, width: int) -> list[Text | Table]:
    """The first token of every cell, in as many tables as the width of the screen makes of the sentence."""
    cells = reading.lenses[lens]

    def cell(row: int, column: int) -> Text:
        token, probability = int(cells.ids[row, column, 0]), float(cells.probabilities[row, column, 0])
        mark = MARK if token == reading.answers[column] else " "
        return _shaded(mark + reading.words[token], probability, BLUE)

    title = f"{reading.title(lens)}: first tokens ({MARK}: the final answer)"
    return _split(reading, title, cell, width)


def differences(reading: Reading, first: str, second: str, width: int) -> list[Text | Table]:
    """How much more probability the second lens gives the final answer than the first: blue more, orange less."""
    one, two = (_of_answers(reading, name) for name in (first, second))

    def cell(row: int, column: int) -> Text:
        more = two[row][column] - one[row][column]
        if math.isnan(more):
            return _shaded(DIVERGED, 0, BLUE)
        return _shaded(f"{100 * more:+.1f}", min(1.0, abs(more)), BLUE if more > 0 else ORANGE)

    title = f"{reading.title(second)} − {reading.title(first)}: probability of the final answer, in points"
    return _split(reading, title, cell, width)


def ranks(reading: Reading, lens: str, token: int, width: int) -> list[Text | Table]:
    """The rank of one token at every layer and word; 1 is first."""
    own = [ranks[token].tolist() for ranks in reading.lenses[lens].ranks]

    def cell(row: int, column: int) -> Text:
        rank = own[column][row]
        return _shaded(f"{rank:,}", 1 / rank, BLUE) if rank else _shaded(DIVERGED, 0, BLUE)

    return _split(reading, f"{reading.title(lens)}: the rank of {reading.words[token]} at each layer", cell, width)


def column(reading: Reading, lens: str, position: int, top: int, width: int) -> list[Text | Table]:
    """The first tokens of one word at every layer, with their probabilities, in as many tables as the width needs."""
    fitting = max(1, (width - LAYER) // (CELL + len(PERCENT.format(1)) + GAP))
    made: list[Text | Table] = [Text(f"{reading.title(lens)}: after {reading.words[reading.ids[position]]}")]
    for first in range(0, top, fitting):
        places = range(first, min(first + fitting, top))
        table = _table([str(n + 1) for n in places])
        for row, layer in enumerate(reading.layers):
            found = reading.cell(lens, layer, position)
            shown = [_shaded(*found[n], BLUE, PERCENT.format(found[n][1])) for n in places if n < len(found)]
            said = shown or [Text(DIVERGED)]
            table.add_row(str(layer), *said, end_section=row == len(reading.layers) - 2)
        made.append(table)
    return made


def beside(views: Sequence[list[Text | Table]], width: int) -> list[Text | Table]:
    """Views, each a title and its tables, side by side where the screen is wide enough; else below one another."""
    screen = Console(width=width)
    widths = [screen.measure(part).maximum for view in views for part in view if isinstance(part, Table)]
    if len(views) == 1 or len(widths) > len(views) or sum(widths) + BETWEEN * (len(views) - 1) > width:
        return [part for view in views for part in view]
    grid = Table.grid(padding=(0, BETWEEN, 0, 0), pad_edge=False)
    for own in widths:
        grid.add_column(min_width=own, vertical="bottom")  # a long title goes on below itself, above its table
    for row in zip(*views, strict=True):
        grid.add_row(*row)
    return [grid]


def _of_answers(reading: Reading, lens: str) -> list[list[float]]:
    cells = reading.lenses[lens]
    hit = cells.ids == cells.ids.new_tensor(reading.answers)[:, None]
    return (cells.probabilities * hit).sum(-1).tolist()


def _split(reading: Reading, title: str, cell: Callable[[int, int], Text], width: int) -> list[Text | Table]:
    fitting = max(1, (width - LAYER) // (CELL + GAP))
    found: list[Text | Table] = [Text(title)]
    for first in range(0, len(reading.ids), fitting):
        columns = range(first, min(first + fitting, len(reading.ids)))
        table = _table([_cut(reading.words[reading.ids[c]]) for c in columns])
        for row, layer in enumerate(reading.layers):
            last = row == len(reading.layers) - 2
            table.add_row(str(layer), *[cell(row, c) for c in columns], end_section=last)
        found.append(table)
    return found


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("layer", justify="right", no_wrap=True)
    for head in heads:
        table.add_column(Text(head), no_wrap=True)
    return table


def _cut(word: str) -> str:
    """A word that is at most a cell wide on the screen, where some signs take two places."""
    return word if cell_len(word) <= CELL else set_cell_size(word, CELL - 1) + "…"


def _shaded(word: str, share: float, full: tuple[int, int, int], after: str = "") -> Text:
    """A word on a ground that goes from white to a full colour, the more the larger the share."""
    share = 0 if math.isnan(share) else share
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(WHITE, full, strict=True))
    style = Style(color=_ink(red, green, blue), bgcolor=f"rgb({red},{green},{blue})")
    return Text(f"{set_cell_size(_cut(word), CELL)}{after}", style)


def _ink(red: int, green: int, blue: int) -> str:
    """Black or white, whichever is read better: by WCAG 2's contrast they are equal on a luminance of 0.179."""
    values = (value / 255 for value in (red, green, blue))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.179 else "white"

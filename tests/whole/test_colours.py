"""What is drawn in one figure is told apart by people who see few colours, by its colour or by its mark or line."""

import importlib
from itertools import combinations

import numpy as np
import pytest
import vision
from matplotlib import colormaps

from linear_shortcuts.figures import plots, schedule_plots, transfer_plots

LEAST = 20  # CIE 1976: nine times what is just seen side by side, for thin lines that lie apart


def of(study, name):
    return getattr(importlib.import_module(study), name)


def traveling():
    return [(of("traveling_words.figures", name),) for name in ("WORD", "STATE", "PATH")]


DRAWN = {  # what shares a figure: colour, then mark and line where it has its own
    "mappings": lambda: [(plots.COLORS[m], plots.MARKS[m], plots.LINES[m]) for m in plots.COLORS],
    "schedules": lambda: [(schedule_plots.COLORS[s], schedule_plots.MARKS[s]) for s in schedule_plots.COLORS],
    "transfer": lambda: [look[:3] for look in transfer_plots.LOOKS.values()],
    "lenses": lambda: of("lenses.figures", "DRAWN").values(),
    "shorter models": lambda: of("shorter_models.figures", "DRAWN").values(),
    "LambdaBERT's models": lambda: of("lambda_bert.figures", "MODEL_LINES"),
    "LambdaBERT's vectors": lambda: of("lambda_bert.figures", "VECTORS").values(),
    "characters": lambda: of("character_embeddings.figures", "KINDS").values(),
    "maps of characters": lambda: [(c,) for c in of("character_embeddings.figures", "MAP_COLORS").values()],
    "head shapes": lambda: of("tied_embeddings.text_figures", "SHAPES"),
    "clones": lambda: [(color,) for _, color in of("tied_embeddings.text_figures", "PAIRS").values()],
    "embedding roles": lambda: [(color,) for color in of("tied_embeddings.text_figures", "ROLES").values()],
    "traveling words": traveling,
    "matrices": lambda: [(color,) for color in of("traveling_words.figures", "MATRIX_COLORS").values()],
}


def unlike(one, other):
    """Whether two ways of drawing differ under every vision, or in what no vision is needed for."""
    return one[1:] != other[1:] or all(vision.distance(one[0], other[0], sight) >= LEAST for sight in vision.VISIONS)


@pytest.mark.parametrize("figure", DRAWN)
def test_what_shares_a_figure_is_told_apart_under_every_vision(figure):
    ways = [tuple(way) for way in DRAWN[figure]()]
    assert len(ways) > 1
    for one, other in combinations(ways, 2):
        assert unlike(one, other), (one, other)


@pytest.mark.parametrize("name", ["PuOr", "RdBu_r"])
def test_a_map_of_differences_has_two_sides_under_every_vision(name):
    colors = colormaps[name]
    for sight in vision.VISIONS:
        for share in (0.25, 0.4, 0.5):
            assert vision.distance(colors(0.5 - share), colors(0.5 + share), sight) >= LEAST, (sight, share)


def test_the_simulation_leaves_greys_alone_and_finds_red_and_green_alike():
    for sight in vision.VISIONS:
        assert vision.distance("0.2", vision.VISIONS[sight] @ np.full(3, 0.2), "full") < 0.5
    assert vision.distance("black", "white", "full") == pytest.approx(100, abs=0.01)
    red, green = "tab:red", "tab:green"  # as figures have by default
    assert vision.distance(red, green, "full") > 5 * LEAST
    assert vision.distance(red, green, "deuteranopia") < LEAST / 2
    assert not unlike((red,), (green,))
    assert unlike((red, "o"), (green, "s"))

"""Pictures of the tables that `scores` makes. Nothing is computed here."""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.figures.plots import LABELS as LABELS, heatmap as heatmap, r2_bar as r2_bar

__getattr__, __dir__, __all__ = door(__name__, __file__)

"""Everything that moves a state to where it can be read: a lens of one kind for every layer, fitted, saved, exchanged.

What a lens is worth is measured in `scores`.

    from linear_shortcuts.lenses import LensSet
    lenses = LensSet.identity(model)  # or LensSet.load(folder, model), LensSet.of_maps(maps)
    logits = lenses[4].read_out(model, h)  # h (..., d) of layer 4
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.lenses.lens_set import LensSet as LensSet

__getattr__, __dir__, __all__ = door(__name__, __file__)

"""Everything that moves a state to where it can be read: a lens of one kind for every layer, fitted, saved, exchanged.

What a lens is worth is measured in `scores`.

    from linear_shortcuts.lenses import LensSet, hook
    lenses = LensSet.identity(model)  # or LensSet.load(folder, model), LensSet.of_maps(maps)
    logits = lenses[4].read_out(model, h)  # h (..., d) of layer 4
    with hook(lenses[4], model) as seen:  # what it makes of the states of every forward pass
        model.network(input_ids=torch.tensor([[5, 9]]))
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.lenses.hooks import hook as hook
    from linear_shortcuts.lenses.lens_set import LensSet as LensSet

__getattr__, __dir__, __all__ = door(__name__, __file__)

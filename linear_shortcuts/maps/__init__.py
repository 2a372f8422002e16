"""The matrices between layers: least squares from streamed moments, files, and objects that jump.

What a map is worth is measured in `scores`.

    from linear_shortcuts.maps import LayerMaps, MapRegressor
    maps = LayerMaps.load("linreg/tiny-gpt2/docstrings/layers")
    guess = maps.jump(torch.randn(5, maps.width), 2, 6)
    fitted = MapRegressor().fit(torch.randn(50, 3), torch.randn(50, 2))  # on arrays of one's own
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.maps.estimator import MapRegressor as MapRegressor
    from linear_shortcuts.maps.linear_maps import LayerMaps as LayerMaps, SubmoduleMaps as SubmoduleMaps
    from linear_shortcuts.maps.regression import fit as fit

__getattr__, __dir__, __all__ = door(__name__, __file__)

"""Generation that leaves early, and is measured by the clock: all blocks, early exit, self-speculation.

The maps that stand for blocks come from `maps`; a shortcut holds those that a token's way through the network needs;
`package` puts them beside a checkpoint, for whoever has transformers alone.

    from linear_shortcuts.decoding import Shortcuts, calibrate, generate
    shortcuts = calibrate(model, rows, exits=[2, 4])  # rows: ids (n, tokens) of running text; or Shortcuts.load
    [made] = generate(model, [[5, 6, 7]], method="self-speculative", shortcuts=shortcuts)
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.decoding.calibration import calibrate as calibrate, rows_of as rows_of
    from linear_shortcuts.decoding.costs import check_costs as check_costs
    from linear_shortcuts.decoding.exit_fits import (
        check_exits as check_exits,
        check_ordinary as check_ordinary,
        fit_exits as fit_exits,
        spread_exits as spread_exits,
    )
    from linear_shortcuts.decoding.full import Step as Step
    from linear_shortcuts.decoding.generation import FLAT as FLAT, Generated as Generated, generate as generate
    from linear_shortcuts.decoding.packaging import package as package
    from linear_shortcuts.decoding.shortcuts import Shortcuts as Shortcuts

__getattr__, __dir__, __all__ = door(__name__, __file__)

"""What a map is worth: r2, precision, surprisal, exits, early exit, intervals, and the tables of them all.

Nothing is fitted here, see `maps`, and nothing drawn, see `figures`.

    from linear_shortcuts.scores import r2
    y = torch.randn(100, 8)
    share = r2(y, y + 0.1 * torch.randn(100, 8))
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.scores.exits import part_guesses as part_guesses
    from linear_shortcuts.scores.measures import (
        bootstrap_interval as bootstrap_interval,
        in_top as in_top,
        kl_divergence as kl_divergence,
        r2 as r2,
        resampled_means as resampled_means,
    )
    from linear_shortcuts.scores.tables import (
        EMBEDDING_PANELS as EMBEDDING_PANELS,
        KL as KL,
        PRECISION_AT as PRECISION_AT,
        SURPRISAL as SURPRISAL,
        Table as Table,
        divergence as divergence,
        precision_panel as precision_panel,
        select as select,
    )

__getattr__, __dir__, __all__ = door(__name__, __file__)

"""How the two shipped models were made, and what the studies reuse of it.

The text that they read is gathered here too, apart from the study's own corpora, which are in `text`.

    from linear_shortcuts.training import sinusoids
    positions = sinusoids(16, 8)
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.training.loop import newest_checkpoint as newest_checkpoint, sinusoids as sinusoids

__getattr__, __dir__, __all__ = door(__name__, __file__)

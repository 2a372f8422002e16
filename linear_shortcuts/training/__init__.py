"""How the two shipped models were made, and what the studies reuse of it."""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.training.loop import newest_checkpoint as newest_checkpoint, sinusoids as sinusoids
    from linear_shortcuts.training.tokenizers import train_tokenizer as train_tokenizer

__getattr__, __dir__, __all__ = door(__name__, __file__)

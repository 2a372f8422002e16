"""What a person calls: `linear-shortcuts check MODEL`."""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.commands.invariants import (
        INVARIANTS as INVARIANTS,
        check as check,
        sample_tokens as sample_tokens,
    )

__getattr__, __dir__, __all__ = door(__name__, __file__)

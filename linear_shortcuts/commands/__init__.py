"""What a person calls, `linear-shortcuts check MODEL`, and what a notebook calls in its place.

A command parses, calls one function of a lower room or of this one, and prints.

    from linear_shortcuts.commands import check, sample_tokens
    model = linear_shortcuts.load_model("models/tiny-gpt2")
    failed = [found for found in check(model, sample_tokens(model)) if not found.passed]
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.commands.invariants import (
        check as check,
        sample_tokens as sample_tokens,
    )

__getattr__, __dir__, __all__ = door(__name__, __file__)

"""Checkpoints with fewer blocks that anyone can load: blocks left out, a matrix folded in their place, mapped exits.

What a model thinks is recorded in `states`, plain maps between layers are fitted in `maps`.

    from linear_shortcuts.shorten import exit_at, save, shorten
    shorter = shorten(model, splits, blocks=1)  # splits: rows of three parts of a text, from text.split_rows
    save(shorter, "shorter", tokenizer, of="models/tiny-gpt2", text="docstrings")
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.shorten.checkpoints import (
        check_free as check_free,
        check_method as check_method,
        save as save,
    )
    from linear_shortcuts.shorten.choice import possible_cuts as possible_cuts, shorten as shorten
    from linear_shortcuts.shorten.encoder_layouts import save_encoder as save_encoder
    from linear_shortcuts.shorten.encoders import exit_encoder as exit_encoder
    from linear_shortcuts.shorten.exits import check_exit as check_exit, exit_at as exit_at
    from linear_shortcuts.shorten.model_cards import summary as summary

__getattr__, __dir__, __all__ = door(__name__, __file__)

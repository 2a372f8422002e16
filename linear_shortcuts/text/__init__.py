"""From a corpus to sentences, token ids and the position that is looked at.

Models' own tokenizers are loaded in `models`; what a model thinks of a text is recorded in `states`.

    from linear_shortcuts.text import Tokens
    tokens = Tokens([torch.tensor([5, 6, 7])], torch.tensor([2]))
    tokens.lengths
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.text.article_rows import articles_of as articles_of, split_rows as split_rows
    from linear_shortcuts.text.corpora import (
        Splitter as Splitter,
        article_sentences as article_sentences,
        make_splitter as make_splitter,
        read_articles as read_articles,
        unwrap as unwrap,
    )
    from linear_shortcuts.text.tokens import Tokens as Tokens, check_fit as check_fit, encode as encode

__getattr__, __dir__, __all__ = door(__name__, __file__)

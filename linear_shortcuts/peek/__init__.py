"""What each layer already thinks at each word of one sentence, as a value, in a terminal and on a page of its own.

Averages over many sentences are in `scores`.

    from linear_shortcuts.lenses import LensSet
    from linear_shortcuts.peek import read
    model, tokenizer = load_model("models/tiny-gpt2"), load_tokenizer("models/tiny-gpt2")
    reading = read(model, tokenizer, "The shape of the returned", {"id": LensSet.identity(model)})
    print(reading.cell("id", layer=6, position=-1))
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.peek.reader import read as read
    from linear_shortcuts.peek.reading import Reading as Reading

__getattr__, __dir__, __all__ = door(__name__, __file__)

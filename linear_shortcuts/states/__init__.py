"""What a model thinks at every layer: extraction, shards on disk, and the provenance of both.

Which text it reads is the concern of `text`; what becomes of the states, that of `maps` and `scores`.

    from linear_shortcuts import hidden_states, load_model, load_tokenizer
    model, tokenizer = load_model("models/tiny-gpt2"), load_tokenizer("models/tiny-gpt2")
    h = hidden_states(model, tokenizer, ["The shape of the returned"])
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.states.extraction import (
        SequenceRecorder as SequenceRecorder,
        Shard as Shard,
        batches as batches,
        extract as extract,
    )

__getattr__, __dir__, __all__ = door(__name__, __file__)

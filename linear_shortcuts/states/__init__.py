"""What a model thinks at every layer: extraction, shards on disk, and the provenance of both."""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.states.extraction import (
        Positions as Positions,
        SequenceRecorder as SequenceRecorder,
        Shard as Shard,
        batches as batches,
        check_finite as check_finite,
        extract as extract,
    )
    from linear_shortcuts.states.shards import HiddenStates as HiddenStates

__getattr__, __dir__, __all__ = door(__name__, __file__)

"""One language model and its parts: families as data, discovery by structure, loading, identity, cost.

What it thinks at its layers is recorded in `states`.

    from linear_shortcuts.models import load_model
    model = load_model("models/tiny-gpt2")
    model.layers, model.width
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

if TYPE_CHECKING:
    from linear_shortcuts.models.cost import Cost as Cost
    from linear_shortcuts.models.families import (
        PARTS as PARTS,
        Step as Step,
        longest as longest,
        stand_in_steps as stand_in_steps,
    )
    from linear_shortcuts.models.gguf_files import opened_once as opened_once
    from linear_shortcuts.models.language_model import (
        CONVENTION as CONVENTION,
        Call as Call,
        LanguageModel as LanguageModel,
        Watcher as Watcher,
        width as width,
    )
    from linear_shortcuts.models.loading import (
        has_head as has_head,
        load_config as load_config,
        load_model as load_model,
        load_registered as load_registered,
        load_registered_tokenizer as load_registered_tokenizer,
        load_tokenizer as load_tokenizer,
    )
    from linear_shortcuts.models.precision import arithmetic as arithmetic
    from linear_shortcuts.models.products import linear as linear, pack as pack

__getattr__, __dir__, __all__ = door(__name__, __file__)

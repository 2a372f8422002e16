"""Linear shortcuts through transformers: from any layer to any later one by a single matrix.

    from linear_shortcuts import fit_maps, hidden_states, load_model, load_tokenizer
    model, tokenizer = load_model("models/tiny-gpt2"), load_tokenizer("models/tiny-gpt2")
    maps = fit_maps(hidden_states(model, tokenizer, texts, "all"))
    guess = maps.jump(hidden_states(model, tokenizer, ["The shape of the returned"])[2], 2, 6)

The rooms, from the ground up; each imports only those before it: files, settings, text, models, states, maps, lenses,
scores, figures, peek, decoding, shorten, training, commands.
"""

from typing import TYPE_CHECKING

from linear_shortcuts._door import door

__version__ = "0.1.0"

if TYPE_CHECKING:
    from linear_shortcuts.files.errors import InputError as InputError
    from linear_shortcuts.maps.fitting import fit_maps as fit_maps
    from linear_shortcuts.maps.linear_maps import LayerMaps as LayerMaps, SubmoduleMaps as SubmoduleMaps
    from linear_shortcuts.models.language_model import LanguageModel as LanguageModel
    from linear_shortcuts.models.loading import load_model as load_model, load_tokenizer as load_tokenizer
    from linear_shortcuts.states.extraction import hidden_states as hidden_states

__getattr__, __dir__, __all__ = door(__name__, __file__)
__all__ += ["__version__"]

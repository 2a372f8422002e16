"""Linear shortcuts through transformers: from any layer to any later one by a single matrix.

from shortcuts import LayerMaps, load_model
maps = LayerMaps.load("linreg/tiny-gpt2/docstrings/layers")
guess = maps.jump(h, 2, 6)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from shortcuts.errors import InputError
    from shortcuts.maps import LayerMaps, SubmoduleMaps
    from shortcuts.models import LanguageModel, load_model, load_tokenizer

_HOMES = {
    "InputError": "errors",
    "LanguageModel": "models",
    "LayerMaps": "maps",
    "SubmoduleMaps": "maps",
    "load_model": "models",
    "load_tokenizer": "models",
}
__all__ = ["InputError", "LanguageModel", "LayerMaps", "SubmoduleMaps", "__version__", "load_model", "load_tokenizer"]


def __getattr__(name: str) -> Any:
    # Lazy, so that a stage's --help answers before torch is loaded.
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"shortcuts.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'shortcuts' has no attribute {name!r}")

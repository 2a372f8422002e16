"""Cards: what a folder of artifacts was made from, in JSON that knows whether it is whole."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linear_shortcuts import __version__
from linear_shortcuts.files import artifacts
from linear_shortcuts.files.errors import InputError

FILE = "card.json"


def versions() -> dict[str, str]:
    """The libraries the numbers depend on."""
    names = ("numpy", "tokenizers", "torch", "transformers")
    return {"linear-shortcuts": __version__, **{name: importlib.metadata.version(name) for name in names}}


def write_card(folder: str | Path, card: Mapping[str, Any]) -> None:
    """Write a card with its own checksum."""
    artifacts.save_json(Path(folder) / FILE, {**card, _SEAL: artifacts.fingerprint(card)})


def read_card(folder: str | Path, *, made_by: str) -> dict[str, Any]:
    """The card of a folder of hidden states or maps.

    made_by: the stage script that makes the folder. Raises `InputError` that names the card if it is not whole.
    """
    path = Path(folder) / FILE
    card = artifacts.load_json(path, made_by=made_by)
    sealed = isinstance(card, dict) and card.pop(_SEAL, None) == artifacts.fingerprint(card)
    if not sealed or not all(isinstance(card.get(key), kind) for key, kind in _KINDS.items()):
        raise InputError(f"{path} is damaged: it does not say what was written; run {made_by} again")
    return card


_SEAL = "card_sha256"  # of all other entries
_KINDS = {"model": dict, "layers": int, "width": int, "corpus": dict, "split": str, "sentences": int,
          "tokens_sha256": str, "convention": str, "files": dict}  # fmt: skip

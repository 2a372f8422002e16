"""Cards: what a folder of artifacts was made from, in JSON that knows whether it is whole."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from linear_shortcuts import __version__
from linear_shortcuts.files import artifacts
from linear_shortcuts.files.atomic import check_folder
from linear_shortcuts.files.errors import InputError, again, shown
from linear_shortcuts.files.shapes import Both, Each, Json, Real, Whole, check

FILE = "card.json"
PAGE = "README.md"  # beside it, in what is handed on
PLAIN = Each((str, bool, None, Whole(-(2**63)), Real()))  # settings, by name
TOKENIZER = {"id": str, "revision": (str, None), "class": str, "vocabulary_sha256": str}
# Of hidden states and maps; what is None is not known of tokens that came without a card.
CARD = {
    "model": {"id": str, "revision": (str, None), "weights_sha256": str, "config": Each(object)},
    "layers": Whole(1, 10_000),
    "width": Whole(1, 10**6),
    "corpus": {"name": str, "sentences_sha256": (str, None), "drawn": (None, PLAIN)},
    "split": str,
    "sentences": Whole(),
    "vectors": Whole(),
    "positions": str,
    "precision": str,
    "tokens": str,
    "tokens_sha256": str,
    "tokenizer": (None, TOKENIZER),
    "max_tokens": (None, Whole(1)),
    "seed": (None, Whole()),
    "convention": str,
}


def versions() -> dict[str, str]:
    """The libraries the numbers depend on."""
    names = ("numpy", "tokenizers", "torch", "transformers")
    return {"linear-shortcuts": __version__, **{name: importlib.metadata.version(name) for name in names}}


def write_card(folder: str | Path, card: Mapping[str, Any]) -> None:
    """Write a card with its own checksum."""
    artifacts.save_json(Path(folder) / FILE, {**card, _SEAL: artifacts.fingerprint(card)})


def read_card(folder: str | Path, shape: Mapping[str, Any] = CARD, *, made_by: str | None = None) -> dict[str, Any]:
    """The card of a folder of hidden states or maps, or of one whose cards have another shape.

    made_by: the program that makes the folder. Raises `InputError` that names the card if it is not whole.
    """
    path = Path(folder) / FILE
    card = artifacts.load_json(path, made_by=made_by)
    if not isinstance(card, dict) or card.pop(_SEAL, None) != artifacts.fingerprint(card):
        raise InputError(f"{path} is damaged: it does not say what was written; {again(made_by)}")
    check(card, Both(Json(), {**shape, "files": Each(str)}), path, again(made_by))
    if odd := [name for name in card["files"] if Path(name).name != name]:
        raise InputError(f"{path} lists {shown(odd[0])!r}, which is no file of its folder; {again(made_by)}")
    return card


def check_replaceable(folder: str | Path, known: Collection[str] = ()) -> None:
    """Raise `InputError` if a folder cannot be written anew, or would lose what neither its card nor `known` names."""
    folder = Path(folder)
    check_folder(folder)
    if not folder.is_dir():
        return
    if (folder / FILE).is_file():
        card = artifacts.load_json(folder / FILE)
        if isinstance(card, dict) and isinstance(card.get("files"), dict):
            known = {*known, *card["files"], FILE, PAGE}
    if foreign := sorted(path.name for path in folder.iterdir() if path.name not in known):
        raise InputError(
            f"{folder} holds {shown(foreign[0])}, which would be lost; name a folder that is empty or not there yet"
        )


def compare(card: Mapping[str, Any], asked: Mapping[str, Any], what: str | Path, mend: str) -> None:
    """Raise `InputError`, with both values, at the first key of which a card says something else than is asked for."""
    for key, value in asked.items():
        if isinstance(value, Mapping) and isinstance(card.get(key), Mapping):
            compare(card[key], value, what, mend)
        elif card.get(key) != value:
            claimed = shown(card[key]) if key in card else "not said"
            raise InputError(f"{what} was made with {key} {claimed}, but the settings say {shown(value)}; {mend}")


_SEAL = "card_sha256"  # of all other entries

"""Provenance: what states and maps were made from, so that they are never used in the wrong company.

made_by, of every check: what to run again to make it anew, where whoever asks knows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linear_shortcuts.files import FILE, InputError, again, artifacts, compare, shown, versions
from linear_shortcuts.text import corpora

if TYPE_CHECKING:
    from linear_shortcuts.models import LanguageModel
    from linear_shortcuts.settings import Params


BROUGHT = "tokens brought from elsewhere, without a card"


def states_card(
    model: LanguageModel,
    tokens_card: Mapping[str, Any],
    tokens_sha256: str,
    corpus: str,
    split: str,
    sentences: int,
    *,
    vectors: int | None = None,
    positions: str = "sampled",
    precision: str = "float32",
) -> dict[str, Any]:
    """The card of the hidden states of one split; tokens brought from elsewhere may have an empty card.

    vectors: recorded of every layer, if not one per sentence. positions, precision: as `extract` in params.yaml.
    """
    from linear_shortcuts.models import CONVENTION

    return {
        "model": dict(model.identity),
        "layers": model.layers,
        "width": model.width,
        "tokenizer": tokens_card.get("tokenizer"),
        "max_tokens": tokens_card.get("max_tokens"),
        "corpus": {
            "name": corpus,
            "sentences_sha256": tokens_card.get("sentences_sha256"),
            "drawn": tokens_card.get("corpus"),
        },
        "split": split,
        "sentences": sentences,
        "positions": positions,
        "vectors": sentences if vectors is None else vectors,
        "tokens": "tokenized here" if tokens_card else BROUGHT,
        "tokens_sha256": tokens_sha256,
        "seed": tokens_card.get("seed"),
        "dtype": "float32",
        "precision": precision,
        "convention": CONVENTION,
        "versions": versions(),
    }


def maps_card(states_card: Mapping[str, Any], ranks: Mapping[str, Any]) -> dict[str, Any]:
    """The card of maps fitted on hidden states; ranks: of the source of each map or group of maps."""
    return {**{key: value for key, value in states_card.items() if key != "files"}, "ranks": dict(ranks)}


def check_asked(
    card: Mapping[str, Any], params: Params, model: str, split: str, what: str | Path, *, made_by: str | None = None
) -> None:
    """Raise `InputError`, naming the key and both values, if states or maps are not what the settings ask for.

    model: the key of the registry that is asked for. Of tokens that came without a card less is known.
    """
    entry, known = params.model(model), card["tokens"] != BROUGHT
    positions = params.extract.positions if split == "train" else "sampled"
    asked = {
        "model": {"id": entry.checkpoint, "revision": entry.revision},
        "corpus": {"name": params.corpus, **({"drawn": corpora.card_of(params)} if known else {})},
        "split": split,
        "positions": positions,
        "precision": params.extract.precision,
        **({"seed": params.seed} if known else {}),
        **({"max_tokens": params.tokenize.max_tokens} if known and params.tokenize.max_tokens else {}),
    }
    compare(card, asked, what, again(made_by))


def check_model(card: Mapping[str, Any], model: LanguageModel, what: str | Path, *, made_by: str | None = None) -> None:
    """Raise `InputError`, naming both sides, if an artifact was made with another model or convention."""
    from linear_shortcuts.models import CONVENTION

    _check_identities(card["model"], dict(model.identity), what, "the model in use is", made_by)
    if card["convention"] != CONVENTION:
        raise InputError(
            f"{what} follows the convention {shown(card['convention'])!r}, not {CONVENTION!r}; {again(made_by)}"
        )


def _check_identities(
    made_with: Mapping[str, Any], given: Mapping[str, Any], what: str | Path, whose: str, made_by: str | None
) -> None:
    revisions = {made_with["revision"], given["revision"]} - {None}  # a folder on disk may have none
    if made_with["weights_sha256"] != given["weights_sha256"] or len(revisions) > 1:
        raise InputError(
            f"{what} was made with {_describe(made_with)}, but {whose} {_describe(given)}; {again(made_by)}"
        )
    ours, theirs = made_with["config"], given["config"]
    for key in ours.keys() & theirs.keys():  # other versions of the library may know other keys
        if ours[key] != theirs[key]:
            raise InputError(
                f"{what} was made with {_describe(made_with)} whose config has {key} {shown(ours[key])}, but {whose} "
                f"one with {shown(theirs[key])}; {again(made_by)}"
            )


def check_states(
    card: Mapping[str, Any] | None, states_card: Mapping[str, Any], what: str | Path, *, made_by: str | None = None
) -> None:
    """Raise `InputError` if maps and hidden states come from different models, corpora, seeds or tokens."""
    if card is None:
        raise InputError(f"{what} has no {FILE}, so what it was fitted on is not known; {again(made_by)}")
    _check_identities(card["model"], states_card["model"], what, "the hidden states are those of", made_by)
    keys = ["corpus", "seed", "convention", "tokenizer", "max_tokens", "precision"]
    if card["split"] == states_card["split"]:
        keys.append("tokens_sha256")
    for key in keys:
        if card.get(key) != states_card.get(key):
            raise InputError(
                f"{what} was made with {key} {shown(card.get(key))}, but the hidden states with "
                f"{shown(states_card.get(key))}; {again(made_by)}"
            )


def check_same_run(
    r2: Mapping[str, Any], fixed: Mapping[str, Any], early: Mapping[str, Any], *, made_by: str | None = None
) -> None:
    """Raise `InputError` if the cards of r2, fixed exits and early exits do not speak of the same maps and states."""
    if artifacts.fingerprint(r2) != fixed["layer_maps"] or early != fixed:
        raise InputError(f"r2, fixed exits and early exits come from different runs; {again(made_by)}")


def _describe(identity: Mapping[str, Any]) -> str:
    revision = f" at {shown(identity['revision'])}" if identity["revision"] else ""
    dtype = identity.get("dtype", "float32")
    precision = "" if dtype == "float32" else f" in {shown(dtype)}"
    return f"{shown(identity['id'])}{revision}{precision} (weights {shown(identity['weights_sha256'][:12])}…)"

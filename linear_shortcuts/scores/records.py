"""What the files of the scores must hold: r2, fixed exits, early exits. Each is checked by whoever reads it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from linear_shortcuts.files import InputError, artifacts, shapes
from linear_shortcuts.files.cards import CARD
from linear_shortcuts.files.shapes import Both, Each, Json, Numbers, PairOf, Real, Whole
from linear_shortcuts.models import PARTS, Cost
from linear_shortcuts.scores.tables import PRECISION_AT, R2, of_embeddings

LAYERS = CARD["layers"].most  # type: ignore[attr-defined]
_R2 = Each(Real(), PairOf(LAYERS), empty=False)
_MAPS_CARD = Both(Json(), CARD)
_FIXED_CARD = Both(Json(), {"states": str, "layer_maps": str, "submodule_maps": str, "made_from": CARD})
_EXIT = {
    "mapping": str,
    "layer": Whole(0, LAYERS),
    "mean_layers": Real(0),
    "top_ids": Numbers("int64", "n", "top"),
    # Of a mapping that diverges these are nan.
    "top_probabilities": Numbers("float32", "n", 2, finite=False),
    "surprisal": Numbers("float32", "n", finite=False),
    "kl": Numbers("float32", "n", finite=False),
}
_EMBEDDING = {
    "mapping": str,
    "layer": Whole(0, LAYERS),
    "mean_layers": Real(0),
    "cosine": Numbers("float32", "n"),
    "recall": Numbers("float32", "n", least=0),
}
_EARLY = {
    "mapping": str,
    "lambda": Real(),
    "swept": str,
    "exit_layers": Numbers("int64", "n", least=0),
    "correct": Numbers("float32", "n", least=0),
    "mean_layers": Real(0),
    "relative_cost": Real(0),
}
_COST = {"blocks": Numbers("float64", "L", "n", least=0), "head": Real(0), "jump": Real(0), "listed": Real(0)}


def card_of(
    states_card: Mapping[str, Any], layer_maps_card: Mapping[str, Any], submodule_maps_card: Mapping[str, Any]
) -> dict[str, Any]:
    """What fixed exits were read from."""
    return {
        "states": artifacts.fingerprint(states_card),
        "layer_maps": artifacts.fingerprint(layer_maps_card),
        "submodule_maps": artifacts.fingerprint(submodule_maps_card),
        "made_from": {key: value for key, value in states_card.items() if key != "files"},
    }


def load_r2(path: Path, *, made_by: str) -> dict[str, Any]:
    """`score_mat`, `score_id` and the like, {(i, j): r2} of the same pairs, and the `card` of the maps."""
    value = shapes.load(path, {**dict.fromkeys(R2, _R2), "card": _MAPS_CARD}, made_by=made_by)
    if any(value[name].keys() != value["score_mat"].keys() for name in R2):
        raise InputError(f"{path} scores other pairs of layers in one mapping than in another; run {made_by} again")
    if max(target for _, target in value["score_mat"]) != value["card"]["layers"]:
        raise InputError(f"{path} scores other layers than its card's {value['card']['layers']}; run {made_by} again")
    return value


def save_fixed(path: Path, readouts: list[dict[str, Any]], positions: Any, cost: Cost, card: dict[str, Any]) -> None:
    """Write the read-outs of the fixed exits, the sampled positions (n,), what a forward pass costs, and the card."""
    artifacts.save(path, {"records": readouts, "positions": positions, "cost": vars(cost), "card": card})


def load_fixed(path: Path, *, made_by: str) -> tuple[dict[str, Any], Cost]:
    """`records` of n samples, `id` and `mat` first at layers 0..L, `positions` and `card`; and what an exit costs.

    Mappings with parts replaced may have fewer layers, and be read of the first samples alone. The records of an
    encoder are of its embeddings, and of no parts.
    """
    sizes: dict[str, int] = {}
    shape = {"cost": _COST, "positions": Numbers("int64", "n", least=0), "records": [dict], "card": _FIXED_CARD}
    value = shapes.load(path, {}, made_by=made_by)
    shapes.check(value, shape, path, f"run {made_by} again", sizes)
    seen = []
    embeds = of_embeddings(value["records"])
    for number, record in enumerate(value["records"]):
        own: dict[str, int] = {}
        expected = _EMBEDDING if embeds else _EXIT
        shapes.check(record, expected, f"{path}: record {number}", f"run {made_by} again", own)
        if not embeds and own["top"] < max(PRECISION_AT):
            raise InputError(f"{path}: record {number} has {own['top']} tokens a sample; run {made_by} again")
        seen.append((record["mapping"], record["layer"], own["n"]))
    whole = [(mapping, layer, sizes["n"]) for mapping in ("id", "mat") for layer in range(sizes["L"] + 1)]
    others = seen[len(whole) :]
    fits = seen[: len(whole)] == whole and sizes["L"] == value["card"]["made_from"]["layers"] and sizes["n"] > 0
    fits = (
        fits
        and not (embeds and others)
        and all(m in PARTS and layer <= sizes["L"] and 0 < n <= sizes["n"] for m, layer, n in others)
    )
    if not fits or len({(mapping, layer) for mapping, layer, _ in others}) < len(others):
        raise InputError(
            f"{path} has not id and mat at every layer and sample, and then parts at some of them; run {made_by} again"
        )
    return value, Cost(**{key: value["cost"][key] for key in _COST})


def load_early(path: Path, *, made_by: str) -> dict[str, Any]:
    """`records`, one for each of `mat` and `id` and every threshold, and the `card` of the fixed exits.

    An encoder, which has no confidence, has no records.
    """
    value = shapes.load(path, {"records": [_EARLY], "card": _FIXED_CARD}, made_by=made_by)
    if {record["mapping"] for record in value["records"]} not in ({"mat", "id"}, set()):
        raise InputError(f"{path} is not of the mappings mat and id; run {made_by} again")
    return value

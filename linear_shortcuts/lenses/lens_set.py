"""Lenses of one kind for all layers of a model: in memory, and as a folder of safetensors and a card.

lenses = LensSet.load("lenses/affine", model)
lenses[4].transport(h)        # h (..., d) of layer 4, as a state of layer lenses.target
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import (
    FILE,
    InputError,
    again,
    atomic_folder,
    check_kind,
    save_text,
    sharing,
    shown,
    tensors as tensor_files,
    versions,
)
from linear_shortcuts.files.cards import PAGE, check_replaceable, read_card
from linear_shortcuts.files.shapes import Both, Each, Json, Whole
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.maps import LayerMaps
from linear_shortcuts.models import CONVENTION, LanguageModel
from linear_shortcuts.states import provenance

WEIGHTS = "lenses.safetensors"
CARD = {
    "lens": str,
    "target": Whole(0, 10_000),
    "sources": [Whole(0, 10_000)],
    "model": {"id": str, "revision": (str, None), "weights_sha256": str, "config": Both(Json(), Each(object))},
    "layers": Whole(1, 10_000),
    "width": Whole(1, 10**6),
    "convention": str,
    "fit": Json(),
}


def lens_card(model: LanguageModel | Mapping[str, Any], name: str, fit: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a set of lenses.

    model: the model, or the card of its states or maps. fit: what it was fitted on and how, as JSON can hold it.
    """
    if isinstance(model, LanguageModel):
        known = {"model": dict(model.identity), "layers": model.layers, "width": model.width, "convention": CONVENTION}
    else:
        known = {key: model[key] for key in ("model", "layers", "width", "convention")}
    return {"lens": name, **known, "fit": dict(fit), "versions": versions()}


class LensSet(Mapping[int, Lens], sharing.Shared):
    """Lenses of one kind by the layer that each reads, all with one target."""

    def __init__(self, lenses: Mapping[int, Lens], card: Mapping[str, Any]) -> None:
        """lenses: by source, at least one; card: as `lens_card` makes it."""
        self._lenses = dict(sorted(lenses.items()))
        [self.target] = {lens.target for lens in lenses.values()}
        self.card: dict[str, Any] = {**card, "target": self.target, "sources": list(self._lenses)}

    @property
    def name(self) -> str:
        """The kind: `id`, `mat`, `affine`, …"""
        return self.card["lens"]

    def __getitem__(self, source: int) -> Lens:
        if source not in self._lenses:
            raise KeyError(f"no lens {self.name} reads layer {source}; there are those of {self.card['sources']}")
        return self._lenses[source]

    def __iter__(self) -> Iterator[int]:
        return iter(self._lenses)

    def __len__(self) -> int:
        return len(self._lenses)

    def __repr__(self) -> str:
        return f"LensSet({self.name}: {len(self)} lenses to layer {self.target}, of {self.card['model']['id']})"

    @property
    def corpus(self) -> str | None:
        """The name of the text that they were fitted on, where their card has one."""
        corpus = self.card["fit"].get("corpus")
        return corpus.get("name") if isinstance(corpus, Mapping) else corpus

    @property
    def parameters(self) -> int:
        """The numbers that all lenses together hold."""
        return sum(lens.parameters for lens in self.values())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What the file holds: every lens's tensors, by name."""
        return {name: tensor for lens in self.values() for name, tensor in lens.tensors.items()}

    def save(self, folder: str | Path) -> None:
        """Write `lenses.safetensors` and `card.json`, the same bytes for the same lenses and card.

        Raises `InputError` for a folder that holds anything else.
        """
        check_replaceable(folder)
        with atomic_folder(folder) as coming:
            tensor_files.save(coming, WEIGHTS, self.tensors, self.card)

    @classmethod
    def load(cls, folder: str | Path, model: LanguageModel | None = None, *, made_by: str | None = None) -> LensSet:
        """Open a folder of lenses.

        model: if given, the lenses must have been fitted for it. made_by: the program that fits them, named in errors.

        Raises `InputError` for a folder that is not whole and for lenses of another model.
        """
        folder = Path(folder)
        card = read_card(folder, CARD, made_by=made_by)
        if model is not None:
            check_kind("model", model, LanguageModel, "give what load_model makes of it, or leave it out")
            provenance.check_model(card, model, folder, made_by=made_by)
        tensors = tensor_files.load(folder, WEIGHTS, card, again(made_by))
        if odd := [name for name, tensor in tensors.items() if not tensor.is_floating_point()]:
            raise InputError(f"{folder / WEIGHTS} has no real numbers in {shown(odd[0])}; {again(made_by)}")
        made = cls.of_tensors(tensors, card, card["sources"], card["target"])
        for lens in made.values():
            _check(lens, card, folder / WEIGHTS, again(made_by))
        return made

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, Tensor], card: Mapping[str, Any], sources: Sequence[int], target: int
    ) -> LensSet:
        """The lenses whose `tensors` these are, by name; card: as `lens_card` makes it."""
        return cls({i: Lens.of_tensors(card["lens"], i, target, tensors, card=card) for i in sources}, card)

    def save_pretrained(self, folder: str | Path, *, scores: sharing.Scores | None = None) -> None:
        """What `save` writes, and a README that says what it is; scores: row -> column -> number."""
        usage = "from linear_shortcuts import load_model\nfrom linear_shortcuts.lenses import LensSet\n\n"
        usage += f"model = load_model({self.card['model']['id']!r})\n"
        usage += 'lenses = LensSet.from_pretrained("this repository", model)'
        title = f"Lenses `{self.name}` to layer {self.target}"
        page = sharing.about(title, self.card, self.corpus or "no text", usage, scores)
        self.save(folder)
        save_text(Path(folder) / PAGE, page)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        model: LanguageModel | None = None,
        *,
        subfolder: str = "",
        revision: str | None = None,
    ) -> LensSet:
        """Open lenses that `save_pretrained` wrote, from a folder or a repository of the hub; see `load`."""
        return cls.load(sharing.fetch(source, subfolder, revision, [WEIGHTS, FILE]), model)

    @classmethod
    def identity(cls, model: LanguageModel) -> LensSet:
        """The lens `id`, also called the logit lens: every state as it is."""
        card = lens_card(model, "id", {})
        return cls({i: Lens("id", i, model.layers, card=card) for i in range(model.layers)}, card)

    @classmethod
    def of_maps(cls, maps: LayerMaps, model: LanguageModel | None = None) -> LensSet:
        """The lens `mat`: the study's own matrices to the last layer.

        model: whose states they carry, where they were fitted in memory and have no card that says so.

        Raises `InputError` where neither tells the model, or it has other layers.
        """
        if maps.card is not None:
            fitted_on = ("corpus", "split", "sentences", "vectors", "positions", "seed")
            card = lens_card(maps.card, "mat", {key: maps.card[key] for key in fitted_on})
        elif model is None:
            raise InputError(f"{maps.folder} has no card, so whose states its maps carry is not known; give the model")
        elif (maps.layers, maps.width) != (model.layers, model.width):
            raise InputError(f"{maps} are not of {model.name}: it has {model.layers} blocks of width {model.width}")
        else:
            card = lens_card(model, "mat", {})
        last = maps.layers
        if missing := [i for i in range(last) if (i, last) not in maps]:
            raise InputError(f"{maps.folder} has no matrix from layer {missing[0]} to layer {last}; fit its maps anew")
        return cls({i: Lens("mat", i, last, (maps[i, last],), card=card) for i in range(last)}, card)


def _check(lens: Lens, card: Mapping[str, Any], what: Path, mend: str) -> None:
    """Raise `InputError` if a lens that was read is none of the model's width, or not finite."""
    width = card["width"]
    if not lens.tensors and card["lens"] != "id":
        raise InputError(f"{what} has no lens of layer {lens.source}; {mend}")
    sizes = [width]
    for factor in lens.factors:
        if factor.ndim != 2 or factor.shape[1] != sizes[-1]:
            raise InputError(f"{what} has a factor of shape {tuple(factor.shape)} for states of {sizes[-1]}; {mend}")
        sizes.append(len(factor))
    if sizes[-1] != width or (lens.bias is not None and lens.bias.shape != (width,)):
        raise InputError(f"{what} has a lens of layer {lens.source} that does not end at width {width}; {mend}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in lens.tensors.values()):
        raise InputError(f"{what} has a lens of layer {lens.source} with values that are not finite; {mend}")

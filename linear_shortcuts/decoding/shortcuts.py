"""Everything fitted that decoding uses, as one folder: a file of safetensors, and a card that says whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.decoding.filling import Guesses, Way
from linear_shortcuts.decoding.short_list import ShortList
from linear_shortcuts.decoding.speculation import Draft
from linear_shortcuts.decoding.stack import Affine, Stack
from linear_shortcuts.files import InputError, again, atomic_folder, shown, tensors as tensor_files, versions
from linear_shortcuts.files.cards import check_replaceable, read_card
from linear_shortcuts.files.shapes import Both, Each, Json, Numbers, Whole, check
from linear_shortcuts.models import CONVENTION, LanguageModel, pack
from linear_shortcuts.states import provenance

WEIGHTS = "shortcuts.safetensors"
CARD = {
    "model": {"id": str, "revision": (str, None), "weights_sha256": str, "config": Both(Json(), Each(object))},
    "layers": Whole(1, 10_000),
    "width": Whole(1, 10**6),
    "convention": str,
    "draft_layer": Whole(0, 10_000),
    "draft_middle": Whole(0, 10_000),
    "fit": Json(),
}
SHORT_LIST = "short_list"


@dataclass(frozen=True, eq=False)
class Shortcuts:
    """Fitted maps by name, and the short list.

    maps: `draft.K`, for level K of a tree of drafts, see `Draft`; `exit.I`, from layer I to h_L; `map.I.J`, from
        layer I to layer J; `kv_map.I.J`, from layer I to what the projections of block J, counted from 0, give.
    short_list: (n,) ids. card: the model, and on what they were fitted.
    """

    maps: Mapping[str, Affine]
    short_list: Tensor
    card: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Shortcuts({len(self.maps)} maps, exits {self.exits}, of {self.card['model']['id']})"

    @classmethod
    def of(
        cls,
        model: LanguageModel,
        maps: Mapping[str, Affine],
        short_list: Tensor,
        fit: Mapping[str, Any],
        draft_layer: int = 0,
        draft_middle: int = 0,
    ) -> Shortcuts:
        """Shortcuts just fitted for a model; fit: on what, as JSON can hold it. The layers are those of drafts."""
        card = {
            "model": dict(model.identity),
            "layers": model.layers,
            "width": model.width,
            "convention": CONVENTION,
            "draft_layer": draft_layer,
            "draft_middle": draft_middle,
            "fit": dict(fit),
            "versions": versions(),
        }
        return cls(maps, short_list, card)

    @property
    def exits(self) -> list[int]:
        """The layers that may be left at, rising."""
        return sorted(int(name.partition(".")[2]) for name in self.maps if name.startswith("exit."))

    def exit_maps(self) -> dict[int, Affine]:
        """The maps to h_L by the layer that is left."""
        return {layer: self.maps[f"exit.{layer}"] for layer in self.exits}

    def guesses(self, way: Way) -> Guesses:
        """What a way of filling caches needs, see `Waiting`; nothing for those that need nothing."""
        named = [name.split(".") for name in self.maps if name.startswith(f"{way}.")]
        return {(int(i), int(j)): self.maps[f"{way}.{i}.{j}"] for _, i, j in named}

    @property
    def drafts(self) -> int:
        """How many tokens ahead a draft looks; 0: there is none."""
        return sum(name.startswith("draft.") for name in self.maps)

    def head(self, stack: Stack) -> ShortList:
        """The head of the short list; its weights are laid out for products with few rows, see `models.pack`."""
        short = ShortList.of(stack, self.short_list)
        pack(short.head)
        return short

    def check_drafts(self) -> None:
        """Raise `InputError` where there is none."""
        if not self.drafts:
            raise InputError("the shortcuts have no drafts; fit them with calibrate, on rows of running text")

    def draft(self, stack: Stack, width: int = 4, levels: int | None = None) -> Draft:
        """How tokens are guessed: `levels` ahead (all that were fitted, by default), see `Draft`.

        Raises `InputError` where no draft was fitted.
        """
        self.check_drafts()
        maps = [self.maps[f"draft.{level}"] for level in range(min(self.drafts, levels or self.drafts))]
        layer, middle = self.card["draft_layer"], self.card["draft_middle"]
        return Draft(layer, middle, maps, self.head(stack), min(width, len(self.short_list)))

    def to(self, device: torch.device, dtype: torch.dtype) -> Shortcuts:
        """The same on a device, in the precision of a model's own arithmetic."""
        moved = {
            name: Affine(
                affine.weight.to(device, dtype), None if affine.bias is None else affine.bias.to(device, dtype)
            )
            for name, affine in self.maps.items()
        }
        return Shortcuts(moved, self.short_list.to(device), self.card)

    def save(self, folder: str | Path) -> None:
        """Write `shortcuts.safetensors` and `card.json`, the same bytes for the same shortcuts.

        Raises `InputError` for a folder that holds anything else.
        """
        check_replaceable(folder)
        tensors = {f"{name}.weight": affine.weight for name, affine in self.maps.items()}
        tensors |= {f"{name}.bias": affine.bias for name, affine in self.maps.items() if affine.bias is not None}
        with atomic_folder(folder) as coming:
            tensor_files.save(coming, WEIGHTS, {**tensors, SHORT_LIST: self.short_list}, self.card)

    @classmethod
    def load(cls, folder: str | Path, model: LanguageModel, *, made_by: str | None = None) -> Shortcuts:
        """Open a folder of shortcuts that were fitted for this model.

        made_by: the program that fits them, named in errors.

        Raises `InputError` for a folder that is not whole and for shortcuts of another model.
        """
        folder = Path(folder)
        card = read_card(folder, CARD, made_by=made_by)
        provenance.check_model(card, model, folder, made_by=made_by)
        tensors = tensor_files.load(folder, WEIGHTS, card, again(made_by))
        _check(tensors, card, model, folder / WEIGHTS, again(made_by))
        short_list = tensors.pop(SHORT_LIST)
        names = {name.rpartition(".")[0] for name in tensors}
        maps = {name: Affine(tensors[f"{name}.weight"], tensors.get(f"{name}.bias")) for name in sorted(names)}
        return cls(maps, short_list, card)


def _check(tensors: Mapping[str, Tensor], card: Mapping[str, Any], model: LanguageModel, path: Path, mend: str) -> None:
    """Raise `InputError` if a file that was read does not hold maps of this model, and a short list of its tokens."""
    d, layers = model.width, model.layers
    first, middle = card["draft_layer"], card["draft_middle"]
    if not first <= middle < layers:
        raise InputError(f"{path} drafts from the layers {first} and {middle} of {model.name}'s {layers}; {mend}")
    drafts = sum(name.startswith("draft.") and name.endswith(".weight") for name in tensors)
    sizes: dict[str, tuple[int | str, int]] = {f"draft.{level}": (d, d * (level + 3)) for level in range(drafts)}
    for i in (i for i in range(1, layers) if f"exit.{i}.weight" in tensors):
        sizes |= {f"exit.{i}": (d, d), **{f"map.{i}.{j}": (d, d) for j in range(i + 1, layers)}}
        sizes |= {f"kv_map.{i}.{j}": (f"of block {j}", d) for j in range(i, layers)}
    if not sizes:
        raise InputError(f"{path} holds no drafts and no exits; {mend}")
    named = {f"{name}.{part}": name for name in sizes for part in ("weight", "bias")}
    if foreign := sorted(tensors.keys() - named.keys() - {SHORT_LIST}):
        raise InputError(f"{path} holds {shown(foreign[0])}, which is no map of {model.name}; {mend}")
    shape = {SHORT_LIST: Numbers("int64", "n")}
    for name in sorted({named[name] for name in tensors.keys() - {SHORT_LIST}}):
        rows, columns = sizes[name]
        shape[f"{name}.weight"] = Numbers("float32", rows, columns)
        if f"{name}.bias" in tensors:
            shape[f"{name}.bias"] = Numbers("float32", rows)
    check(dict(tensors), shape, path, mend)
    short_list = tensors[SHORT_LIST]
    if not len(short_list) or int(short_list.min()) < 0 or int(short_list.max()) >= model.vocabulary:
        raise InputError(f"{path} has a short list of no tokens, or of others than 0..{model.vocabulary - 1}; {mend}")


def stack_of(model: LanguageModel) -> Stack:
    """The blocks of a model, callable one by one.

    Raises `InputError` for a model that is not causal, or whose blocks lie on several devices.
    """
    if not model.family.causal:
        raise InputError(f"{model.name} is a masked model, which generates nothing; name a causal one")
    return Stack(model.network, model.family.blocks, *head_of(model))


def head_of(model: LanguageModel) -> tuple[tuple[str, ...], float, float | None]:
    """The paths of the modules from h_L to the logits, and what these are scaled and bounded by; see `Stack`."""
    family, config = model.family, model.network.config.get_text_config()
    norm = () if family.final_norm is None else (family.final_norm,)
    return (*norm, *family.head), family.scale, getattr(config, family.soft_cap) if family.soft_cap else None

"""Fitted matrices as files anyone can open, and as an object that jumps between layers.

maps = LayerMaps.load("linreg/tiny-gpt2/docstrings/layers")
guess = maps.jump(h, 2, 6)        # h (..., d) of layer 2, read in the space of layer 6
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from linear_shortcuts.files import (
    InputError,
    again,
    artifacts,
    atomic_folder,
    cards,
    check_kind,
    sharing,
    shown,
    tensors as tensor_files,
)
from linear_shortcuts.models import LanguageModel, linear, stand_in_steps
from linear_shortcuts.states import provenance

Key = TypeVar("Key", bound=tuple[int, ...])
Own = TypeVar("Own", bound="_Maps[Any]")
WEIGHTS = "maps.safetensors"
KEPT = 2**31  # bytes of matrices in memory at a time; all those of a large model would fill it


def layer_file(source: int, target: int) -> str:
    """The file of A_{target,source}: the name is source_target, as the study's authors have it."""
    return f"{source}_{target}.pickle"


def submodule_file(block: int, source: int, target: int) -> str:
    """The file of the matrix from site `source` to site `target` of a block, all counted from 0."""
    return f"p{block}_{source}_{target}.pickle"


def layer_files(source: int, targets: range, matrices: Tensor) -> dict[str, Tensor]:
    """The files (name -> float32 matrix) of one source layer, from matrices (targets, d, d)."""
    return {layer_file(source, j): matrix.float().cpu() for j, matrix in zip(targets, matrices, strict=True)}


def submodule_files(block: int, sources: Sequence[int], matrices: Sequence[Tensor]) -> dict[str, Tensor]:
    """The files (name -> float32 matrix) of one block, from the matrices of its sub-steps in order.

    sources: the site that each sub-step reads, as `Family.sources` has them.
    """
    return {
        submodule_file(block, source, step + 1): matrix.float().cpu()
        for step, (source, matrix) in enumerate(zip(sources, matrices, strict=True))
    }


def describe_ranks(ranks: Mapping[str, int], width: int) -> str:
    """The ranks of the sources as a clause of a closing line."""
    low = {name: rank for name, rank in ranks.items() if rank < width}
    if not low:
        return "all sources of full rank"
    shown = ", ".join(f"{name}: {rank}" for name, rank in list(low.items())[:5])
    more = f" and {len(low) - 5} more" if len(low) > 5 else ""
    return f"warning: rank below {width} at {shown}{more}, smallest solution taken"


class _Maps(Mapping[Key, Tensor], sharing.Shared, Generic[Key]):
    """Matrices (d, d) in one folder by the numbers in their files' names, each loaded and checked when it is used."""

    pattern: re.Pattern[str]
    holds: str  # what the matrices lead to and from
    home: str  # the name of their folder
    prefix: str = ""  # what the names of their files begin with

    def __init__(self, folder: Path, card: dict[str, Any] | None, made_by: str | None = None) -> None:
        self.folder = folder
        self._made_by = made_by
        self.card = card  # None for matrices that came without one, such as the study's own
        # With a card, the card says what belongs here: a lost file is missed, a foreign one not taken in.
        names = card["files"] if card else sorted(path.name for path in folder.glob("*.pickle"))
        found = {name: match for name in names if (match := self.pattern.fullmatch(name))}
        self._files: dict[Any, str] = {tuple(map(int, match.groups())): name for name, match in found.items()}
        self._loaded: dict[Key, Tensor] = {}
        self._shape = torch.Size((card["width"],) * 2) if card else None

    @classmethod
    def of(cls: type[Own], matrices: Mapping[Any, Tensor]) -> Own:
        """Maps from matrices (d, d) in memory, by the numbers that a file's name would have."""
        maps = cls(Path("memory"), None)
        maps._files = dict.fromkeys(matrices, "")
        maps._loaded = dict(matrices)
        return maps

    @classmethod
    def load(
        cls: type[Own], folder: str | Path, model: LanguageModel | None = None, *, made_by: str | None = None
    ) -> Own:
        """Open a folder of matrices.

        model: if given, the maps must have been fitted on its hidden states; without a card, of its width.
        made_by: the program that fits them, named in errors.

        Raises `InputError` for a folder without matrices and for maps of another model.
        """
        if model is not None:
            check_kind(
                "model",
                model,
                LanguageModel,
                "give what load_model or models.loading.wrap makes of it, or leave it out",
            )
        folder = Path(folder)
        has_card = (folder / cards.FILE).exists()
        maps = cls(folder, cards.read_card(folder, made_by=made_by) if has_card else None, made_by)
        if not maps._files and (maps.card is None or maps.card["files"]):  # a card may say that there are none
            raise InputError(f"{folder} {maps._instead()}")
        if model is not None:
            if maps.card is not None:
                provenance.check_model(maps.card, model, folder, made_by=made_by)
            maps._shape = torch.Size((model.width, model.width))
        return maps

    def save_pretrained(self, folder: str | Path, *, scores: sharing.Scores | None = None) -> None:
        """Write all matrices as safetensors, with their card and a README; scores: row -> column -> number.

        Raises `InputError` for maps without a card: whoever gets them could not know whose states they carry.
        """
        if self.card is None:
            raise InputError(f"{self.folder} has no card, so whose states its maps carry is not known; fit them anew")
        name, corpus = type(self).__name__, self.card["corpus"]["name"]
        usage = f"from linear_shortcuts import {name}, load_model\n\nmodel = load_model({self.card['model']['id']!r})\n"
        usage += f'maps = {name}.from_pretrained("this repository", model)'
        fitted_on = f"{self.card['vectors']:,} tokens of {corpus}"
        page = sharing.about(f"Matrices {self.holds}", self.card, fitted_on, usage, scores)
        cards.check_replaceable(folder)
        with atomic_folder(folder) as coming:
            tensor_files.save(coming, WEIGHTS, {"_".join(map(str, key)): own for key, own in self.items()}, self.card)
            (coming / cards.PAGE).write_text(page, encoding="utf-8")

    @classmethod
    def from_pretrained(
        cls: type[Own],
        source: str | Path,
        model: LanguageModel | None = None,
        *,
        subfolder: str = "",
        revision: str | None = None,
    ) -> Own:
        """Open maps that were shared: what `save_pretrained` wrote, or the pickles of the study's authors.

        source: a folder, or a repository of the hub; subfolder: below it, such as `gpt2/wikipedia`.

        Raises `InputError` for maps of another model, for files that are not what their card says, and for pickles that
        hold more than tensors.
        """
        folder = sharing.fetch(source, subfolder, revision, [WEIGHTS, cards.FILE, "*.pickle"])
        path = folder / WEIGHTS
        if not path.is_file():
            return cls.load(folder, model)
        card = cards.read_card(folder)
        if model is not None:
            provenance.check_model(card, model, folder)
        tensors = tensor_files.load(folder, WEIGHTS, card, "fetch it anew")
        if foreign := sorted(name for name in tensors if not cls.pattern.fullmatch(cls.prefix + name + ".pickle")):
            raise InputError(f"{path} holds {shown(foreign[0])}, which is no matrix {cls.holds}; fetch it anew")
        maps = cls.of({tuple(map(int, name.split("_"))): matrix for name, matrix in tensors.items()})
        maps.folder, maps.card, maps._shape = folder, card, torch.Size((card["width"],) * 2)
        for key, matrix in maps.items():
            maps._check(matrix, f"{path}, matrix {key},")
        return maps

    def _instead(self) -> str:
        """What is wrong with a folder without matrices of this kind, and which one is meant."""
        folder = self.folder
        below = [path for depth in ("", "*/", "*/*/") for path in sorted(folder.glob(depth + self.home))]
        near = [*below, folder.parent / self.home]
        meant = next((f"; there are some in {other}" for other in near if other.is_dir() and other != folder), None)
        what = f"holds no matrices {self.holds}" if folder.is_dir() else "is no folder"
        return what + (meant or (f"; run {self._made_by} first" if self._made_by else "; fit them first"))

    @property
    def width(self) -> int:
        """d, the coordinates of a state."""
        return self.card["width"] if self.card else len(next(iter(self.values())))

    def __repr__(self) -> str:
        made_with = f", of {self.card['model']['id']}" if self.card else ""
        return f"{type(self).__name__}({len(self)} matrices {self.holds}{made_with}, in {self.folder})"

    def __getitem__(self, key: Key) -> Tensor:
        if key not in self._loaded:
            if key not in self._files:
                raise KeyError(self._missing(key))
            matrix = self._read(self._files[key])
            while self._loaded and (len(self._loaded) + 1) * matrix.nbytes > KEPT:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[key] = matrix
        return self._loaded[key]

    def _missing(self, key: object) -> str:
        raise NotImplementedError

    def __iter__(self) -> Iterator[Key]:
        return iter(sorted(self._files))

    def __len__(self) -> int:
        return len(self._files)

    def _read(self, name: str) -> Tensor:
        path = self.folder / name
        matrix = artifacts.load(path, made_by=self._made_by, sha256=self.card["files"][name] if self.card else None)
        if not isinstance(matrix, Tensor):
            raise InputError(f"{path} holds a {type(matrix).__name__}, not one tensor")
        self._check(matrix, path)
        self._shape = matrix.shape
        return matrix.float()

    def _check(self, matrix: Tensor, path: Path | str) -> None:
        """Raise `InputError` if a matrix that was read is not square, of real and finite numbers."""
        shape = self._shape or torch.Size((matrix.shape[-1:].numel(),) * 2)
        if matrix.shape != shape:
            raise InputError(f"{path} has shape {tuple(matrix.shape)}, expected {tuple(shape)}: one square matrix")
        if not matrix.is_floating_point() or not matrix.numel():
            raise InputError(f"{path} has {matrix.numel()} entries of {matrix.dtype}; a map has real numbers")
        if not torch.isfinite(matrix).all():
            raise InputError(f"{path} has entries that are not finite; {again(self._made_by)}")


class LayerMaps(_Maps[tuple[int, int]]):
    """A_{j,i} by (i, j): the matrix that turns a state of layer i into a guess at layer j."""

    pattern = re.compile(r"(\d+)_(\d+)\.pickle")
    holds = "between layers"
    home = "layers"

    @property
    def layers(self) -> int:
        """L: the layers are 0..L; without a card, the last layer that a matrix leads to."""
        return self.card["layers"] if self.card else max(target for _, target in self._files)

    def jump(self, states: Tensor, source: int, target: int) -> Tensor:
        """Carry states (..., d) of layer `source` to layer `target`; a jump nowhere is the identity.

        Computed in float32, or in the states' own precision if that is higher; returned in the states' own.
        Raises `InputError` for states that are no real numbers or not of the maps' width, and for a pair of layers that
        no matrix connects.
        """
        check_kind("states", states, Tensor, "give a tensor, as torch.from_numpy makes of an array")
        if not states.is_floating_point():
            raise InputError(f"states are {states.dtype}; a matrix turns real numbers into others, so give floats")
        if not states.ndim or states.shape[-1] != self.width:
            raise InputError(f"states have shape {tuple(states.shape)}, but these maps take (..., {self.width})")
        if source == target and source in range(self.layers + 1):
            return states
        if (source, target) not in self._files:
            raise InputError(self._missing((source, target)))
        wide = states.float() if states.itemsize < 4 else states
        return linear(wide, self[source, target].to(wide)).to(states.dtype)

    def _missing(self, key: object) -> str:
        others = f"it has {len(self)} others, each (source, target), source < target, layers 0..{self.layers}"
        return f"{self.folder} has no matrix for {key}; {others}"


class SubmoduleMaps(_Maps[tuple[int, int, int]]):
    """The stand-in of a sub-step by (block, a, b): the matrix from site a of a block to site b, made by step b - 1."""

    pattern = re.compile(r"p(\d+)_(\d+)_(\d+)\.pickle")
    holds = "between the sites of a block"
    home = "submodules"
    prefix = "p"

    def stand_ins(self, model: LanguageModel, part: str) -> list[dict[int, Tensor]]:
        """For every block, sub-step -> matrix, for the sub-steps `part` names; see `models.PARTS`."""
        return [
            {
                step: self[block, model.family.sources[step], step + 1].to(model.device)
                for step in stand_in_steps(model.family, part)
            }
            for block in range(model.layers)
        ]

    def _missing(self, key: object) -> str:
        known = ", ".join(str(own) for own in sorted(self._files)[:2])
        others = f"it has {len(self)} others, each (block, site, site), such as {known}"
        return f"{self.folder} has no matrix for {key}; {others}"

"""Fitted matrices as files anyone can open, and as an object that jumps between layers.

maps = LayerMaps.load("linreg/tiny-gpt2/docstrings/layers")
guess = maps.jump(h, 2, 6)        # h (..., d) of layer 2, read in the space of layer 6
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError, artifacts, cards
from linear_shortcuts.models import LanguageModel, stand_in_steps
from linear_shortcuts.states import provenance

Pair = tuple[int, int]
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


class _Maps(Mapping[Pair, Tensor]):
    """Matrices (d, d) in one folder, each loaded and checked when it is used."""

    pattern: re.Pattern[str]
    made_by: str

    def __init__(self, folder: Path, card: dict[str, Any] | None) -> None:
        self.folder = folder
        self.card = card  # None for matrices that came without one, such as the study's own
        # With a card, the card says what belongs here: a lost file is missed, a foreign one not taken in.
        names = card["files"] if card else sorted(path.name for path in folder.glob("*.pickle"))
        self._files = {self._key(match): name for name in names if (match := self.pattern.fullmatch(name))}
        self._loaded: dict[Pair, Tensor] = {}
        self._shape: torch.Size | None = None

    @classmethod
    def load(cls, folder: str | Path, model: LanguageModel | None = None) -> Any:
        """Open a folder of matrices.

        model: if given, the maps must have been fitted on its hidden states; without a card, of its width.

        Raises `InputError` for a folder without matrices and for maps of another model.
        """
        folder = Path(folder)
        has_card = (folder / cards.FILE).exists()
        maps = cls(folder, cards.read_card(folder, made_by=cls.made_by) if has_card else None)
        if not maps._files and (maps.card is None or maps.card["files"]):  # a card may say that there are none
            raise InputError(f"{folder} holds no matrices; run {cls.made_by} first")
        if model is not None:
            if maps.card is not None:
                provenance.check_model(maps.card, model, folder)
            maps._shape = torch.Size((model.width, model.width))
        return maps

    def __getitem__(self, key: Pair) -> Tensor:
        if key not in self._loaded:
            if key not in self._files:
                raise KeyError(f"{self.folder} has no matrix for {key}; it has {len(self._files)} others")
            matrix = self._read(self._files[key])
            while self._loaded and (len(self._loaded) + 1) * matrix.nbytes > KEPT:
                self._loaded.pop(next(iter(self._loaded)))
            self._loaded[key] = matrix
        return self._loaded[key]

    def __iter__(self) -> Iterator[Pair]:
        return iter(sorted(self._files))

    def __len__(self) -> int:
        return len(self._files)

    @staticmethod
    def _key(match: re.Match[str]) -> Pair:
        return int(match[1]), int(match[2])

    def _read(self, name: str) -> Tensor:
        path = self.folder / name
        matrix = artifacts.load(path, made_by=self.made_by, sha256=self.card["files"][name] if self.card else None)
        if not isinstance(matrix, Tensor):
            raise InputError(f"{path} holds a {type(matrix).__name__}, not one tensor")
        shape = self._shape or torch.Size((matrix.shape[-1:].numel(),) * 2)
        if matrix.shape != shape:
            raise InputError(f"{path} has shape {tuple(matrix.shape)}, expected {tuple(shape)}: one square matrix")
        if not matrix.is_floating_point() or not matrix.numel():
            raise InputError(f"{path} has {matrix.numel()} entries of {matrix.dtype}; a map has real numbers")
        if not torch.isfinite(matrix).all():
            raise InputError(f"{path} has entries that are not finite; fit it anew with {self.made_by}")
        self._shape = matrix.shape
        return matrix.float()


class LayerMaps(_Maps):
    """A_{j,i} by (i, j): the matrix that turns a state of layer i into a guess at layer j."""

    pattern = re.compile(r"(\d+)_(\d+)\.pickle")
    made_by = "stages/05_fit_layer_maps.py"

    def jump(self, states: Tensor, source: int, target: int) -> Tensor:
        """Carry states (..., d) of layer `source` to layer `target`; a jump nowhere is the identity."""
        if source == target:
            return states
        return states @ self[source, target].to(states).T


class SubmoduleMaps(_Maps):
    """The stand-in of a sub-step by (block, a): the matrix from the site it reads to site a + 1 of a block."""

    pattern = re.compile(r"p(\d+)_\d+_(\d+)\.pickle")
    made_by = "stages/06_fit_submodule_maps.py"

    @staticmethod
    def _key(match: re.Match[str]) -> Pair:
        return int(match[1]), int(match[2]) - 1

    def stand_ins(self, model: LanguageModel, part: str) -> list[dict[int, Tensor]]:
        """For every block, sub-step -> matrix, for the sub-steps `part` names; see `models.PARTS`."""
        return [
            {step: self[block, step].to(model.device) for step in stand_in_steps(model.family, part)}
            for block in range(model.layers)
        ]

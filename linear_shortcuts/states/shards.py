"""Hidden states on disk: shards of sentences, and the folder that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from linear_shortcuts.files import InputError, again, artifacts, read_card
from linear_shortcuts.files.shapes import Numbers, check
from linear_shortcuts.states.extraction import Shard

_SHARD = {
    "hidden_states": Numbers("float32", "L + 1", "m", "d", finite=False),
    "attention_outputs": Numbers("float32", "blocks with known parts", "m", "d", finite=False),
}


def shard_ranges(sentences: int, per_shard: int) -> Iterator[tuple[int, int, int]]:
    """(number, first, last + 1) of the shards of a split."""
    for number, first in enumerate(range(0, sentences, per_shard)):
        yield number, first, min(first + per_shard, sentences)


def shard_files(shard: Shard, number: int) -> dict[str, Any]:
    """The file (name -> value) of one shard."""
    return {f"{number:05d}.pickle": vars(shard)}


@dataclass(frozen=True)
class HiddenStates:
    """The recorded hidden states of one split, read shard by shard."""

    folder: Path
    card: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, *, made_by: str | None = None) -> HiddenStates:
        """The states of a folder, or an `InputError` if they are not whole; made_by: what records them, named there."""
        card = read_card(folder, made_by=made_by)
        claimed = 4 * card["vectors"] * (card["layers"] + 1) * card["width"]
        held = sum((folder / name).stat().st_size for name in card["files"] if (folder / name).is_file())
        missing = [name for name in card["files"] if not (folder / name).is_file()]
        if card["positions"] == "sampled" and card["vectors"] != card["sentences"]:
            raise InputError(f"{folder} has not one vector a sentence, as its card says; {again(made_by)}")
        if missing or claimed > held:  # before memory is taken for what is not there
            what = f"{folder / missing[0]} does not exist" if missing else f"{folder} holds less than its card says"
            raise InputError(f"{what}; {again(made_by)}")
        return cls(folder, card)

    def __repr__(self) -> str:
        return f"HiddenStates({len(self):,} vectors of layers 0..{self.layers}, width {self.width}, in {self.folder})"

    @property
    def layers(self) -> int:
        """L: the layers are 0..L."""
        return self.card["layers"]

    @property
    def width(self) -> int:
        return self.card["width"]

    def __len__(self) -> int:
        """The vectors recorded of each layer: as many as sentences, or as tokens."""
        return self.card["vectors"]

    @property
    def fingerprint(self) -> str:
        return artifacts.fingerprint(self.card)

    def __iter__(self) -> Iterator[Shard]:
        """The shards, in the order of the sentences; a damaged one raises `InputError`."""
        left, mend = len(self), "record the states anew"
        for name, sha256 in self.card["files"].items():
            path = self.folder / name
            value = artifacts.load(path, sha256=sha256)
            sizes = {"L + 1": self.layers + 1, "d": self.width}
            check(value, _SHARD, path, mend, sizes)
            left -= sizes["m"]
            if left < 0:
                break
            yield Shard(**{key: value[key] for key in _SHARD})
        if left:
            raise InputError(f"{self.folder} does not hold the {len(self):,} vectors of its card; {mend}")

    def layers_of(self, device: torch.device) -> Iterator[Tensor]:
        """The hidden states (L + 1, m, d) of one shard after the other, on a device."""
        for shard in self:
            yield shard.hidden_states.to(device)

    def layer(self, number: int, device: torch.device) -> Tensor:
        """The hidden states (n, d) of one layer, on a device."""
        return torch.cat([shard.hidden_states[number] for shard in self]).to(device)

    def stack(self) -> Tensor:
        """All hidden states at once, (L + 1, n, d)."""
        states = torch.empty(self.layers + 1, len(self), self.width)
        first = 0
        for shard in self:
            last = first + shard.hidden_states.shape[1]
            states[:, first:last] = shard.hidden_states
            first = last
        return states

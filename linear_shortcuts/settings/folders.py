"""Where the artifacts of the pipeline lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "validation")


def sentences_file(corpus: str) -> Path:
    """Where the sentences of a corpus lie, whatever the model."""
    return Path("data") / "sentences" / f"{corpus}.pickle"


@dataclass(frozen=True)
class Folders:
    """Where the artifacts of one model on one corpus lie. Every path of the pipeline is written here, once."""

    model: str
    corpus: str

    def tokens(self, split: str) -> Path:
        return self._data / f"tokens_{split}.pickle"

    def hidden(self, split: str) -> Path:
        return self._data / f"hidden_{split}"

    @property
    def layer_maps(self) -> Path:
        return Path("linreg") / self.model / self.corpus / "layers"

    @property
    def submodule_maps(self) -> Path:
        return Path("linreg") / self.model / self.corpus / "submodules"

    @property
    def shortcuts(self) -> Path:
        return Path("linreg") / self.model / self.corpus / "shortcuts"

    @property
    def r2(self) -> Path:
        return self._data / "r2.pickle"

    @property
    def fixed_exits(self) -> Path:
        return self._data / "fixed_exits.pickle"

    @property
    def early_exits(self) -> Path:
        return self._data / "early_exits.pickle"

    @property
    def schedules(self) -> Path:
        return self._data / "schedules.pickle"

    def transfer(self, other: str) -> Path:
        return self._data / f"transfer_{other}.pickle"

    def transfer_plots(self, other: str) -> Path:
        return self.plots / f"transfer_{other}"

    @property
    def plots(self) -> Path:
        return Path("plots") / self.model / self.corpus

    @property
    def metrics(self) -> Path:
        return Path("metrics") / self.model / "metrics.json"

    @property
    def _data(self) -> Path:
        return Path("data") / self.model / self.corpus

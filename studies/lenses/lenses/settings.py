"""What the study's `params.yaml` sets, and where its results lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import (
    Bootstrap,
    Folders as Pipeline,
    Model,
    at_least,
    between,
    known,
    read_params,
    read_settings,
)

PARAMS = Path("studies/lenses/params.yaml")
STUDY = PARAMS.parent
REGISTRY = Path("params.yaml")  # the models and their states are those of the project


Group = Literal["closed_forms", "future", "jacobian", "tuned"]  # of lenses, by the stage that fits them


@dataclass(frozen=True, kw_only=True)
class Rows:
    length: int = at_least(2)
    skipped: int = at_least(0)

    @property
    def positions(self) -> slice:
        """Of a row, those that count, as sources and as targets alike: not the first ones, and not the last."""
        return slice(self.skipped, self.length - 1)


@dataclass(frozen=True, kw_only=True)
class Future:
    rows: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class Jacobian:
    rows: int = at_least(1)
    targets: tuple[Literal["final", "penultimate"], ...]
    precision: Literal["float32", "tf32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    tokens: int = at_least(0)
    batch: int = at_least(1)
    learning_rate: float = at_least(0)
    held_out: float = between(0.01, 0.5)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    corpus: str | None
    groups: tuple[Group, ...]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole of the study's `params.yaml`."""

    models: tuple[str, ...]
    corpus: str
    groups: tuple[Group, ...]
    transfer: Transfer
    seed: int = at_least(0)
    every: int = at_least(1)
    sentences: int = at_least(10)
    ranks: tuple[int, ...]
    penalties: tuple[float, ...]
    rows: Rows
    future: Future
    jacobian: Jacobian
    tuned: Tuned
    evaluations: str | None
    bootstrap: Bootstrap

    def __post_init__(self) -> None:
        for key in ("models", "groups", "ranks", "penalties"):
            values = getattr(self, key)
            if not values or len(set(values)) < len(values):
                raise InputError(f"{key} is {list(values)}; list at least one, each once")
        if min(self.ranks) < 1 or min(self.penalties) <= 0:
            raise InputError("ranks and penalties must be above 0")
        if self.rows.skipped > self.rows.length - 2:
            raise InputError(
                f"rows.skipped is {self.rows.skipped}, which leaves nothing of rows.length {self.rows.length}; lower it"
            )
        if self.transfer.corpus == self.corpus:
            raise InputError(f"transfer.corpus is {self.corpus}, as corpus is; name another one, or null")

    def layers(self, last: int) -> list[int]:
        """The layers that are read, of those below `last`: every so many of them, and the last but one."""
        return sorted({*range(0, last, self.every), last - 1})

    def registered(self, model: str) -> Model:
        """A model's entry in the project's registry."""
        registry = read_params(REGISTRY).registry
        known("model", model, registry, f"the registry of {REGISTRY}")
        return registry[model]


def read(path: Path = PARAMS) -> Settings:
    """The study's settings; every problem is an `InputError` of one line."""
    return read_settings(path, Settings)


@dataclass(frozen=True)
class Folders:
    """Where the results for one model on one corpus lie. Every path of the study is written here, once."""

    model: str
    corpus: str

    @property
    def item(self) -> str:
        """What partial work for this model is kept under."""
        return f"{self.model}.{self.corpus}"

    @property
    def pipeline(self) -> Pipeline:
        """Where the main pipeline has the states and maps of this model."""
        return Pipeline(self.model, self.corpus)

    def fitted(self, group: str) -> Path:
        """The folder of the lenses that one stage fits; each kind is a folder in it."""
        return self._data / group

    @property
    def agreement(self) -> Path:
        return self._data / "agreement.pickle"

    @property
    def latent(self) -> Path:
        return self._data / "latent.pickle"

    @property
    def _data(self) -> Path:
        return STUDY / "data" / self.model / self.corpus


@dataclass(frozen=True)
class Report:
    """Where what is told of a run lies: beside the study's own settings, or in a folder named after others."""

    params: Path = PARAMS

    @property
    def _folder(self) -> Path:
        return STUDY if self.params.resolve() == PARAMS.resolve() else STUDY / "runs" / self.params.stem

    @property
    def tables(self) -> Path:
        return self._folder / "tables"

    @property
    def plots(self) -> Path:
        return self._folder / "plots"

    @property
    def metrics(self) -> Path:
        return self._folder / "metrics" / "metrics.json"


DRAWN_ANEW = STUDY / "data" / "random"  # checkpoints of random weights, each in a folder of its model's name
README, FIGURES = STUDY / "README.md", STUDY / "figures"
KEPT = STUDY / "results"  # what the page is made from: MODEL/CORPUS.json

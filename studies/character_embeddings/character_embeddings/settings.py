"""What the study's `params.yaml` sets, and where its results lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import at_least, between, known, read_settings

STUDY = Path("studies/character_embeddings")
PARAMS = STUDY / "params.yaml"
SEED = 2**32 - 1  # the largest that NumPy's older generator and scikit-learn accept


@dataclass(frozen=True, kw_only=True)
class GeneratedNames:
    """Names made up from syllables."""

    source: Literal["generated"]
    number: int = between(2, 20_000)
    seed: int = between(0, SEED)


@dataclass(frozen=True, kw_only=True)
class FileNames:
    """The user's own names: CSV files or plain lists, the name in the first column."""

    source: Literal["file"]
    paths: tuple[str, ...] = field(metadata={"nonempty": True})
    header: bool
    sample: float = between(0.0001, 1)
    seed: int = between(0, SEED)


@dataclass(frozen=True, kw_only=True)
class Network:
    embedding: int = at_least(1)
    width: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class Training:
    epochs: int = at_least(1)
    batch: int = at_least(1)
    learning_rate: float = between(1e-8, 10)
    max_learning_rate: float | None = between(1e-8, 10)
    weight_decay: float = between(0, 1)
    decay: Literal["all", "weights-only"]
    running_share: float = between(0, 1)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    names: int = between(1, 10_000)
    min_length: int = at_least(1)
    max_length: int = at_least(1)

    def __post_init__(self) -> None:
        if self.min_length > self.max_length:
            raise InputError(
                f"min_length is {self.min_length} but max_length is {self.max_length}; the smaller comes first"
            )


@dataclass(frozen=True, kw_only=True)
class Tsne:
    perplexity: float = between(1, 1000)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    block_sizes: tuple[int, ...] = field(metadata={"nonempty": True})
    embeddings: tuple[int, ...] = field(metadata={"nonempty": True})
    seeds: tuple[int, ...] = field(metadata={"nonempty": True})

    def __post_init__(self) -> None:
        for key, least in (("block_sizes", 1), ("embeddings", 1), ("seeds", 0)):
            values = getattr(self, key)
            if min(values) < least or len(set(values)) < len(values):
                raise InputError(f"{key} is {list(values)}; list different numbers of at least {least}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole of the study's `params.yaml`."""

    names: str
    seed: int = between(0, SEED)
    train_share: float = between(0.0001, 0.9999)
    block_size: int = between(1, 100)
    orders: tuple[int, ...] = field(metadata={"nonempty": True})
    alpha: float = between(1e-9, 1000)
    network: Network
    training: Training
    sampling: Sampling
    tsne: Tsne
    sweep: Sweep
    sources: dict[str, GeneratedNames | FileNames]

    def __post_init__(self) -> None:
        known("names", self.names, self.sources, "sources")
        # A table of order n has V**n entries; with 30 characters, order 5 takes 200 MB.
        if not set(self.orders) <= {2, 3, 4, 5} or len(set(self.orders)) < len(self.orders):
            raise InputError(f"orders is {list(self.orders)}; list different numbers from 2 to 5")

    @property
    def chosen_source(self) -> GeneratedNames | FileNames:
        return self.sources[self.names]


def read(path: Path = PARAMS) -> Settings:
    """The study's settings; every problem is an `InputError` of one line."""
    return read_settings(path, Settings)


@dataclass(frozen=True)
class Folders:
    """Where the results for one source of names lie. Every path of the study is written here, once."""

    source: str

    @property
    def names(self) -> Path:
        return self._data / "names.pickle"

    @property
    def vocabulary(self) -> Path:
        return self._data / "vocabulary.json"

    @property
    def counts(self) -> Path:
        return self._data / "counts"

    @property
    def model(self) -> Path:
        return self._data / "model"

    @property
    def new_names(self) -> Path:
        return self._data / "new_names.txt"

    @property
    def maps(self) -> Path:
        return self._data / "maps"

    def sweep(self, block_size: int, embedding: int) -> Path:
        return self._data / "sweep" / f"block_{block_size}_embedding_{embedding}.json"

    @property
    def tables(self) -> Path:
        return STUDY / "tables" / self.source

    @property
    def plots(self) -> Path:
        return STUDY / "plots" / self.source

    @property
    def metrics(self) -> Path:
        return STUDY / "metrics" / self.source / "metrics.json"

    @property
    def _data(self) -> Path:
        return STUDY / "data" / self.source

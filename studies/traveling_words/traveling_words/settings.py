"""What the study's `params.yaml` sets, and where its results lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from linear_shortcuts.files import InputError
from linear_shortcuts.settings import Model, at_least, between, known, read_params, read_settings

PARAMS = Path("studies/traveling_words/params.yaml")
NOUNS = PARAMS.with_name("nouns.txt")  # a hundred common ones of English
PHRASES = PARAMS.with_name("phrases.yaml")
FOLLOWED = PARAMS.with_name("metrics") / "phrases.json"
README = PARAMS.with_name("README.md")
REGISTRY = Path("params.yaml")  # the models are those of the project


@dataclass(frozen=True, kw_only=True)
class Singular:
    pairs: int = at_least(1)
    table_words: int = at_least(1)


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    phrase: str
    follow: int
    projection: Literal["auto", "umap", "pca"]
    rows: int = at_least(20)
    neighbors: int = between(2, 200)
    min_distance: float = between(0, 1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole of the study's `params.yaml`."""

    model: str
    seed: int = between(0, 2**32 - 1)  # what umap-learn accepts
    blocks: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    k: int = between(1, 1000)
    distance: int = at_least(0)
    nouns: str
    singular: Singular
    trajectory: Trajectory

    def __post_init__(self) -> None:
        for key in ("blocks", "heads"):
            chosen = getattr(self, key)
            if chosen is not None and not chosen:
                raise InputError(f"{key} is []; list at least one, or null for the default")
            if chosen is not None and (len(set(chosen)) < len(chosen) or min(chosen) < 0):
                raise InputError(f"{key} is {list(chosen)}; list different numbers from 0")
        if self.singular.table_words > self.k:
            raise InputError(
                f"singular.table_words is {self.singular.table_words} but only k = {self.k} tokens are found; lower it"
            )

    def chosen_blocks(self, number: int) -> list[int]:
        """The blocks to probe, of a model with `number` of them; by default the first, the middle and the last."""
        if self.blocks is None:
            return sorted({0, (number - 1) // 2, number - 1})
        return _within("blocks", self.blocks, number)

    def chosen_heads(self, number: int) -> list[int]:
        """The heads to probe, of a block with `number` of them; by default all."""
        return list(range(number)) if self.heads is None else _within("heads", self.heads, number)

    def registered(self) -> Model:
        """The model's entry in the project's registry."""
        registry = read_params(REGISTRY).registry
        known("model", self.model, registry, f"the registry of {REGISTRY}")
        return registry[self.model]


def _within(key: str, values: tuple[int, ...], number: int) -> list[int]:
    for value in values:
        if value >= number:
            raise InputError(f"{key} names {value}, but this model has {key} 0 to {number - 1}")
    return sorted(values)


@dataclass(frozen=True, kw_only=True)
class Phrases:
    """The whole of `phrases.yaml`: what is followed in which model."""

    phrases: dict[str, tuple[str, ...]]


def read(path: Path = PARAMS) -> Settings:
    """The study's settings; every problem is an `InputError` of one line."""
    return read_settings(path, Settings)


@dataclass(frozen=True)
class Folders:
    """Where the results for one model lie. Every path of the study is written here, once."""

    model: str

    @property
    def embeddings(self) -> Path:
        return self._data / "embeddings.pickle"

    @property
    def nouns(self) -> Path:
        return self._data / "nouns"

    @property
    def heads(self) -> Path:
        return self._data / "heads"

    @property
    def trajectory(self) -> Path:
        return self._data / "trajectory.pickle"

    @property
    def tables(self) -> Path:
        return STUDY / "tables" / self.model

    @property
    def plots(self) -> Path:
        return STUDY / "plots" / self.model

    @property
    def metrics(self) -> Path:
        return STUDY / "metrics" / self.model / "metrics.json"

    @property
    def distances(self) -> Path:
        return self.metrics.with_name("distances.json")

    @property
    def _data(self) -> Path:
        return STUDY / "data" / self.model


STUDY = PARAMS.parent

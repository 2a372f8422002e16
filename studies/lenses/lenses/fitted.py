"""The lenses on disk: what their cards record of a fit, and all of them together, controls among them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lenses.settings import Folders
from linear_shortcuts.files import InputError, atomic_folder, derive
from linear_shortcuts.lenses import LensSet
from linear_shortcuts.lenses.closed_form import Part, Regression
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.lenses.lens_set import lens_card
from linear_shortcuts.models import LanguageModel

# What fits them, by the group of which each kind is a folder.
MADE_BY = {
    "closed_forms": "studies/lenses/01_fit_closed_forms.py",
    "future": "studies/lenses/02_fit_future.py",
    "jacobian": "studies/lenses/03_fit_jacobian.py",
    "tuned": "studies/lenses/04_fit_tuned.py",
}
# Fits of `affine` on other rows, or on targets that belong to other rows, and one that was not fitted.
HALVES = ("affine_first", "affine_second")
SHUFFLED, RANDOM = "affine_shuffled", "affine_random"
CONTROLS = (*HALVES, SHUFFLED, RANDOM)
VARIANTS = ("all", "first", "second", "shuffled")


def card(model: LanguageModel | Mapping[str, Any], name: str, seconds: float, **fit: Any) -> dict[str, Any]:
    """The card of a lens: fitted on what, how, in how many seconds, and the most memory the process had (GiB)."""
    unit = 2**30 if sys.platform == "darwin" else 2**20  # in bytes there, in KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return lens_card(model, name, {**fit, "seconds": round(seconds, 1), "peak_gib": round(peak, 1)})


def save(folder: Path, lenses: Mapping[str, LensSet]) -> None:
    """Write every lens to a folder of its name in `folder`, replacing what was there."""
    with atomic_folder(folder) as coming:
        for name, own in lenses.items():
            own.save(coming / name)


def load(folders: Folders, groups: Iterable[str], model: LanguageModel) -> dict[str, LensSet]:
    """All lenses of some groups by name, `id` first; `InputError` for a group not fitted, or for another model."""
    found = {"id": LensSet.identity(model)}
    for group in groups:
        folder = folders.fitted(group)
        if not folder.is_dir():
            raise InputError(f"{folder} does not exist; run {MADE_BY[group]} first")
        for path in sorted(folder.iterdir()):
            name = "jacobian_penultimate" if path.name == "penultimate" else path.name
            name = "jacobian" if name == "final" else name
            found[name] = LensSet.load(path, model, made_by=MADE_BY[group])
    return found


class Parts:
    """The chosen sources and the last layer of recorded states, shard by shard, as one variant of the fit sees them."""

    def __init__(self, states: Iterable[Tensor], sources: list[int], variant: str, seed: int) -> None:
        self.states, self.sources, self.variant, self.seed = states, sources, variant, seed

    def __iter__(self) -> Iterator[Part]:
        for number, shard in enumerate(self.states):
            half = shard.shape[1] // 2
            rows = {"first": slice(None, half), "second": slice(half, None)}.get(self.variant, slice(None))
            sources, target = shard[self.sources][:, rows], shard[-1][rows]
            if self.variant == "shuffled":
                generator = torch.Generator().manual_seed(derive(self.seed, "shuffled", number) % 2**63)
                target = target[torch.randperm(len(target), generator=generator)]
            yield sources, target


def random_lens(affine: Lens, regression: Regression, seed: int) -> Lens:
    """A lens of the norm of `affine` and of random direction, right on average."""
    [matrix] = affine.factors
    generator = torch.Generator().manual_seed(derive(seed, "random lens", affine.source) % 2**63)
    drawn = torch.randn(matrix.shape, generator=generator, dtype=torch.float64)
    drawn *= matrix.double().norm() / drawn.norm()
    return Lens(RANDOM, affine.source, affine.target, (drawn.float(),), regression.bias(drawn).float())

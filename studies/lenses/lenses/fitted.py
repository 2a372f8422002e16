"""The lenses on disk: what their cards record of a fit, and all of them together, controls among them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import Tensor

from lenses.settings import Folders, Settings
from linear_shortcuts.files import InputError, atomic_folder, derive
from linear_shortcuts.lenses import LensSet, closed_form, jacobian
from linear_shortcuts.lenses.closed_form import Part, Regression
from linear_shortcuts.lenses.lens import Lens
from linear_shortcuts.lenses.lens_set import lens_card
from linear_shortcuts.maps import fitting
from linear_shortcuts.models import LanguageModel
from linear_shortcuts.states.shards import HiddenStates

# What fits them, by the group of which each kind is a folder.
MADE_BY = {
    "closed_forms": "studies/lenses/01_fit_closed_forms.py",
    "future": "studies/lenses/02_fit_future.py",
    "jacobian": "studies/lenses/03_fit_jacobian.py",
    "tuned": "studies/lenses/04_fit_tuned.py",
}
# Fits of a lens on either half of its text, `affine` on targets that belong to other rows, and one that was not fitted.
HALVES = {lens: (f"{lens}_first", f"{lens}_second") for lens in ("affine", "jacobian")}
SHUFFLED, RANDOM = "affine_shuffled", "affine_random"
CONTROLS = (*HALVES["affine"], *HALVES["jacobian"], SHUFFLED, RANDOM)
FINAL, PENULTIMATE = "final", "penultimate"  # folders of the Jacobian lens to the last layer, and to the one before
MAT = "mat"
VARIANTS = (MAT, "all", "first", "second", "shuffled")


def spent(began: float) -> dict[str, float]:
    """What a part of a fit took since `began`, a `process_time`: seconds of processor, and the most memory so far."""
    unit = 2**30 if sys.platform == "darwin" else 2**20  # in bytes there, in KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"seconds": process_time() - began, "peak_gib": peak}


def card(
    model: LanguageModel | Mapping[str, Any], name: str, parts: Iterable[Mapping[str, float]], **fit: Any
) -> dict[str, Any]:
    """The card of a lens: fitted on what, how, and what its parts took, as `spent` has it: all seconds, most memory."""
    seconds, peaks = zip(*((part["seconds"], part["peak_gib"]) for part in parts), strict=True)
    return lens_card(model, name, {**fit, "seconds": round(sum(seconds), 1), "peak_gib": round(max(peaks), 1)})


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
            own = LensSet.load(path, model, made_by=MADE_BY[group])
            found[{FINAL: "jacobian", PENULTIMATE: "jacobian_penultimate"}.get(path.name, path.name)] = own
            if path.name == PENULTIMATE:  # a state of its own target moves itself and nothing else
                itself = {own.target: Lens(own.name, own.target, own.target, card=own.card)}
                found["jacobian_penultimate"] = LensSet({**own, **itself}, own.card)
    return found


def load_all(settings: Settings, folders: Folders, model: LanguageModel) -> dict[str, LensSet]:
    """Those of the settings' groups, and those fitted on another corpus, `NAME@CORPUS`, without controls."""
    other = settings.transfer.corpus
    if other is None:
        return load(folders, settings.groups, model)
    elsewhere = load(Folders(folders.model, other), settings.transfer.groups, model)
    named = {f"{name}@{other}": own for name, own in elsewhere.items() if name not in ("id", *CONTROLS)}
    return load(folders, settings.groups, model) | named


class Anew(Iterable[Part]):
    """What a function makes of each of some names, made anew whenever it is iterated: they need not fit in memory."""

    def __init__(self, make: Callable[[str], Part], names: Iterable[str]) -> None:
        self.make, self.names = make, names

    def __iter__(self) -> Iterator[Part]:
        return map(self.make, self.names)


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


def fit(variant: str, states: HiddenStates, sources: list[int], settings: Settings) -> dict[str, dict[str, Tensor]]:
    """The tensors of all lenses of one variant of the fit, by name: of `mat`, of `affine` alone, or of all others."""
    last = states.layers
    if variant == MAT:
        moments = fitting.layer_moments(sources, states, last, "last", torch.device("cpu"))
        matrices = ((source, moments.pop(source).solve().matrices[0].float()) for source in sources)
        found = [Lens(MAT, source, last, (matrix,)) for source, matrix in matrices]
    else:
        parts = Parts([shard.hidden_states for shard in states], sources, variant, settings.seed)
        regressions = zip(sources, closed_form.regressions(parts), strict=True)
        found = [lens for i, own in regressions for lens in lenses_of(variant, i, last, own, settings).values()]
    made: dict[str, dict[str, Tensor]] = {}
    for lens in found:
        made.setdefault(lens.name, {}).update(lens.tensors)
    return made


def lenses_of(variant: str, source: int, last: int, regression: Regression, settings: Settings) -> dict[str, Lens]:
    """Those of one source by one variant of the fit: all of them and `affine_random`, or that of `affine` alone."""
    made = closed_form.lenses(source, last, regression, settings.ranks, settings.penalties)
    if variant != "all":
        return {f"affine_{variant}": replace(made["affine"], name=f"affine_{variant}")}
    return {**made, RANDOM: random_lens(made["affine"], regression, settings.seed)}


def jacobians(rows: Sequence[Tensor], kind: str, target: int, card: Mapping[str, Any]) -> dict[str, LensSet]:
    """The lens from all rows by its folder's name, `kind`; of the one to the last layer also those from either half."""
    half = len(rows) // 2
    parts = {kind: rows}
    if kind == FINAL and half:
        parts |= dict(zip(HALVES["jacobian"], (rows[:half], rows[half:]), strict=True))
    return {name: jacobian.lens_set(own, "jacobian", target, card) for name, own in parts.items()}


def random_lens(affine: Lens, regression: Regression, seed: int) -> Lens:
    """A lens of the norm of `affine` and of random direction, right on average."""
    [matrix] = affine.factors
    generator = torch.Generator().manual_seed(derive(seed, "random lens", affine.source) % 2**63)
    drawn = torch.randn(matrix.shape, generator=generator, dtype=torch.float64)
    drawn *= matrix.double().norm() / drawn.norm()
    return Lens(RANDOM, affine.source, affine.target, (drawn.float(),), regression.bias(drawn).float())

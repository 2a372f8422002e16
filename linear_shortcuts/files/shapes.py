"""What a file must hold, written down once: its shape, and the first place where a value departs from it.

A shape is a type (`object` is any), a list of one shape, a mapping of names to shapes (others may stand beside them), a
tuple of shapes of which one must fit, None, or one of the classes below.

    check(value, {"records": [{"layer": Whole(0), "kl": Numbers("float32", "n")}]}, path, "run the stage again")
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from linear_shortcuts.files import artifacts
from linear_shortcuts.files.errors import InputError, again, shown

Shape = Any
LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Whole:
    """A whole number within limits."""

    least: int = 0
    most: int = LARGEST


@dataclass(frozen=True)
class Real:
    """A finite number, at least `least`."""

    least: float = -math.inf


@dataclass(frozen=True)
class Each:
    """A mapping in which every value has one shape, and every key another."""

    value: Shape
    key: Shape = str
    empty: bool = True


@dataclass(frozen=True)
class Both:
    """What has two shapes at once."""

    first: Shape
    second: Shape


@dataclass(frozen=True)
class Json:
    """What JSON can hold: finite numbers, text, and lists and mappings of such, not deep in each other."""

    depth: int = 20


@dataclass(frozen=True)
class PairOf:
    """A tuple of two whole numbers, the smaller first, such as two layers."""

    most: int


class Numbers:
    """A tensor: its dtype, and its sizes as numbers, or names that mean one number throughout.

    finite: whether its numbers must be. least: the smallest there may be.
    """

    def __init__(self, dtype: str, *sizes: int | str, finite: bool = True, least: float = -math.inf) -> None:
        self.dtype, self.sizes, self.finite, self.least = dtype, sizes, finite, least


def check(value: Any, shape: Shape, what: str | Path, mend: str, sizes: dict[str, int] | None = None) -> None:
    """Raise `InputError` that names the first place in `value` that has not the shape.

    sizes: what the names of sizes mean, where that is known; those that are found are added.
    """
    if problem := _departure(value, shape, "", {} if sizes is None else sizes):
        raise InputError(f"{what} {problem}; {mend}")


def load(path: str | Path, shape: Shape, *, made_by: str | None = None) -> Any:
    """Load a pickle that must hold a value of this shape; see `artifacts.load`."""
    value = artifacts.load(path, made_by=made_by)
    check(value, shape, path, again(made_by))
    return value


def _departure(value: Any, shape: Shape, where: str, sizes: dict[str, int]) -> str | None:
    """What is wrong with a value, as the end of a sentence about the file; None if nothing is."""
    if isinstance(shape, tuple):
        problems = [_departure(value, option, where, sizes) for option in shape]
        if None in problems:
            return None
        return next(p for p, option in zip(problems, shape, strict=True) if option is not None)  # what it is, if it is
    if isinstance(shape, (dict, Each)):
        return _mapping(value, shape, where, sizes)
    if isinstance(shape, list):
        if type(value) is not list:
            return _wrong(value, "a list", where)
        return next(
            (p for n, item in enumerate(value) if (p := _departure(item, shape[0], f"{where}[{n}]", sizes))), None
        )
    if isinstance(shape, Both):
        return _departure(value, shape.first, where, sizes) or _departure(value, shape.second, where, sizes)
    if isinstance(shape, Json):
        return None if _is_json(value, shape.depth) else f"has what JSON cannot hold, or too deep, in {where or 'it'}"
    if isinstance(shape, Numbers):
        return _tensor(value, shape, where, sizes)
    if isinstance(shape, Whole):
        fits = type(value) is int and shape.least <= value <= shape.most
        return None if fits else _wrong(value, f"a whole number from {shape.least:,} to {shape.most:,}", where)
    if isinstance(shape, Real):
        fits = type(value) in (int, float) and shape.least <= value < math.inf
        return None if fits else _wrong(value, "a number" + f" from {shape.least:g}" * (shape.least > -math.inf), where)
    if isinstance(shape, PairOf):
        fits = (
            type(value) is tuple and [type(n) for n in value] == [int, int] and 0 <= value[0] < value[1] <= shape.most
        )
        return None if fits else _wrong(value, f"two whole numbers up to {shape.most}, the smaller first", where)
    if shape is None:
        return None if value is None else _wrong(value, "nothing", where)
    return None if shape is object or type(value) is shape else _wrong(value, _NAMES[shape], where)


def _is_json(value: Any, depth: int) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is dict:
        return depth > 0 and all(type(key) is str and _is_json(item, depth - 1) for key, item in value.items())
    if type(value) is list:
        return depth > 0 and all(_is_json(item, depth - 1) for item in value)
    return value is None or type(value) in (str, bool, int)


_NAMES = {str: "text", bool: "true or false", dict: "a mapping"}


def _mapping(value: Any, shape: dict[str, Shape] | Each, where: str, sizes: dict[str, int]) -> str | None:
    if type(value) is not dict:
        return _wrong(value, "a mapping", where)
    if isinstance(shape, dict):
        if missing := [name for name in shape if name not in value]:
            return f"lacks {' and '.join(f'{where}.{name}' if where else name for name in missing)}"
        inside = [(name, value[name], kind) for name, kind in shape.items()]
    else:
        if not (value or shape.empty):
            return _wrong(value, "a mapping that is not empty", where)
        if problem := next(
            (p for key in value if (p := _departure(key, shape.key, f"a key of {where or 'it'}", sizes))), None
        ):
            return problem
        inside = [(name, entry, shape.value) for name, entry in value.items()]
    for name, entry, kind in inside:
        if problem := _departure(entry, kind, f"{where}.{shown(name)}" if where else shown(name), sizes):
            return problem
    return None


def _tensor(value: Any, shape: Numbers, where: str, sizes: dict[str, int]) -> str | None:
    import torch

    wanted = f"a tensor of {shape.dtype} of sizes ({', '.join(map(str, shape.sizes))})"
    if not isinstance(value, torch.Tensor):
        return _wrong(value, wanted, where)
    fits = value.dtype == getattr(torch, shape.dtype) and value.ndim == len(shape.sizes)
    for size, given in zip(shape.sizes, value.shape, strict=False):
        fits = fits and given == (sizes.setdefault(size, given) if isinstance(size, str) else size)
    if not fits:
        known = "".join(
            f", {name} = {sizes[name]:,}" for name in shape.sizes if isinstance(name, str) and name in sizes
        )
        kind = f"a tensor of {str(value.dtype).removeprefix('torch.')} of sizes {tuple(value.shape)}"
        return f"has {where or 'a value'} that is {kind}; it must be {wanted}{known}"
    if shape.finite and value.is_floating_point() and not bool(torch.isfinite(value).all()):
        return f"has numbers that are not finite in {where or 'it'}"
    if shape.least > -math.inf and value.numel() and float(value.min()) < shape.least:
        return f"has {value.min().item():g} in {where or 'it'}; the smallest there can be is {shape.least:g}"
    return None


def _wrong(value: Any, allowed: str, where: str) -> str:
    plain = value is None or type(value) in (bool, int, float, str)
    given = (
        (shown(value) if type(value) is not int or abs(value) <= LARGEST else "a huge number")
        if plain
        else (f"a {type(value).__name__}")
    )
    return f"has {where or 'a value'} {given}, which must be {allowed}" if where else f"holds {given}, not {allowed}"

"""Files between the stages: byte-deterministic, written atomically, loaded without running anything.

A pickle written here begins with a mark and ends in a checksum. A plain `pickle.load` opens it: the mark is a text that
the pickle itself throws away, and what stands behind the end of a pickle is not read. One from elsewhere, with neither,
opens with `load`, safely.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import numpy as np

from linear_shortcuts.files.atomic import atomic_file
from linear_shortcuts.files.errors import InputError, again
from linear_shortcuts.files.pickle_machine import ARRAY_KINDS, is_key
from linear_shortcuts.files.unpickling import DEPTH, unpickle

PROTOCOL = 4  # fixed, so that a newer Python writes the same bytes
_MARK = b"\x80\x04\x8c\x10linear_shortcuts0"  # begins every file: protocol 4, a text, pushed and popped
_SEAL = b"\nsha256 "  # and the digest of all bytes before it, in hexadecimal, and a line break, end every file
_SEAL_SIZE = len(_SEAL) + 64 + 1


class _Pickler(pickle.Pickler):
    """Pickles values, never identities, so that equal data gives equal bytes in every process."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, protocol=PROTOCOL)
        # Memoisation depends on which objects happen to be the same object (an interned string, a tensor loaded
        # from a file), hence differs between a resumed and an uninterrupted run. Our data are trees; do without.
        self.fast = True

    def reducer_override(self, value: Any) -> Any:
        import torch

        if isinstance(value, torch.Tensor):
            # Not np.ascontiguousarray, which makes a number with no dimension into a row of one.
            return torch.from_numpy, (value.detach().cpu().resolve_conj().resolve_neg().contiguous().numpy(),)
        if type(value) is np.ndarray and not value.flags.c_contiguous:
            return np.ascontiguousarray(value).__reduce__()  # else the memory layout would show in the bytes
        return NotImplemented


def _check_loadable(value: Any, depth: int = 0) -> None:
    """Raise `TypeError` for what `load` would refuse. The pickler cannot: it never asks us about sets."""
    import torch

    if depth == DEPTH:
        raise TypeError(f"containers in {DEPTH} others are not artifacts; save them side by side")
    if type(value) in (list, tuple):
        for item in value:
            _check_loadable(item, depth + 1)
    elif type(value) in (dict, OrderedDict):
        for key, item in value.items():
            _check_loadable(key, depth + 1)
            if not is_key(key):
                raise TypeError(f"{key!r} cannot be a key; use text, a number or up to three of text and small numbers")
            _check_loadable(item, depth + 1)
    elif isinstance(value, (set, frozenset)):
        raise TypeError("a set has no order, hence no reproducible bytes; save a sorted list")
    elif type(value) is np.ndarray or isinstance(value, np.generic):
        if value.dtype.hasobject:
            raise TypeError("arrays of Python objects are not artifacts; save a list")
        if value.dtype.kind not in ARRAY_KINDS:
            raise TypeError(f"arrays of dtype {value.dtype} are not artifacts; save numbers, truth values or text")
    elif type(value) not in (type(None), bool, int, float, str, bytes) and not isinstance(value, torch.Tensor):
        raise TypeError(f"a {type(value).__name__} is not an artifact; save tensors, arrays and plain containers")


def save(path: str | os.PathLike[str], value: Any) -> str:
    """Pickle tensors, arrays and plain containers to `path`; return the SHA-256 of the bytes.

    The same value gives the same bytes in every process; tensors come back from `pickle.load` as `torch.Tensor`.
    """
    _check_loadable(value)
    with atomic_file(path) as file:
        hashing = _HashingFile(file)
        hashing.write(_MARK)
        _Pickler(hashing).dump(value)  # type: ignore[arg-type]
        hashing.write(_seal(hashing.digest))
    return hashing.digest.hexdigest()


def _seal(digest: Any) -> bytes:
    return _SEAL + digest.hexdigest().encode() + b"\n"


class _HashingFile:
    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)


def save_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON with keys in the given order."""
    with atomic_file(path) as file:
        file.write((json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def load(path: str | os.PathLike[str], *, made_by: str | None = None, sha256: str | None = None) -> Any:
    """Load a pickle (or a `torch.save` file) of tensors, arrays and plain containers.

    made_by: the program that writes this file, named in the error when the file is missing.
    sha256: the checksum the bytes must have.

    Raises `InputError` that names the file, and the forbidden global if there is one. Nothing in the file is ever
    called except the rebuilding of tensors and arrays.
    """
    path = Path(path)
    if not path.is_file():
        mend = f"; run {made_by} first" if made_by else ""
        raise InputError(f"{path} does not exist{mend}")
    try:
        ours, seal = _read_ends(path)
        size = path.stat().st_size - len(seal)
        if sha256 is not None:
            damaged = file_sha256(path) != sha256
        else:
            damaged = seal != _seal(_digest(path, size)) if seal else ours
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    if damaged:
        raise InputError(f"{path} is damaged: its bytes are not those that were written; make it anew")
    return unpickle(path, size)


def load_mapping(path: str | os.PathLike[str], *keys: str, made_by: str | None = None) -> dict[str, Any]:
    """Load a pickle that must hold a mapping with these keys; see `load`."""
    value = load(path, made_by=made_by)
    missing = set(keys) - set(value if isinstance(value, dict) else ())
    if missing:
        raise InputError(f"{path} lacks {' and '.join(sorted(missing))}; {again(made_by)}")
    return value


def _read_ends(path: Path) -> tuple[bool, bytes]:
    """Whether a file begins as ours do, a few wrong bytes aside, and the seal at its very end, if there is one.

    One that has neither is from elsewhere. One that only has the seal we wrote before there was a mark.
    """
    with open(path, "rb") as file:
        start = file.read(len(_MARK))
        file.seek(max(0, path.stat().st_size - _SEAL_SIZE))
        end = file.read()
    ours = sum(found == own for found, own in zip(start, _MARK, strict=False)) > len(_MARK) // 2
    return ours, end if end.startswith(_SEAL) and len(end) == _SEAL_SIZE else b""


def load_json(path: str | os.PathLike[str], *, made_by: str | None = None) -> Any:
    """Read a JSON file; `InputError` names the file (and the program `made_by` that makes it) if it cannot be."""
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        mend = f"; run {made_by} first" if made_by else ""
        raise InputError(f"{path} does not exist{mend}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); make it anew") from error


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return _digest(Path(path), os.path.getsize(path)).hexdigest()


def _digest(path: Path, size: int) -> Any:
    """The SHA-256 of the first `size` bytes of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(min(size, 1 << 20)):
            digest.update(block)
            size -= len(block)
    return digest


def fingerprint(recipe: Any) -> str:
    """SHA-256 of a JSON-able recipe (parameters, input hashes), independent of the order of its keys."""
    text = json.dumps(recipe, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

"""Tensors in files: as a pickle holds them, and the two formats of `torch.save`.

`torch.load` promises to call nothing, but not to allocate no more than a file holds, so the formats are read here.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np

from linear_shortcuts.files.pickle_machine import GLOBALS, Budget, Source, Spending, Unpickler, extents

_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of a file that torch.save wrote before PyTorch 1.6


def read(file: IO[bytes], end: int, budget: Budget) -> Any:
    """The value in a pickle or a file of torch.save that ends at `end`."""
    start = file.tell()
    # Not zipfile.is_zipfile, which looks for its mark near the end, where a matrix may hold it by chance.
    if file.read(4) == b"PK\x03\x04":
        return _read_zip(file, budget)
    file.seek(start)
    source = Source(file, end)
    value = Unpickler(source, budget, _TABLE).load()
    if type(value) is int and value == _MAGIC:
        value = _read_legacy(source, budget)
    if source.left():
        raise pickle.UnpicklingError("it goes on after its end")
    return value


@dataclass(frozen=True)
class _StorageKind:
    """What a file calls torch.FloatStorage and so on: the name of the dtype."""

    dtype: str


def _references(storage: Callable[[tuple[Any, ...]], Any]) -> Callable[[Any], Any]:
    """What torch.save writes in the place of the numbers of a tensor, checked before it is looked up."""

    def look_up(pid: Any) -> Any:
        if type(pid) is not tuple or [type(x) for x in pid[:3]] != [str, _StorageKind, str]:
            raise pickle.UnpicklingError("it refers to something outside the file")
        return storage(pid[1:])

    return look_up


def _read_zip(file: IO[bytes], budget: Budget) -> Any:
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
            raise pickle.UnpicklingError("it is compressed, which torch.save never does")
        if "byteorder" in entries and _zip_entry(archive, entries["byteorder"], budget) != b"little":
            raise pickle.UnpicklingError("its numbers are big-endian")
        loaded: dict[str, Any] = {}

        def storage(reference: tuple[Any, ...]) -> Any:
            kind, key, _, _ = reference
            if key not in loaded:
                loaded[key] = _storage(kind, _zip_entry(archive, entries[f"data/{key}"], budget))
            return loaded[key]

        program = _zip_entry(archive, entries["data.pkl"], budget)
        source = Source(io.BytesIO(program), len(program))
        return Unpickler(source, budget, _TABLE, _references(storage)).load()


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: Budget) -> bytearray:
    budget.spend(info.file_size)
    buffer = bytearray(info.file_size)
    with archive.open(info) as entry:
        # The end of an entry is where its checksum is checked.
        if cast(io.BufferedIOBase, entry).readinto(buffer) != len(buffer) or entry.read(1):
            raise EOFError("it ends too early")
    return buffer


def _read_legacy(source: Source, budget: Budget) -> Any:
    """After its magic number: a version, facts of the machine, the value, the keys of its storages, their bytes."""
    buffers: dict[str, tuple[int, bytearray]] = {}
    loaded: dict[str, Any] = {}

    def storage(reference: tuple[Any, ...]) -> Any:
        kind, key, _, count, view = reference
        extents((count,))
        if view is not None:
            raise pickle.UnpicklingError("a storage is a view of another one, as before PyTorch 0.4")
        if key not in loaded:
            size = count * _itemsize(kind)
            budget.spend(size)
            buffers[key] = count, bytearray(size)
            loaded[key] = _storage(kind, buffers[key][1])
        return loaded[key]

    Unpickler(source, budget, GLOBALS).load()
    if Unpickler(source, budget, GLOBALS).load().get("little_endian") is not True:
        raise pickle.UnpicklingError("its numbers are big-endian")
    value = Unpickler(source, budget, _TABLE, _references(storage)).load()
    keys = Unpickler(source, budget, GLOBALS).load()
    if not all(type(key) is str for key in keys) or sorted(keys) != sorted(buffers):
        raise pickle.UnpicklingError("its storages are not those its tensors name")
    for key in keys:
        count, buffer = buffers[key]
        if struct.unpack("<q", source.read(8)) != (count,):
            raise pickle.UnpicklingError("a storage has not the size its tensors name")
        buffer[:] = source.read(len(buffer))
    return value


def _itemsize(kind: _StorageKind) -> int:
    import torch

    return getattr(torch, kind.dtype).itemsize


def _storage(kind: _StorageKind, buffer: bytearray) -> Any:
    """A storage in the memory of `buffer`."""
    import torch

    untyped = torch.frombuffer(buffer, dtype=torch.uint8).untyped_storage() if buffer else torch.UntypedStorage(0)
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=getattr(torch, kind.dtype), _internal=True)


# --- what may be called ------------------------------------------------------------------------------------

_TORCH_FUNCTIONS = object()  # stands for the class without handing it out


def _load_from_bytes(budget: Budget, data: Any) -> Any:
    if type(data) is not bytes:  # the length of an array is not its size
        raise pickle.UnpicklingError("a storage is made of something else than bytes")
    budget.spend(len(data))
    return read(io.BytesIO(data), len(data), budget)  # what torch calls would unpickle without limits


def _size(items: tuple[int, ...]) -> tuple[int, ...]:
    return extents(items)


def _get_from_numpy(owner: Any, name: str) -> Callable[..., Any]:
    # `torch.from_numpy` is a method of an internal class, so Python pickles it as getattr(class, name).
    if owner is not _TORCH_FUNCTIONS or name != "from_numpy":
        raise pickle.UnpicklingError("an attribute is taken that is not torch.from_numpy")
    return _from_numpy


def _from_numpy(array: np.ndarray) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # bytes of a pickle are not
        return torch.from_numpy(array)


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    import torch

    if not isinstance(storage, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("a tensor is rebuilt in an unusual way")
    (start,) = extents((offset,))
    last = sum((n - 1) * step for n, step in zip(extents(size), extents(stride), strict=True))
    # Elements that share memory, as in a tensor of stride 0, would make much of little wherever they are copied.
    needed = 0 if 0 in size else max(math.prod(size), start + last + 1)
    if needed * storage.dtype.itemsize > storage._untyped_storage.nbytes():
        raise pickle.UnpicklingError(f"a tensor of size {size} is larger than its storage")
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


def _rebuild_parameter(data: Any, requires_grad: Any, hooks: Any) -> Any:
    import torch

    return torch.nn.Parameter(data, bool(requires_grad))


_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
    "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
_TABLE: dict[tuple[str, str], Any] = {
    **GLOBALS,
    ("builtins", "getattr"): _get_from_numpy,
    ("torch._C", "_VariableFunctionsClass"): _TORCH_FUNCTIONS,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch.storage", "_load_from_bytes"): Spending(_load_from_bytes),
    ("torch", "Size"): _size,
    **{("torch", f"{kind}Storage"): _StorageKind(dtype) for kind, dtype in _STORAGES.items()},
}

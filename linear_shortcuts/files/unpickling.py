"""Reading pickles that other people wrote: tensors, arrays and plain containers, and nothing else.

A pickle is a program. This module runs it on a machine that can only rebuild values: every global outside a short list
is refused before anything is called, and all that is called allocates, taken together, at most three times the size of
the file. `torch.load` promises the first but not the second, so its two formats are read here.
"""

from __future__ import annotations

import functools
import io
import math
import pickle
import re
import struct
import sys
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, cast

import numpy as np

from linear_shortcuts.files.errors import InputError

ARRAY_KINDS = "biufcSU"  # of the arrays we save and load: numbers, truth values, text
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of a file that torch.save wrote before PyTorch 1.6


def unpickle(path: Path) -> Any:
    """The value in a pickle or a `torch.save` file.

    Raises `InputError` that names the file, and the forbidden global if there is one.
    """
    with path.open("rb") as file:
        try:
            # Protocol 2 holds a tensor as text, which becomes the bytes of a file, which becomes a storage.
            value = _load(file, _Budget(3 * path.stat().st_size))
            _check_plain(value)
            return value
        except _ForbiddenGlobalError as error:
            raise InputError(
                f"{path} refers to {error}, which tensors and plain containers never do; "
                "it was not loaded, because a pickle can run any code it names"
            ) from error
        except Exception as error:  # a program of a stranger may fail in any way
            reason = _one_line(str(error)) or type(error).__name__
            raise InputError(f"{path} is not a whole, well-formed pickle ({reason}); make it anew") from error


class _ForbiddenGlobalError(Exception):
    """A global that is not on the list."""


def _one_line(text: str) -> str:
    """A text from a file that nobody vouches for, short and without control characters."""
    return "".join(sign if sign.isprintable() else "?" for sign in text.partition("\n")[0][:200])


class _Budget:
    """How many bytes the calls of a file may still allocate, so that none asks for the same bytes again and again."""

    def __init__(self, size: int) -> None:
        self.left = size

    def spend(self, size: int) -> None:
        self.left -= _extents((size,))[0]
        if self.left < 0:
            raise pickle.UnpicklingError("it asks for more memory than its own bytes can fill")


class _Source:
    """A file that refuses to be asked for more than it holds, before memory for that is allocated."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        start = file.tell()
        self.end = file.seek(0, io.SEEK_END)
        file.seek(start)
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        if size > self.end - self.file.tell():
            raise EOFError("it ends too early")
        return self.file.read(size)


def _load(file: IO[bytes], budget: _Budget) -> Any:
    start = file.tell()
    # Not zipfile.is_zipfile, which looks for its mark near the end, where a matrix may hold it by chance.
    if file.read(4) == b"PK\x03\x04":
        return _load_torch_zip(file, budget)
    file.seek(start)
    source = _Source(file)
    value = _Unpickler(source, budget).load()
    return _load_torch_legacy(source, budget) if type(value) is int and value == _TORCH_MAGIC else value


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C lets nobody look at BUILD
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self, source: _Source, budget: _Budget, storages: Callable[[tuple[Any, ...]], Any] | None = None
    ) -> None:
        super().__init__(source)
        self.source = source
        self.budget = budget
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) in _ALLOCATING:
            return functools.partial(_ALLOCATING[module, name], self.budget)
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise _ForbiddenGlobalError(_one_line(f"{module}.{name}"))

    def persistent_load(self, pid: Any) -> Any:
        # What torch.save writes in the place of the numbers of a tensor.
        if self.storages is None or type(pid) is not tuple or [type(x) for x in pid[:3]] != [str, _StorageKind, str]:
            raise pickle.UnpicklingError("it refers to something outside the file")
        return self.storages(pid[1:])

    def load_reduce(self) -> None:
        arguments = self.stack.pop()
        if type(arguments) is not tuple:  # a tensor would be unbound, row by row
            raise pickle.UnpicklingError("the arguments of a call are no tuple")
        self.stack[-1] = self.stack[-1](*arguments)

    def refuse(self) -> None:
        raise pickle.UnpicklingError("it does what tensors and plain containers never need")

    def load_bytearray8(self) -> None:
        (size,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(size)))  # Python's own allocates before it looks whether there is as much

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def load_setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        if type(self.stack[-1]) not in (dict, OrderedDict):
            raise pickle.UnpicklingError(f"sets items of a {type(self.stack[-1]).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not is_key(key):
                raise pickle.UnpicklingError("a key of a mapping is neither text nor a number nor a few of them")
            self.stack[-1][key] = value

    def load_build(self) -> None:
        # BUILD sets attributes of anything, also of the functions below, where they would outlive the file.
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is np.ndarray:
            version, shape, dtype, fortran, data = state
            if type(data) is not bytes:
                raise pickle.UnpicklingError("an array is filled in an unusual way")
            _check_dtype(dtype, data)
            if target.size:  # a second time would free memory that a tensor may share
                raise pickle.UnpicklingError("an array is filled twice")
            if math.prod(_extents(shape)) * dtype.itemsize != len(data):
                raise pickle.UnpicklingError(f"{len(data)} bytes do not fill an array of shape {shape}")
            self.budget.spend(len(data))  # numpy copies numbers of the other byte order
            target.__setstate__((version, shape, dtype, fortran, data))
        elif isinstance(target, np.dtype):
            # (version, byte order, sub-array, names, fields, item size, alignment, flags): all but the second are known
            own = target.__reduce__()[2]
            if (
                type(state) is not tuple
                or (state[0], *state[2:]) != (own[0], *own[2:])
                or state[1] not in ("<", ">", "|")
            ):
                raise pickle.UnpicklingError("a dtype is changed in an unusual way")
            target.__setstate__(state)  # type: ignore[attr-defined]
        elif type(target) is OrderedDict and type(state) is dict and list(state) == ["_metadata"]:
            vars(target)["_metadata"] = state["_metadata"]  # of a state_dict
        else:
            raise pickle.UnpicklingError(f"sets attributes of a {type(target).__name__}")

    # Other ways to call something, codes that stand for something outside the file, and sets, which are not artifacts.
    for _code in (pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4,
                  pickle.PERSID, pickle.NEXT_BUFFER, pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS):  # fmt: skip
        dispatch[_code[0]] = refuse
    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.BUILD[0]] = load_build


def is_key(key: Any) -> bool:
    """Whether a mapping may have this key: text, bytes, a number, None, or up to three of text and small numbers.

    Of others, such as tuples within tuples or huge numbers, a file can hold many that take for ever to hash or compare.
    """
    if type(key) is tuple:
        return len(key) <= 3 and all(type(x) is str or (type(x) is int and abs(x) < 2**20) for x in key)
    return key is None or type(key) in (bool, float, str, bytes) or (type(key) is int and abs(key) < 2**60)


def _check_dtype(dtype: Any, data: Any) -> None:
    """Refuse a dtype that is not one of numbers, truth values or text, and text with characters that do not exist."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in ARRAY_KINDS:
        raise pickle.UnpicklingError("a dtype is not one of numbers, truth values or text")
    if dtype.kind == "U" and (np.frombuffer(data, f"{dtype.str[0]}u4") > sys.maxunicode).any():
        raise pickle.UnpicklingError("a text has characters that do not exist")


def _extents(shape: Any) -> tuple[int, ...]:
    """The shape of an array or tensor, if it is one: of 8 dimensions, more than artifacts have, and 2^63 bytes."""
    if type(shape) is not tuple or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise pickle.UnpicklingError("an array has an impossible shape")
    return shape


def _check_plain(value: Any) -> None:
    """Refuse a value that holds anything but tensors, arrays and plain containers, such as a function to call."""
    import torch

    plain = (bool, int, float, str, bytes, bytearray, type(None), np.ndarray, np.generic, torch.Tensor)
    todo, seen = [value], set()
    while todo:
        part = todo.pop()
        if isinstance(part, (list, tuple, dict)):
            if id(part) not in seen:
                seen.add(id(part))
                todo.extend([*part, *part.values()] if isinstance(part, dict) else part)
        elif not isinstance(part, plain):
            raise pickle.UnpicklingError(f"it holds a {type(part).__name__}")


# --- files of torch.save -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _StorageKind:
    """What a file calls torch.FloatStorage and so on: the name of the dtype."""

    dtype: str


def _load_torch_zip(file: IO[bytes], budget: _Budget) -> Any:
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

        program = io.BytesIO(_zip_entry(archive, entries["data.pkl"], budget))
        return _Unpickler(_Source(program), budget, storage).load()


def _zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget) -> bytearray:
    budget.spend(info.file_size)
    buffer = bytearray(info.file_size)
    with archive.open(info) as entry:
        # The end of an entry is where its checksum is checked.
        if cast(io.BufferedIOBase, entry).readinto(buffer) != len(buffer) or entry.read(1):
            raise EOFError("it ends too early")
    return buffer


def _load_torch_legacy(source: _Source, budget: _Budget) -> Any:
    """After its magic number: a version, facts of the machine, the value, the keys of its storages, their bytes."""
    buffers: dict[str, tuple[int, bytearray]] = {}
    loaded: dict[str, Any] = {}

    def storage(reference: tuple[Any, ...]) -> Any:
        kind, key, _, count, view = reference
        _extents((count,))
        if view is not None:
            raise pickle.UnpicklingError("a storage is a view of another one, as before PyTorch 0.4")
        if key not in loaded:
            size = count * _itemsize(kind)
            budget.spend(size)
            buffers[key] = count, bytearray(size)
            loaded[key] = _storage(kind, buffers[key][1])
        return loaded[key]

    _Unpickler(source, budget).load()
    if _Unpickler(source, budget).load().get("little_endian") is not True:
        raise pickle.UnpicklingError("its numbers are big-endian")
    value = _Unpickler(source, budget, storage).load()
    keys = _Unpickler(source, budget).load()
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

# In our own words: nothing that a file hands to these allocates or reads beyond the file's own bytes.

_NDARRAY, _TORCH_FUNCTIONS = object(), object()  # stand for the classes without handing them out


def _load_from_bytes(budget: _Budget, data: Any) -> Any:
    if type(data) is not bytes:  # the length of an array is not its size
        raise pickle.UnpicklingError("a storage is made of something else than bytes")
    budget.spend(len(data))
    return _load(io.BytesIO(data), budget)  # what torch calls would unpickle without limits


def _scalar(budget: _Budget, dtype: Any, data: Any) -> Any:
    if type(data) is not bytes:
        raise pickle.UnpicklingError("a number is made of something else than bytes")
    _check_dtype(dtype, data)
    budget.spend(dtype.itemsize)
    return np.frombuffer(data, dtype=dtype, count=1)[0]


def _encode(budget: _Budget, text: Any, encoding: Any) -> bytes:
    # How protocol 2 writes bytes.
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError("a text is encoded in an unusual way")
    budget.spend(len(text))
    return text.encode("latin1")


def _ordered_dict() -> OrderedDict[Any, Any]:
    return OrderedDict()  # the items come afterwards


def _size(items: tuple[int, ...]) -> tuple[int, ...]:
    return _extents(items)


def _reconstruct(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    # numpy writes an empty array and fills it afterwards; any other shape would allocate at the file's command.
    if subtype is not _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError("an array is rebuilt in an unusual way")
    return np.empty(0, "b")


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    _check_dtype(dtype, buffer)
    return np.frombuffer(buffer, dtype=dtype).reshape(_extents(shape), order=order)


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:
    if type(code) is not str or not re.fullmatch(rf"[{ARRAY_KINDS}]\d+", code):
        raise pickle.UnpicklingError("a dtype is not one of numbers, truth values or text")
    return np.dtype(code, copy=True)


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
    (start,) = _extents((offset,))
    last = sum((n - 1) * step for n, step in zip(_extents(size), _extents(stride), strict=True))
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
_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "getattr"): _get_from_numpy,
    ("torch._C", "_VariableFunctionsClass"): _TORCH_FUNCTIONS,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): _size,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("collections", "OrderedDict"): _ordered_dict,
    **{("torch", f"{kind}Storage"): _StorageKind(dtype) for kind, dtype in _STORAGES.items()},
}
# These are handed the budget first.
_ALLOCATING: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch.storage", "_load_from_bytes"): _load_from_bytes,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,
}

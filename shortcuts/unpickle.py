"""Reading pickles that other people wrote: tensors, arrays and plain containers, and nothing else.

A pickle is a program. This module runs it on a machine that can only rebuild values: every global outside a short list
is refused before anything is called, and what is called neither allocates nor reads beyond the file's own bytes.
"""

from __future__ import annotations

import functools
import io
import math
import pickle
import re
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from shortcuts.errors import InputError

ARRAY_KINDS = "biufcSU"  # of the arrays we save and load: numbers, truth values, text
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # the first object of a file that torch.save wrote before PyTorch 1.6


def unpickle(path: Path) -> Any:
    """The value in a pickle or a `torch.save` file.

    Raises `InputError` that names the file, and the forbidden global if there is one.
    """
    with path.open("rb") as file:
        try:
            # Not zipfile.is_zipfile, which looks for its mark near the end, where a matrix may hold it by chance.
            if file.read(4) == b"PK\x03\x04":
                return _torch_load(path.read_bytes(), path)
            file.seek(0)
            value = _Unpickler(file, path).load()
            return _torch_load(path.read_bytes(), path) if type(value) is int and value == _TORCH_MAGIC else value
        except InputError:
            raise
        except _DAMAGE as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise InputError(f"{path} is not a whole, well-formed pickle ({reason}); make it anew") from error


_DAMAGE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, RuntimeError, TypeError),
    *(ValueError, pickle.UnpicklingError, struct.error, zipfile.BadZipFile),
)


def _torch_load(data: bytes, path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message advises to switch the protection off.
        if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
            raise _forbidden(path, found[1]) from error
        raise pickle.UnpicklingError("torch.load refuses it") from error


def _forbidden(path: Path, name: str) -> InputError:
    return InputError(
        f"{path} refers to {name}, which tensors and plain containers never do; "
        "it was not loaded, because a pickle can run any code it names"
    )


class _Unpickler(pickle._Unpickler):  # the one in Python: the one in C lets nobody look at BUILD
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    # Other ways to call something, and codes that stand for something outside the file.
    for _code in (pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.PERSID, pickle.BINPERSID,
                  pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER):  # fmt: skip
        del dispatch[_code[0]]

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        module = module.replace("numpy.core.", "numpy._core.")
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return functools.partial(_torch_load, path=self.path)  # what torch calls would unpickle without limits
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise _forbidden(self.path, f"{module}.{name}")

    def load_build(self) -> None:
        # BUILD sets attributes of anything, also of the functions above, where they would outlive the file.
        state = self.stack.pop()
        target = self.stack[-1]
        if type(target) is np.ndarray:
            version, shape, dtype, fortran, data = state
            if not isinstance(dtype, np.dtype) or dtype.kind not in ARRAY_KINDS or type(data) is not bytes:
                raise pickle.UnpicklingError("an array is filled in an unusual way")
            if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(data):
                raise pickle.UnpicklingError(f"{len(data)} bytes do not fill an array of shape {shape}")
            target.__setstate__((version, shape, dtype, fortran, data))
        elif isinstance(target, np.dtype):
            # (version, byte order, sub-array, names, fields, item size, alignment, flags)
            if state[2:5] != (None, None, None) or state[5] not in (-1, target.itemsize) or len(state) != 8:
                raise pickle.UnpicklingError("a dtype is changed in an unusual way")
            target.__setstate__(state)  # type: ignore[attr-defined]
        elif type(target) is OrderedDict and type(state) is dict:
            vars(target).update(state)  # the `_metadata` of a state_dict
        else:
            raise pickle.UnpicklingError(f"sets attributes of a {type(target).__name__}")

    dispatch[pickle.BUILD[0]] = load_build


# What may be called, in our own words: nothing that a file hands to these allocates or reads beyond its own bytes.

_NDARRAY, _TORCH_FUNCTIONS = object(), object()  # stand for the classes without handing them out


def _reconstruct(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    # numpy writes an empty array and fills it afterwards; any other shape would allocate at the file's command.
    if subtype is not _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError(f"array of shape {shape} rebuilt in an unusual way")
    return np.empty(0, "b")


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:
    if type(code) is not str or not re.fullmatch(rf"[{ARRAY_KINDS}]\d+", code):
        raise pickle.UnpicklingError(f"dtype {code!r} is not one of numbers, truth values or text")
    return np.dtype(code, copy=True)


def _scalar(dtype: Any, data: Any) -> Any:
    return np.frombuffer(data, dtype=dtype, count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    # How protocol 2 writes bytes.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"forbidden encoding {encoding!r}")
    return text.encode("latin1")


def _get_from_numpy(owner: Any, name: str) -> Callable[..., Any]:
    # `torch.from_numpy` is a method of an internal class, so Python pickles it as getattr(class, name).
    import torch

    if owner is not _TORCH_FUNCTIONS or name != "from_numpy":
        raise pickle.UnpicklingError(f"forbidden global getattr(…, {name!r})")
    return torch.from_numpy


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
    import torch

    if not isinstance(storage, torch.storage.TypedStorage) or min((offset, *size, *stride)) < 0:
        raise pickle.UnpicklingError("a tensor is rebuilt in an unusual way")
    last = sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if 0 not in size and (offset + last + 1) * storage.dtype.itemsize > storage._untyped_storage.nbytes():
        raise pickle.UnpicklingError(f"a tensor of size {size} is larger than its storage")
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "getattr"): _get_from_numpy,
    ("torch._C", "_VariableFunctionsClass"): _TORCH_FUNCTIONS,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): OrderedDict,
}

"""A machine for pickles that can only rebuild values: numbers, text, plain containers, arrays.

A pickle is a program. It runs here with a table of all it may name, in our own words: nothing that a file hands to
these functions reads or allocates beyond the file's own bytes, and what they allocate comes out of a budget.
"""

from __future__ import annotations

import functools
import math
import pickle
import re
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import numpy as np

ARRAY_KINDS = "biufcSU"  # of the arrays we save and load: numbers, truth values, text


class ForbiddenGlobalError(Exception):
    """A global that is not in the table."""


class Budget:
    """How many bytes the calls of a file may still allocate, so that none asks for the same bytes again and again."""

    def __init__(self, size: int) -> None:
        self.left = size

    def spend(self, size: int) -> None:
        self.left -= extents((size,))[0]
        if self.left < 0:
            raise pickle.UnpicklingError("it asks for more memory than its own bytes can fill")


class Source:
    """A file that refuses to be asked for more than it holds, before memory for that is allocated."""

    def __init__(self, file: IO[bytes], end: int) -> None:
        self.file = file
        self.end = end  # where what is to be read ends
        self.readline = file.readline

    def read(self, size: int) -> bytes:
        if size > self.left():
            raise EOFError("it ends too early")
        return self.file.read(size)

    def left(self) -> int:
        return self.end - self.file.tell()


@dataclass(frozen=True)
class Spending:
    """A function of the table that allocates: it is handed the budget first."""

    function: Callable[..., Any]


class Unpickler(pickle._Unpickler):  # the one in Python: the one in C lets nobody look at BUILD
    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(
        self,
        source: Source,
        budget: Budget,
        table: Mapping[tuple[str, str], Any],
        outside: Callable[[Any], Any] | None = None,
    ) -> None:
        """table: (module, name) -> what stands for it, or `Spending`; outside: what a persistent id stands for."""
        super().__init__(source)
        self.budget = budget
        self.table = table
        self.outside = outside

    def find_class(self, module: str, name: str) -> Any:
        key = module.replace("numpy.core.", "numpy._core."), name
        if key not in self.table:
            raise ForbiddenGlobalError(f"{module}.{name}")
        found = self.table[key]
        return functools.partial(found.function, self.budget) if isinstance(found, Spending) else found

    def persistent_load(self, pid: Any) -> Any:
        if self.outside is None:
            raise pickle.UnpicklingError("it refers to something outside the file")
        return self.outside(pid)

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
            check_dtype(dtype, data)
            if target.size:  # a second time would free memory that a tensor may share
                raise pickle.UnpicklingError("an array is filled twice")
            if math.prod(extents(shape)) * dtype.itemsize != len(data):
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


def check_dtype(dtype: Any, data: Any) -> None:
    """Refuse a dtype that is not one of numbers, truth values or text, and text with characters that do not exist."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in ARRAY_KINDS:
        raise pickle.UnpicklingError("a dtype is not one of numbers, truth values or text")
    if dtype.kind == "U" and (np.frombuffer(data, f"{dtype.str[0]}u4") > sys.maxunicode).any():
        raise pickle.UnpicklingError("a text has characters that do not exist")


def extents(shape: Any) -> tuple[int, ...]:
    """The shape of an array or tensor, if it is one: of 8 dimensions, more than artifacts have, and 2^63 bytes."""
    if type(shape) is not tuple or len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        raise pickle.UnpicklingError("an array has an impossible shape")
    return shape


# --- what may be called, without torch ---------------------------------------------------------------------

_NDARRAY = object()  # stands for the class without handing it out


def _scalar(budget: Budget, dtype: Any, data: Any) -> Any:
    if type(data) is not bytes:
        raise pickle.UnpicklingError("a number is made of something else than bytes")
    check_dtype(dtype, data)
    budget.spend(dtype.itemsize)
    return np.frombuffer(data, dtype=dtype, count=1)[0]


def _encode(budget: Budget, text: Any, encoding: Any) -> bytes:
    # How protocol 2 writes bytes.
    if type(text) is not str or encoding != "latin1":
        raise pickle.UnpicklingError("a text is encoded in an unusual way")
    budget.spend(len(text))
    return text.encode("latin1")


def _ordered_dict() -> OrderedDict[Any, Any]:
    return OrderedDict()  # the items come afterwards


def _reconstruct(subtype: Any, shape: Any, typecode: Any) -> np.ndarray:
    # numpy writes an empty array and fills it afterwards; any other shape would allocate at the file's command.
    if subtype is not _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError("an array is rebuilt in an unusual way")
    return np.empty(0, "b")


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    check_dtype(dtype, buffer)
    return np.frombuffer(buffer, dtype=dtype).reshape(extents(shape), order=order)


def _dtype(code: Any, align: Any = False, copy: Any = False) -> np.dtype:
    if type(code) is not str or not re.fullmatch(rf"[{ARRAY_KINDS}]\d+", code):
        raise pickle.UnpicklingError("a dtype is not one of numbers, truth values or text")
    return np.dtype(code, copy=True)


GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("_codecs", "encode"): Spending(_encode),
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "scalar"): Spending(_scalar),
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
}

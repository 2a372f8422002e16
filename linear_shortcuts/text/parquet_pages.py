"""What the pages of a Parquet file say that they unpack to, read before any is unpacked.

Arrow makes room for what a page's own header states, whatever the directory at the file's end says of all of them, and
hands out neither the headers nor a limit. Directory and headers are structs in Thrift's compact protocol:
https://github.com/apache/parquet-format and https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Fields by their numbers: of the file, of a row group, of a chunk of a column, of what is said of it, of a page.
ROW_GROUPS, CHUNKS, SAID, PACKED_CHUNK, FIRST_PAGE, DICTIONARY_PAGE, UNPACKED, PACKED = 4, 1, 3, 7, 9, 11, 2, 3
_TRUE, _FALSE, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 12
_DEPTH = 16  # the directory has 7
_END = 8  # the last bytes: the length of the directory, in 4, and a mark


def page_sizes(path: Path) -> Iterator[int]:
    """Bytes that each page of each column unpacks to, by its own header.

    Raises `ValueError` for what is no Parquet file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        length = int.from_bytes(content[-_END:][:4], "little")
        for group in _entries(_Reader(content, len(content) - _END - length).struct(), ROW_GROUPS):
            for chunk in _entries(group, CHUNKS):
                said = chunk.get(SAID)
                place = min(start for key in (FIRST_PAGE, DICTIONARY_PAGE) if (start := _whole(said, key, 0)))
                end = place + _whole(said, PACKED_CHUNK)
                while place < end:
                    reader = _Reader(content, place)
                    header = reader.struct()
                    yield _whole(header, UNPACKED)
                    place = reader.place + _whole(header, PACKED)


def _entries(struct: Any, key: int) -> list[Any]:
    entries = struct.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("its directory lists no columns")
    return entries


def _whole(struct: Any, key: int, default: int | None = None) -> int:
    value = struct.get(key, default) if isinstance(struct, dict) else None
    if type(value) is not int or value < 0:
        raise ValueError("a page of it does not say where it is and how large")
    return value


class _Reader:
    """Reads values of the compact protocol one after the other."""

    def __init__(self, content: mmap.mmap, place: int) -> None:
        self.content = content
        self.place = place

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by their number; text and fractions, which nobody asks for, as None."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = divmod(head, 16)
            number = number + step if step else self._integer()
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth + 1)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEPTH:
            raise ValueError(f"its directory nests {_DEPTH} deep")
        if kind == _STRUCT:
            return self.struct(depth)
        if kind in _LISTS:
            size, kind = divmod(self._byte(), 16)
            size = self._varint() if size == 15 else size  # as many as the file has bytes, at most: each takes one
            return [self._value(kind, depth + 1) for _ in range(size)]
        if kind in _INTEGERS:
            return self._integer()
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        if kind in (_DOUBLE, _BINARY):
            length = 8 if kind == _DOUBLE else self._varint()
            self.place += length
            return None
        raise ValueError(f"byte {self.place} is no part of a directory")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)  # zigzag: 0, -1, 1, -2 …

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError(f"byte {self.place} is no part of a number")

    def _byte(self) -> int:
        if not 0 <= self.place < len(self.content):
            raise ValueError("its directory points outside of the file")
        self.place += 1
        return self.content[self.place - 1]

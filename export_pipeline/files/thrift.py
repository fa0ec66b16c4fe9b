"""Thrift's compact protocol, as far as Parquet's footer and page headers need it.

A Parquet library makes an object of some hundred bytes for what can be three bytes in a footer, and a buffer of
whatever size a page header names. Reading the few numbers here first keeps a hostile file from doing that.
"""

from typing import Any

_MAX_DEPTH = 16
_OUTER_DEPTH = 2
"""Where row groups and column chunks stand, which take most of a library's memory."""
_OUTER_BYTES, _INNER_BYTES = 24, 4
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)


class ThriftError(ValueError):
    """The bytes are no Thrift struct, or hold more than they may."""


class ThriftReader:
    """Reads a struct at the beginning of `data`; `at` is where it ends.

    `allowed`: bytes that its inner structs may need at least, each counted with about half of what one that was written
    here has.
    """

    def __init__(self, data: bytes, *, allowed: int) -> None:
        self._data = data
        self._left = allowed
        self.at = 0

    def struct(self) -> dict[int, Any]:
        """The numbers and the inner structs of a struct, by field id; texts, lists and maps are passed over."""
        try:
            fields = self._struct(0, keep=True)
        except IndexError:
            raise ThriftError("it ends in the middle") from None
        return fields or {}

    def skip(self) -> None:
        """Passes over a struct, without a trace of it in memory."""
        try:
            self._struct(0, keep=False)
        except IndexError:
            raise ThriftError("it ends in the middle") from None

    def _struct(self, depth: int, *, keep: bool) -> dict[int, Any] | None:
        self._left -= _OUTER_BYTES if depth <= _OUTER_DEPTH else _INNER_BYTES
        if self._left < 0 or depth > _MAX_DEPTH:
            raise ThriftError("it holds more than a file of this size can need")
        fields: dict[int, Any] | None = {} if keep else None
        field = 0
        while header := self._byte():
            field = field + (header >> 4) if header >> 4 else self._zigzag()
            value = self._value(header & 0x0F, depth, keep=keep)
            if fields is not None and value is not None:
                fields[field] = value
        return fields

    def _value(self, kind: int, depth: int, *, keep: bool) -> Any:
        if kind in {_TRUE, _FALSE}:
            return kind == _TRUE
        if kind in {_I16, _I32, _I64}:
            return self._zigzag()
        if kind == _STRUCT:
            return self._struct(depth + 1, keep=keep)
        if kind in {_LIST, _SET}:
            self._list(depth)
        elif kind == _BINARY:
            self._pass(self._varint())
        elif kind in {_BYTE, _DOUBLE}:
            self._pass(1 if kind == _BYTE else 8)
        elif kind != _MAP or self._byte():  # of maps Parquet has none; an empty one is a single zero
            raise ThriftError("it holds something that no Parquet file has")
        return None

    def _list(self, depth: int) -> None:
        header = self._byte()
        kind, size = header & 0x0F, header >> 4
        if size == 15:
            size = self._varint()
        if size > len(self._data) - self.at:
            raise ThriftError("it ends in the middle")
        for _ in range(size):
            if kind in {_TRUE, _FALSE}:
                self._pass(1)
            else:
                self._value(kind, depth, keep=False)

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _pass(self, size: int) -> None:
        if size > len(self._data) - self.at:
            raise ThriftError("it ends in the middle")
        self.at += size

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ThriftError("a number in it is too long")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

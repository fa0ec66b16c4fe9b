"""A hash of rows: equal for equal rows, however they are cut into batches, sliced or buffered.

A SHA-256 of the Parquet file is not that: page boundaries and library versions change it. This one runs over Arrow
buffers, with two xxh3_128 streams a column: one of what gives the values their bounds (validity and lengths), one of
the values' bytes. It costs about the time of reading the memory once. xxh3 finds changes; it is no defence against
somebody who makes two days collide on purpose, and nothing relies on that.
"""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

VERSION = "xxh3-1"
"""Stands at the head of every hash, so that hashes of another form never compare as equal."""


_NULL_LENGTH = (-1).to_bytes(4, "little", signed=True)


def _constant(data_type: pa.DataType, *buffers: bytes) -> Any:
    """A scalar made from its buffers: `pa.scalar` and `pa.array` import pandas where it is installed, taking 2 s."""
    return pa.Array.from_buffers(data_type, 1, [None, *map(pa.py_buffer, buffers)])[0]


_NO_LENGTH = _constant(pa.int32(), _NULL_LENGTH)
_NO_TEXT = _constant(pa.string(), bytes(8), b"")


class ContentHash:
    """Takes batches of one schema in order; `hexdigest` tells the hash of all rows so far."""

    def __init__(self, schema: pa.Schema) -> None:
        """Starts with no rows; the schema's names and types are part of the hash."""
        self._schema = schema
        self._columns = [_column_hash(field.type) for field in schema]
        self._rows = 0

    def update(self, batch: pa.RecordBatch) -> None:
        """Adds the rows of a batch; raises `TypeError` where its columns are not those of the schema."""
        if batch.schema.types != self._schema.types or batch.schema.names != self._schema.names:
            raise TypeError(f"a batch of the schema {self._schema} was expected, not {batch.schema}")
        for column, array in zip(self._columns, batch.columns, strict=True):
            column.update(array)
        self._rows += batch.num_rows

    def hexdigest(self) -> str:
        """The hash as text, with its version in front."""
        total = xxhash.xxh3_128()
        total.update(f"{VERSION}\n{self._rows}\n".encode())
        for field, column in zip(self._schema, self._columns, strict=True):
            total.update(f"{field.name!r} {field.type}\n".encode())
            total.update(column.digest())
        return f"{VERSION}:{total.hexdigest()}"


class _FixedWidth:
    """Numbers, times, flags: validity as a byte a row, values with nulls filled."""

    def __init__(self, data_type: pa.DataType) -> None:
        self._type = pa.uint8() if pa.types.is_boolean(data_type) else data_type
        self._width = self._type.bit_width // 8
        self._zero = _constant(self._type, bytes(self._width))
        self._valid = xxhash.xxh3_128()
        self._values = xxhash.xxh3_128()

    def update(self, array: Any) -> None:
        # Arrow's compute calls cost more than hashing short columns: they are left out where all or none are null.
        if not array.null_count:
            self._valid.update(b"\x01" * len(array))
            self._values.update(_fixed_bytes(self._cast(array)))
        elif array.null_count == len(array):
            self._valid.update(bytes(len(array)))
            self._values.update(bytes(len(array) * self._width))
        else:
            self._valid.update(_fixed_bytes(pc.is_valid(array).cast(pa.uint8())))
            self._values.update(_fixed_bytes(pc.fill_null(self._cast(array), self._zero)))

    def _cast(self, array: Any) -> Any:
        return array if array.type == self._type else array.cast(self._type)

    def digest(self) -> bytes:
        return bytes(self._valid.digest() + self._values.digest())


class _Text:
    """Strings and binaries: lengths (-1 for null), then the bytes of all values in a row."""

    def __init__(self) -> None:
        self._lengths = xxhash.xxh3_128()
        self._values = xxhash.xxh3_128()

    def update(self, array: Any) -> None:
        if array.null_count == len(array):
            self._lengths.update(_NULL_LENGTH * len(array))
            return
        lengths = pc.binary_length(array)
        values = _text_bytes(array)
        if array.null_count:
            if len(values) != pc.sum(lengths).as_py():
                values = _text_bytes(pc.fill_null(array, _NO_TEXT))  # a null slot may span bytes, which are no content
            lengths = pc.fill_null(lengths, _NO_LENGTH)
        self._lengths.update(_fixed_bytes(lengths))
        self._values.update(values)

    def digest(self) -> bytes:
        return bytes(self._lengths.digest() + self._values.digest())


class _List:
    """Lists: lengths (-1 for null), then the elements of all lists as one column."""

    def __init__(self, data_type: pa.ListType) -> None:
        self._lengths = xxhash.xxh3_128()
        self._elements = _column_hash(data_type.value_type)

    def update(self, array: Any) -> None:
        lengths = pc.list_value_length(array)
        self._lengths.update(_fixed_bytes(pc.fill_null(lengths, _NO_LENGTH) if array.null_count else lengths))
        self._elements.update(array.flatten())

    def digest(self) -> bytes:
        return bytes(self._lengths.digest() + self._elements.digest())


def _column_hash(data_type: pa.DataType) -> _FixedWidth | _Text | _List:
    if pa.types.is_string(data_type):
        return _Text()
    if pa.types.is_list(data_type):
        return _List(data_type)
    if pa.types.is_primitive(data_type) or pa.types.is_decimal128(data_type):
        return _FixedWidth(data_type)
    raise TypeError(f"no content hash is defined for the type {data_type}")


def _fixed_bytes(array: Any) -> memoryview:
    """The value bytes of an array without nulls, whose values take whole bytes."""
    width = array.type.bit_width // 8
    return memoryview(array.buffers()[1] or b"")[array.offset * width : (array.offset + len(array)) * width]


def _text_bytes(array: Any) -> memoryview:
    _, offsets, values = array.buffers()
    if values is None or not len(array):
        return memoryview(b"")
    bounds = memoryview(offsets).cast("i")
    return memoryview(values)[bounds[array.offset] : bounds[array.offset + len(array)]]

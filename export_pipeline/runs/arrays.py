"""Arrow arrays from Python values, buffer by buffer.

`pa.array` of a list and `pa.scalar` import pandas wherever that is installed, a second of CPU that a small day does not
cost.
"""

from array import array
from collections.abc import Iterable, Sequence, Sized
from decimal import Decimal
from itertools import accumulate
from struct import pack
from typing import Any

import pyarrow as pa


def text_array(values: Sequence[bytes | None]) -> pa.StringArray:
    """Strings from their bytes, which are not checked: they may not be UTF-8."""
    present = [value or b"" for value in values]
    return _array(pa.string(), values, _offsets(present), pa.py_buffer(b"".join(present)))


def strings_array(values: Sequence[str | None]) -> pa.StringArray:
    """Strings; one with half of a surrogate pair, which JSON can write and UTF-8 cannot, becomes bytes of no UTF-8."""
    if values.count(None) == len(values):
        return pa.nulls(len(values), pa.string())
    present = [value or "" for value in values]
    whole = "".join(present)
    if not whole.isascii():
        return text_array([None if value is None else value.encode(errors="surrogatepass") for value in values])
    return _array(pa.string(), values, _offsets(present), pa.py_buffer(whole.encode()))


def instants_array(micros: Sequence[int | None]) -> pa.TimestampArray:
    """Instants from microseconds since 1970."""
    return _array(pa.timestamp("us", tz="UTC"), micros, _int64s(micros))


def flags_array(values: Sequence[bool | None]) -> pa.BooleanArray:
    """Truths."""
    return _array(pa.bool_(), values, _bits(map(bool, values)))


def array_of(values: Sequence[Any], data_type: pa.DataType) -> pa.Array:
    """An array of one of the types that the Run schema has, from Python's own values or None."""
    if pa.types.is_string(data_type):
        return text_array([None if value is None else value.encode() for value in values])
    if pa.types.is_timestamp(data_type):
        return instants_array(values)
    if pa.types.is_boolean(data_type):
        return flags_array(values)
    if pa.types.is_int64(data_type):
        return _array(data_type, values, _int64s(values))
    if pa.types.is_decimal128(data_type):
        return _array(data_type, values, pa.py_buffer(b"".join(_decimal(value, data_type) for value in values)))
    if pa.types.is_list(data_type) and None not in values:
        items = array_of([item for value in values for item in value], data_type.value_type)
        return pa.Array.from_buffers(data_type, len(values), [None, _offsets(values)], children=[items])
    raise TypeError(f"no array of the type {data_type} can be made")


def _array(data_type: pa.DataType, values: Sequence[object], *buffers: pa.Buffer) -> pa.Array:
    nulls = values.count(None)
    validity = _bits([value is not None for value in values]) if nulls else None
    return pa.Array.from_buffers(data_type, len(values), [validity, *buffers], null_count=nulls)


def _offsets(values: Sequence[Sized]) -> pa.Buffer:
    """Where each begins, and where the last one ends."""
    return pa.py_buffer(pack(f"{len(values) + 1}i", *accumulate(map(len, values), initial=0)))


def _int64s(values: Sequence[int | None]) -> pa.Buffer:
    return pa.py_buffer(array("q", [value or 0 for value in values]))


def _decimal(value: Decimal | None, data_type: pa.Decimal128Type) -> bytes:
    scaled = 0 if value is None else int(value.scaleb(data_type.scale))
    return scaled.to_bytes(16, "little", signed=True)


def _bits(truths: Iterable[bool]) -> pa.Buffer:
    octets = bytes(truths)
    return pa.Array.from_buffers(pa.uint8(), len(octets), [None, pa.py_buffer(octets)]).cast(pa.bool_()).buffers()[1]

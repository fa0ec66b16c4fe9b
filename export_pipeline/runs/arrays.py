"""Arrow arrays from Python values, buffer by buffer.

`pa.array` of a list and `pa.scalar` import pandas wherever that is installed, a second of CPU that a small day does not
cost.
"""

from array import array
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import accumulate
from typing import Any

import pyarrow as pa


def text_array(values: Sequence[bytes | None]) -> pa.StringArray:
    """Strings from their bytes, which are not checked: they may not be UTF-8."""
    present = [value or b"" for value in values]
    offsets = array("i", accumulate(map(len, present), initial=0))
    return _array(pa.string(), values, pa.py_buffer(offsets), pa.py_buffer(b"".join(present)))


def strings_array(values: Sequence[str | None]) -> pa.StringArray:
    """Strings; one with half of a surrogate pair, which JSON can write and UTF-8 cannot, becomes bytes of no UTF-8."""
    if values.count(None) == len(values):
        return pa.nulls(len(values), pa.string())
    whole = "".join(filter(None, values))
    if not whole.isascii():
        return text_array([None if value is None else value.encode(errors="surrogatepass") for value in values])
    offsets = array("i", accumulate((len(value) if value else 0 for value in values), initial=0))
    return _array(pa.string(), values, pa.py_buffer(offsets), pa.py_buffer(whole.encode()))


def instants_array(micros: Sequence[int | None]) -> pa.TimestampArray:
    """Instants from microseconds since 1970."""
    return _array(pa.timestamp("us", tz="UTC"), micros, _int64s(micros))


def flags_array(values: Sequence[bool | None]) -> pa.BooleanArray:
    """Truths."""
    return _array(pa.bool_(), values, _bits(values, bool))


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
        offsets = array("i", accumulate(map(len, values), initial=0))
        return pa.Array.from_buffers(data_type, len(values), [None, pa.py_buffer(offsets)], children=[items])
    raise TypeError(f"no array of the type {data_type} can be made")


def _array(data_type: pa.DataType, values: Sequence[object], *buffers: pa.Buffer) -> pa.Array:
    nulls = values.count(None)
    validity = _bits(values, lambda value: value is not None) if nulls else None
    return pa.Array.from_buffers(data_type, len(values), [validity, *buffers], null_count=nulls)


def _int64s(values: Sequence[int | None]) -> pa.Buffer:
    return pa.py_buffer(array("q", [value or 0 for value in values]))


def _decimal(value: Decimal | None, data_type: pa.Decimal128Type) -> bytes:
    scaled = 0 if value is None else int(value.scaleb(data_type.scale))
    return scaled.to_bytes(16, "little", signed=True)


def _bits(values: Sequence[object], is_set: Callable[[object], bool]) -> pa.Buffer:
    bits = bytearray((len(values) + 7) // 8)
    for number, value in enumerate(values):
        if is_set(value):
            bits[number >> 3] |= 1 << (number & 7)
    return pa.py_buffer(bits)

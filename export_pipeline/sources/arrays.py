"""Arrow arrays from Python values, buffer by buffer.

`pa.array` of a list imports pandas wherever that is installed, a second of CPU that a small day does not cost.
"""

from array import array
from collections.abc import Sequence
from itertools import accumulate

import pyarrow as pa


def text_array(values: Sequence[bytes | None]) -> pa.StringArray:
    """Strings from their bytes, which are not checked: they may not be UTF-8."""
    nulls = values.count(None)
    present = [value or b"" for value in values]
    offsets = array("i", accumulate(map(len, present), initial=0))
    buffers = [_validity(values) if nulls else None, pa.py_buffer(offsets), pa.py_buffer(b"".join(present))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers, null_count=nulls)


def instants_array(micros: Sequence[int]) -> pa.TimestampArray:
    """Instants from microseconds since 1970, none of them null."""
    buffers = [None, pa.py_buffer(array("q", micros))]
    return pa.Array.from_buffers(pa.timestamp("us", tz="UTC"), len(micros), buffers, null_count=0)


def _validity(values: Sequence[object]) -> pa.Buffer:
    bits = bytearray((len(values) + 7) // 8)
    for number, value in enumerate(values):
        if value is not None:
            bits[number >> 3] |= 1 << (number & 7)
    return pa.py_buffer(bits)

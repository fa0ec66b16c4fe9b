"""Rows that are set aside: what is told of them."""

from dataclasses import dataclass

import pyarrow as pa

from export_pipeline.runs.times import MAX_MICROS, MIN_MICROS, instant

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class RejectedRow:
    """A row that is not exported: its id and start_time as far as known, at most 200 characters each, and why.

    Reasons are from a small set ("start_time: missing") and never hold values.
    """

    id: str | None
    start_time: str | None
    reason: str


def rejected_row(raw: pa.RecordBatch, row: int, reason: str) -> RejectedRow:
    """The record of a row of a raw batch."""
    return RejectedRow(_shown(raw.column("id"), row), _shown(raw.column("start_time"), row), reason)


def _shown(column: pa.Array, row: int) -> str | None:
    cell = column.slice(row, 1)
    if pa.types.is_timestamp(column.type):
        value = cell.view(pa.int64())[0].as_py()
        if value is not None and MIN_MICROS <= value <= MAX_MICROS:
            return instant(value).isoformat()
        return None if value is None else f"{value} microseconds since 1970"
    value_bytes = cell.view(pa.binary())[0].as_py()
    return None if value_bytes is None else str(value_bytes.decode(errors="backslashreplace"))[:_SHOWN_CHARACTERS]

"""Runs as they go to the rest of the product: in the raw schema, with the values that an API has written."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from export_pipeline.runs.arrays import instants_array, strings_array
from export_pipeline.runs.raw import RAW_TYPES
from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.times import instant
from export_pipeline.runs.window import Window

SCHEMA = pa.schema(
    pa.field(field.name, RAW_TYPES[field.kind][0 if field.name == "start_time" else -1]) for field in RUN_FIELDS
)
"""All as text, but the time that places a row in its day."""
PLACES = {field.name: place for place, field in enumerate(RUN_FIELDS)}
"""Where a row's cells stand."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A run: `cells` in the order of the Run schema, without its `start_time`, which is in microseconds.

    The garbage collector passes it by: it can be part of no cycle, and a day may have a million.
    """

    start: int
    id: str
    cells: tuple[str | None, ...]

    @property
    def size(self) -> int:
        """Its characters."""
        return sum(map(len, filter(None, self.cells)))

    def is_in(self, window: Window) -> bool:
        """Whether it starts there."""
        return window.start <= instant(self.start) < window.end


@dataclass(frozen=True)
class RowPage:
    """Rows in the order of a page, and what to ask for the next one with; None after the last one.

    `size` is how many characters they have, about.
    """

    rows: list[Row]
    cursor: str | None
    size: int


def batch_of(rows: Sequence[Row]) -> pa.RecordBatch:
    """The rows in the raw schema."""
    columns = zip(*(row.cells for row in rows), strict=True)
    arrays = [
        instants_array([row.start for row in rows]) if field.name == "start_time" else strings_array(column)
        for field, column in zip(SCHEMA, columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

"""Raw batches out of rows that a driver gives as Python's values."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pyarrow as pa

from export_pipeline.runs.arrays import instants_array, text_array
from export_pipeline.runs.schema import RUN_FIELDS, RunField
from export_pipeline.sources.sql.queries import Output

BATCH_BYTES = 4 * 1024 * 1024


def row_chunks(rows: Iterator[tuple[Any, ...]], fields: Sequence[RunField]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in lists of about `BATCH_BYTES`; the first cells of a row are those of the fields."""
    heavy = [number for number, field in enumerate(fields) if field.payload or field.name in {"name", "tags"}]
    chunk: list[tuple[Any, ...]] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += 500
        for number in heavy:
            value = row[number]
            if value.__class__ is bytes:
                size += len(value)
        if size >= BATCH_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def raw_batch(
    chunk: list[tuple[Any, ...]], outputs: Sequence[Output], *, instants: Collection[str] = ()
) -> pa.RecordBatch:
    """A batch of rows that begin with a cell for each output that has SQL; those of `instants` are microseconds."""
    columns = iter(zip(*chunk, strict=True))
    arrays = []
    for output in outputs:
        if output.sql is None:
            arrays.append(pa.nulls(len(chunk), pa.string()))
        elif output.field.name in instants:
            arrays.append(instants_array(next(columns)))
        else:
            arrays.append(text_array([_as_bytes(value) for value in next(columns)]))
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in RUN_FIELDS])


def _as_bytes(value: Any) -> bytes | None:
    return value if value is None or value.__class__ is bytes else repr(value).encode()

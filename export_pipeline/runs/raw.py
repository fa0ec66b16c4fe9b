"""The raw form of run rows: what a trace store hands over before anything is parsed or checked."""

from collections.abc import Sequence

import pyarrow as pa

from export_pipeline.runs.schema import RUN_FIELDS, Kind

RAW_TYPES: dict[Kind, tuple[pa.DataType, ...]] = {
    Kind.ID: (pa.string(),),
    Kind.TEXT: (pa.string(),),
    Kind.JSON: (pa.string(),),
    Kind.STRINGS: (pa.string(),),
    Kind.TIME: (pa.timestamp("us", tz="UTC"), pa.string()),
    Kind.COUNT: (pa.int64(), pa.string()),
    Kind.COST: (pa.string(),),
    Kind.FLAG: (pa.bool_(), pa.string()),
}
"""The types that a raw column of each kind may have.

Times as text are ISO 8601 (a space or a T, with or without a zone; none means UTC) or an epoch number in the unit of
the mapping. Lists of strings are JSON text. Numbers as text are decimal, possibly with a fraction or an exponent.
Flags as text are 0, 1, t, f, true, false in any case.
"""


BYTES = b"\xffbytes:"
"""What a cell of a JSON column begins with that is neither text nor unpacked; the bytes follow. No text begins so."""


def check_raw(batch: pa.RecordBatch) -> None:
    """Raises `TypeError` where a batch is not in the raw form: a source's programming error, never bad data."""
    names = [field.name for field in RUN_FIELDS]
    if batch.schema.names != names:
        raise TypeError(f"a raw batch needs the columns {names}, not {batch.schema.names}")
    for field in RUN_FIELDS:
        if (type_ := batch.schema.field(field.name).type) not in RAW_TYPES[field.kind]:
            raise TypeError(f"raw column {field.name} may be one of {RAW_TYPES[field.kind]}, not {type_}")


_FAILED = b"export_pipeline.failed"


def with_failed(batch: pa.RecordBatch, fields: Sequence[str]) -> pa.RecordBatch:
    """The batch with the mark that the store fails to give these fields of any of its rows; they are null in it."""
    return batch.replace_schema_metadata({_FAILED: ",".join(fields).encode()})


def failed_fields(batch: pa.RecordBatch) -> list[str]:
    """The fields that a batch is marked with. Rows of which one is exported are rejected."""
    marked = (batch.schema.metadata or {}).get(_FAILED)
    return [] if marked is None else marked.decode().split(",")

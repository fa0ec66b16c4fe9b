"""The Parquet file of a day: how it is written, and how its own metadata is read back.

The rules and the readers they come from: no statistics and no dictionary on payload columns (whole prompts would
stand in the footer), row groups closed by bytes, page version 1, three-level lists, no embedded Arrow schema (every
type here is one that Parquet names by itself, so the file has a single description of its columns). Columns have field
ids (Iceberg readers ask for them), row groups say that they are sorted by time, and the footer says what columns mean.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from export_pipeline.files.content_hash import ContentHash
from export_pipeline.files.thrift import ThriftReader
from export_pipeline.runs.schema import FIELD_BY_NAME, RUN_FIELDS, Kind
from export_pipeline.runs.times import instant
from export_pipeline.settings import Compression

SCHEMA_VERSION = "1"
"""Of the columns' meaning; columns are only ever appended, which does not change it."""

_OWN = "export_pipeline."
TAIL_BYTES = 64 * 1024
"""As much of a file's end as is read at first, to find its footer."""
_END_BYTES = 8
_FOOTER_BYTES = 512 * 1024
_CODECS: dict[Compression, tuple[str, int | None]] = {
    "none": ("NONE", None),
    "gzip": ("GZIP", 6),
    "snappy": ("SNAPPY", None),
    "zstandard": ("ZSTD", 1),
}
_REPEATING = frozenset(
    {"tenant_id", "session_id", "trace_id", "parent_run_id", "name", "run_type", "status", "trace_tier", "tags"}
)
"""Columns whose values come again within a row group; a dictionary on others is built only to be thrown away."""
_LIST_LEAF = ".list.element"
_FIELD_IDS = {field.name: number for number, field in enumerate(RUN_FIELDS, start=1)}
"""Never given to another column: columns are only ever appended."""
_ELEMENT_IDS = 1000
"""Added to a list's own id for that of its elements."""
_WRITE_BATCH_ROWS = 128
"""Page sizes are looked at this often, in rows; the library's 1024 would gather huge pages where rows are fat."""


class Sink(Protocol):
    """Where the file's bytes go, in order."""

    def write(self, data: Any, /) -> int:
        """Takes the bytes of a bytes-like object, and keeps no reference to it."""


@dataclass(frozen=True)
class FileFacts:
    """What is known of a file once it is closed; times and ids are None where those columns are not in it."""

    rows: int
    bytes: int
    row_groups: int
    content_hash: str
    min_start_time: datetime | None
    max_start_time: datetime | None
    first_id: str | None
    last_id: str | None


class DayFile:
    """Writes record batches as one Parquet file, a row group at a time.

    Nothing is written before the first row, so a day without rows leaves the sink untouched and `close` then says
    so with `rows == 0` and `bytes == 0`. Memory: one row group of Arrow data and one column chunk being encoded.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        schema: pa.Schema,
        compression: Compression,
        row_group_bytes: int,
        footer: Mapping[str, str],
    ) -> None:
        """Takes the schema of the file and the key-value metadata of its commit, to which `rows` is added at close."""
        self._sink = _CountingSink(sink)
        self._schema = schema
        self._compression = compression
        self._row_group_bytes = row_group_bytes
        self._footer = dict(footer)
        self._writer: Any = None
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._rows = 0
        self._row_groups = 0
        self._hash = ContentHash(schema)
        self._times = _Extremes()
        self._first_id: str | None = None
        self._last_id: str | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows; raises `TypeError` for another schema, `ValueError` for a null in a required column."""
        if not batch.num_rows:
            return
        self._hash.update(batch)
        self._note(batch)
        for piece in _pieces(batch, self._row_group_bytes):
            size = piece.nbytes
            if self._held and self._held_bytes + size > self._row_group_bytes:
                self._flush()
            self._held.append(piece)
            self._held_bytes += size
        if self._held_bytes >= self._row_group_bytes:
            self._flush()

    def close(self) -> FileFacts:
        """Writes what is held and the footer, and tells what the file holds; the sink is not closed."""
        self._flush()
        if self._writer is not None:
            own = {
                **self._footer,
                "rows": str(self._rows),
                "schema_version": SCHEMA_VERSION,
                "columns": _descriptions(self._schema),
            }
            self._writer.add_key_value_metadata({_OWN + name: value for name, value in own.items()})
            self._writer.close()
        return FileFacts(
            rows=self._rows,
            bytes=self._sink.bytes,
            row_groups=self._row_groups,
            content_hash=self._hash.hexdigest(),
            min_start_time=self._times.least,
            max_start_time=self._times.greatest,
            first_id=self._first_id,
            last_id=self._last_id,
        )

    def _note(self, batch: pa.RecordBatch) -> None:
        names = batch.schema.names
        if "start_time" in names:
            self._times.add(batch.column("start_time"))
        if "id" in names:
            ids = batch.column("id")
            if self._first_id is None:
                self._first_id = ids[0].as_py()
            self._last_id = ids[-1].as_py()
        self._rows += batch.num_rows

    def _flush(self) -> None:
        if not self._held:
            return
        if self._writer is None:
            self._writer = _open_writer(self._sink, self._schema, self._compression)
        try:
            table = pa.Table.from_batches(self._held, self._schema)
            self._held = []
            self._writer.write_table(table, row_group_size=table.num_rows)
        except pa.ArrowInvalid as error:
            raise ValueError(f"the rows do not fit the file's schema: {error}") from None
        self._row_groups += 1
        self._held_bytes = 0


def read_footer(read_range: Callable[[int, int], bytes], size: int) -> dict[str, str]:
    """The commit's key-value metadata of a Parquet file, read from its end.

    `read_range(start, end)` gives the bytes `start <= i < end` of the file of `size` bytes; one call does it for
    most files. Raises `ValueError` where the file is no whole Parquet file.
    """
    tail = read_range(max(0, size - TAIL_BYTES), size)
    if len(tail) < _END_BYTES or tail[-4:] != b"PAR1":
        raise ValueError("the object does not end as a Parquet file does")
    needed = int.from_bytes(tail[-_END_BYTES:-4], "little") + _END_BYTES
    if needed > size:
        raise ValueError("the object's footer is longer than the object")
    if needed > len(tail):
        tail = read_range(size - needed, size)
    if needed > _FOOTER_BYTES:
        # Three bytes can become a column chunk of a thousand: a large footer is counted before it is decoded.
        ThriftReader(tail[-needed:], allowed=needed).skip()
    try:
        metadata = pq.read_metadata(pa.BufferReader(tail)).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"the object's footer cannot be read: {error}") from None
    own = _OWN.encode()
    return {name[len(own) :].decode(): value.decode() for name, value in metadata.items() if name.startswith(own)}


class _Extremes:
    def __init__(self) -> None:
        self.least: datetime | None = None
        self.greatest: datetime | None = None

    def add(self, times: Any) -> None:
        # As numbers: a timestamp's `as_py` imports pandas where that is installed, which takes 2 s.
        bounds = pc.min_max(times.cast(pa.int64())).as_py()
        if bounds["min"] is not None:
            least, greatest = (instant(bounds[side]) for side in ("min", "max"))
            self.least = least if self.least is None else min(self.least, least)
            self.greatest = greatest if self.greatest is None else max(self.greatest, greatest)


class _CountingSink:
    """The face of a file that PyArrow wants around a sink; closing it leaves the sink open."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.bytes = 0

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._sink.write(data)
        self.bytes += size
        return size

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """Left to the sink's owner."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


def _pieces(batch: pa.RecordBatch, limit: int) -> list[pa.RecordBatch]:
    """The batch in slices of about `limit` bytes; a single row is never cut, however large."""
    if batch.num_rows == 1 or batch.nbytes <= limit:
        return [batch]
    half = batch.num_rows // 2
    return _pieces(batch.slice(0, half), limit) + _pieces(batch.slice(half), limit)


def dictionary_leaves(schema: pa.Schema) -> list[str]:
    """The paths of the columns that are written with a dictionary."""
    return [_leaf(field) for field in schema if field.name in _REPEATING]


def _open_writer(sink: _CountingSink, schema: pa.Schema, compression: Compression) -> Any:
    codec, level = _CODECS[compression]
    plain = [_leaf(field) for field in schema if not _is_payload(field.name)]
    # Every column, a list too, is one leaf, so that its place among the columns is the leaf's.
    sorted_by = [pq.SortingColumn(schema.names.index("start_time"))] if "start_time" in schema.names else ()
    return pq.ParquetWriter(
        sink,
        _with_field_ids(schema),
        version="2.6",
        data_page_version="1.0",
        compression=codec,
        compression_level=level,
        use_dictionary=dictionary_leaves(schema),
        write_statistics=plain,
        use_compliant_nested_type=True,
        use_byte_stream_split=False,
        write_batch_size=_WRITE_BATCH_ROWS,
        store_schema=False,
        sorting_columns=sorted_by,
    )


@lru_cache(maxsize=16)
def _with_field_ids(schema: pa.Schema) -> pa.Schema:
    return pa.schema(_with_field_id(field, _FIELD_IDS.get(field.name)) for field in schema)


def _with_field_id(field: pa.Field, number: int | None) -> pa.Field:
    if number is None:
        return field
    if pa.types.is_list(field.type):
        field = field.with_type(pa.list_(_with_field_id(field.type.value_field, number + _ELEMENT_IDS)))
    return field.with_metadata({"PARQUET:field_id": str(number)})


def _descriptions(schema: pa.Schema) -> str:
    return json.dumps({name: FIELD_BY_NAME[name].description for name in schema.names if name in FIELD_BY_NAME})


def _leaf(field: pa.Field) -> str:
    return field.name + _LIST_LEAF if pa.types.is_list(field.type) else str(field.name)


def _is_payload(name: str) -> bool:
    field = FIELD_BY_NAME.get(name)
    return field is None or field.payload or field.kind is Kind.JSON

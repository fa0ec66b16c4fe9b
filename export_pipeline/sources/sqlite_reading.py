"""The rows of one window out of SQLite: keys are sorted, then payloads looked up in their order."""

from collections.abc import Collection, Generator, Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.arrays import instants_array, text_array
from export_pipeline.runs.schema import DEFAULT_FIELDS, RUN_FIELDS
from export_pipeline.runs.window import Window
from export_pipeline.sources.queries import Output, RunQueries
from export_pipeline.sources.sqlite_spool import spool

BATCH_BYTES = 4 * 1024 * 1024
_KEYS = 'temp."export pipeline keys"'


class Session(Protocol):
    """What is needed of an SQLite session."""

    def run(self, sql: str) -> None:
        """Runs a statement that gives no rows."""

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one."""


class SqliteReading:
    """See `source.Reading`. Memory: a batch; the sorted keys wait in a temporary file."""

    def __init__(
        self, session: Session, *, queries: RunQueries, window: Window, fields: Collection[str] | None
    ) -> None:
        self._session = session
        self._fields = frozenset(DEFAULT_FIELDS if fields is None else fields)
        if queries.row_key is None:
            copy, queries = spool(queries, window, fields=self._fields)
            session.run(copy)
        self._queries = queries
        session.run(f"CREATE TEMP TABLE {_KEYS.removeprefix('temp.')} AS {queries.keys(window)}")
        ((rows, newest),) = session.stream(f"SELECT count(*), max(changed) FROM {_KEYS}")
        total_sql = queries.total(window)
        total = None if total_sql is None else next(session.stream(total_sql))[0]
        self.counted: tuple[int, int | None, int | None] = (rows, newest, total)

    def batches(self) -> Generator[pa.RecordBatch]:
        """See `source.Reading`."""
        outputs = self._queries.outputs(self._fields)
        present = [output for output in outputs if output.sql is not None]
        for chunk in _chunks(self._rows(present), present):
            yield _raw(chunk, outputs)
            del chunk

    def _rows(self, present: Sequence[Output]) -> Iterator[tuple[Any, ...]]:
        columns = ", ".join("wanted.instant" if _is_start(output) else str(output.sql) for output in present)
        found = 0
        for row in self._session.stream(
            f"SELECT {columns} FROM {_KEYS} AS wanted "
            f"CROSS JOIN {self._queries.source} ON {self._queries.row_key} = wanted.found ORDER BY wanted.rowid"
        ):
            found += 1
            yield row
        if found != self.counted[0]:
            raise SourceUnreachableError("the trace store changed while a snapshot of it was read")


def _chunks(rows: Iterator[tuple[Any, ...]], present: Sequence[Output]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows in lists of about `BATCH_BYTES`."""
    heavy = [
        number for number, output in enumerate(present) if output.field.payload or output.field.name in {"name", "tags"}
    ]
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


def _is_start(output: Output) -> bool:
    return output.field.name == "start_time"


def _raw(chunk: list[tuple[Any, ...]], outputs: Sequence[Output]) -> pa.RecordBatch:
    columns = iter(zip(*chunk, strict=True))
    arrays = []
    for output in outputs:
        if output.sql is None:
            arrays.append(pa.nulls(len(chunk), pa.string()))
        elif _is_start(output):
            arrays.append(instants_array(next(columns)))
        else:
            arrays.append(text_array([_as_bytes(value) for value in next(columns)]))
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in RUN_FIELDS])


def _as_bytes(value: Any) -> bytes | None:
    return value if value is None or value.__class__ is bytes else repr(value).encode()

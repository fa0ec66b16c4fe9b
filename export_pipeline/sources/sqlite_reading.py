"""The rows of one window out of SQLite: keys are sorted, then payloads looked up in their order."""

from array import array
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
_KEYS_AT_ONCE = 2_000
_KEY = "wanted.value"


class Session(Protocol):
    """What is needed of an SQLite session."""

    def run(self, sql: str) -> None:
        """Runs a statement that gives no rows."""

    def stream(self, sql: str, **parameters: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one."""


class SqliteReading:
    """See `source.Reading`. Memory: 16 bytes for each row of the window, and a batch."""

    def __init__(
        self, session: Session, *, queries: RunQueries, window: Window, fields: Collection[str] | None
    ) -> None:
        self._session = session
        self._fields = frozenset(DEFAULT_FIELDS if fields is None else fields)
        if queries.row_key is None:
            copy, queries = spool(queries, window, fields=self._fields)
            session.run(copy)
        self._queries = queries
        self._keys, self._instants = array("q"), array("q")
        newest: int | None = None
        for key, instant, changed in session.stream(queries.keys(window)):
            self._keys.append(key)
            self._instants.append(instant)
            if changed is not None and (newest is None or changed > newest):
                newest = changed
        self.counted = (len(self._keys), newest)

    def batches(self) -> Generator[pa.RecordBatch]:
        """See `source.Reading`."""
        outputs = self._queries.outputs(self._fields)
        present = [output for output in outputs if output.sql is not None]
        for chunk in _chunks(self._rows(present), present):
            yield _raw(chunk, outputs)
            del chunk

    def _rows(self, present: Sequence[Output]) -> Iterator[tuple[Any, ...]]:
        columns = ", ".join(_KEY if _is_start(output) else str(output.sql) for output in present)
        queries = self._queries
        looked_up = f"json_each(:keys) AS wanted CROSS JOIN {queries.source} ON {queries.row_key} = {_KEY}"
        start = [_is_start(output) for output in present].index(True)
        instants = iter(self._instants)
        for first in range(0, len(self._keys), _KEYS_AT_ONCE):
            wanted = self._keys[first : first + _KEYS_AT_ONCE].tolist()
            found = 0
            for row in self._session.stream(f"SELECT {columns} FROM {looked_up}", keys=str(wanted)):
                if row[start] != wanted[found]:
                    break
                found += 1
                yield (*row[:start], next(instants), *row[start + 1 :])
            if found != len(wanted):
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

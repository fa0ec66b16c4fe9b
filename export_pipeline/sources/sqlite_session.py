"""One read transaction on one SQLite connection, opened read-only."""

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX
from export_pipeline.sources.queries import Output, RunQueries
from export_pipeline.sources.sqlite_sql import DAY_FUNCTION, MICROS_FUNCTION, PROJECT_PARAMETERS
from export_pipeline.sources.times import DAY_MICROS, parse_micros

BATCH_BYTES = 4 * 1024 * 1024
_KEYS_AT_ONCE = 2_000
_PASSING = ("locked", "busy", "interrupted", "disk I/O error", "database or disk is full", "out of memory")


class SqliteSession:
    """See `source.Session`."""

    def __init__(self, path: Path, *, unit: EpochUnit, project: str | None) -> None:
        self._path = path
        self._parameters = dict(zip(PROJECT_PARAMETERS, _project_forms(project), strict=True))
        with self._translated():
            self._connection = _connect(path)
            try:
                _add_functions(self._connection, unit)
                # Sorting spills to files, so that memory stays flat.
                self._connection.execute("PRAGMA temp_store = FILE")
                self._connection.execute("BEGIN")
                self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except BaseException:
                self._connection.close()
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _failed(error, self._path) from None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """See `source.Session`; text comes as bytes."""
        with self._translated():
            return self._connection.execute(sql, self._parameters).fetchall()

    def names(self, sql: str) -> list[str]:
        """The names of a query's columns."""
        with self._translated():
            return [item[0] for item in self._connection.execute(sql, self._parameters).description]

    def batches(self, queries: RunQueries, window: Window, outputs: Sequence[Output]) -> Generator[pa.RecordBatch]:
        """See `source.Session`."""
        present = [output for output in outputs if output.sql is not None]
        columns = ", ".join(str(output.sql) for output in present)
        with self._translated():
            if queries.row_key is None:
                sql = f"SELECT {columns} {queries.kept(window)} ORDER BY {', '.join(queries.order())}"
                rows: Iterator[tuple[Any, ...]] = self._connection.execute(sql, self._parameters)
            else:
                rows = self._by_key(queries, window, columns=columns)
            for chunk in _chunks(rows, present):
                yield _raw(chunk, outputs)
                del chunk

    def _by_key(self, queries: RunQueries, window: Window, *, columns: str) -> Iterator[tuple[Any, ...]]:
        """The rows in order: only keys are sorted, payloads are then looked up."""
        key = queries.row_key
        sql = f"SELECT {key} {queries.kept(window)} ORDER BY {', '.join(queries.order())}"
        cursor = self._connection.execute(sql, self._parameters)
        keys = pa.chunked_array([pa.array([], pa.int64())])
        while some := cursor.fetchmany(50_000):
            keys = pa.chunked_array([*keys.chunks, pa.array([row[0] for row in some], pa.int64())])
        lookup = f"SELECT {columns} FROM json_each(:keys) AS wanted CROSS JOIN {queries.source} ON {key} = wanted.value"
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            wanted = keys.slice(start, _KEYS_AT_ONCE).to_pylist()
            found = 0
            for row in self._connection.execute(lookup, {"keys": str(wanted), **self._parameters}):
                found += 1
                yield row
            if found != len(wanted):
                raise SourceUnreachableError(f"{self._path} gave {found} of {len(wanted)} rows; it changed underneath")

    def cancel(self) -> None:
        """See `source.Session`."""
        self._connection.interrupt()

    def close(self) -> None:
        """See `source.Session`."""
        self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise SourceUnusableError(
            f"{PREFIX}SOURCE_URL names {path}, which {'is no file' if path.exists() else 'does not exist'}"
        )
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None, check_same_thread=False)
    connection.text_factory = bytes
    return connection


def _add_functions(connection: sqlite3.Connection, unit: EpochUnit) -> None:
    def micros(value: Any) -> int | None:
        return parse_micros(value, unit)

    def day(value: Any) -> int | None:
        found = parse_micros(value, unit)
        return None if found is None else found // DAY_MICROS

    connection.create_function(MICROS_FUNCTION, 1, micros, deterministic=True)
    connection.create_function(DAY_FUNCTION, 1, day, deterministic=True)


def _project_forms(project: str | None) -> tuple[bytes | None, bytes | None, int | None]:
    """A project's key as text, as the 16 bytes of a UUID, and as an integer."""
    if project is None:
        return None, None, None
    text = project.encode("utf-8", "surrogatepass")
    digits = project.replace("-", "")
    try:
        blob = bytes.fromhex(digits) if len(digits) == 32 else None
    except ValueError:
        blob = None
    number = int(project) if project.isascii() and project.isdecimal() and len(project) < 19 else None
    return text, blob, number


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


def _raw(chunk: list[tuple[Any, ...]], outputs: Sequence[Output]) -> pa.RecordBatch:
    columns = iter(zip(*chunk, strict=True))
    arrays = []
    for output in outputs:
        if output.sql is None:
            arrays.append(pa.nulls(len(chunk), pa.string()))
        elif output.field.name == "start_time":
            arrays.append(
                pa.array(next(columns), pa.int64()).cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
            )
        else:
            arrays.append(_text_array(next(columns)))
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in RUN_FIELDS])


def _text_array(values: Sequence[Any]) -> pa.Array:
    """Values of any type as strings, whose bytes are not checked."""
    try:
        binary = pa.array(values, pa.binary())
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        binary = pa.array([_as_bytes(value) for value in values], pa.binary())
    return binary.view(pa.string())


def _as_bytes(value: Any) -> bytes | None:
    return value if value is None or isinstance(value, bytes) else repr(value).encode()


def _failed(error: sqlite3.Error, path: Path) -> ExportPipelineError:
    text = str(error)
    if "not a database" in text:
        return SourceUnusableError(f"{PREFIX}SOURCE_URL names {path}, which is no SQLite database")
    if "unable to open" in text:
        return SourceUnusableError(
            f"{PREFIX}SOURCE_URL: {path} cannot be opened; it and its folder must be readable for this user"
        )
    if any(sign in text for sign in _PASSING):
        return SourceUnreachableError(f"the trace store {path} broke off: {text}")
    return SourceUnusableError(f"the trace store {path} cannot be read: {text}")

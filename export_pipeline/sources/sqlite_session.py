"""One read transaction on one SQLite connection, opened read-only."""

import sqlite3
from array import array
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
from export_pipeline.sources.arrays import instants_array, text_array
from export_pipeline.sources.queries import Output, RunQueries
from export_pipeline.sources.sqlite_sql import DAY_FUNCTION, MICROS_FUNCTION, PROJECT_PARAMETERS
from export_pipeline.sources.times import DAY_MICROS, parse_micros

BATCH_BYTES = 4 * 1024 * 1024
BUSY_SECONDS = 30.0
_KEYS_AT_ONCE = 2_000
_KNOWN = "wanted.value"
_PASSING = ("locked", "busy", "interrupted", "disk I/O error", "database or disk is full", "out of memory")


class SqliteSession:
    """See `source.Session`."""

    def __init__(self, path: Path, *, unit: EpochUnit, project: str | None) -> None:
        self._path = path
        self._keys, self._instants = array("q"), array("q")
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

    def fingerprint(self, queries: RunQueries, window: Window) -> tuple[int, int | None]:
        """See `source.Session`. Where rows have numbers, this reads those in order, for `batches`: 16 bytes a row."""
        if queries.row_key is None:
            rows, newest = self.rows(queries.fingerprint(window))[0]
            return rows, newest
        newest = None
        with self._translated():
            cursor = self._connection.execute(queries.keys(window), self._parameters)
            while some := cursor.fetchmany(10_000):
                keys, instants, changes = zip(*some, strict=True)
                self._keys.extend(keys)
                self._instants.extend(instants)
                newest = max((change for change in (*changes, newest) if change is not None), default=None)
        return len(self._keys), newest

    def batches(self, queries: RunQueries, window: Window, outputs: Sequence[Output]) -> Generator[pa.RecordBatch]:
        """See `source.Session`."""
        present = [output for output in outputs if output.sql is not None]
        with self._translated():
            rows = self._by_key(queries, present) if queries.row_key else self._whole(queries, window, present)
            for chunk in _chunks(rows, present):
                yield _raw(chunk, outputs)
                del chunk

    def _whole(self, queries: RunQueries, window: Window, present: Sequence[Output]) -> Iterator[tuple[Any, ...]]:
        """The rows of a view, a query or a table WITHOUT ROWID: SQLite sorts them whole, in a temporary file."""
        columns = ", ".join(str(output.sql) for output in present)
        sql = f"SELECT {columns} {queries.kept(window)} ORDER BY {', '.join(queries.order())}"
        return self._connection.execute(sql, self._parameters)

    def _by_key(self, queries: RunQueries, present: Sequence[Output]) -> Iterator[tuple[Any, ...]]:
        """The rows looked up in the order of their keys, so that nothing but keys was sorted."""
        columns = ", ".join(_KNOWN if _is_start(output) else str(output.sql) for output in present)
        looked_up = f"json_each(:keys) AS wanted CROSS JOIN {queries.source} ON {queries.row_key} = wanted.value"
        sql = f"SELECT {columns} FROM {looked_up}"
        start = [_is_start(output) for output in present].index(True)
        instants = iter(self._instants)
        for first in range(0, len(self._keys), _KEYS_AT_ONCE):
            wanted = self._keys[first : first + _KEYS_AT_ONCE].tolist()
            found = 0
            for row in self._connection.execute(sql, {"keys": str(wanted), **self._parameters}):
                if row[start] != wanted[found]:
                    break
                found += 1
                yield (*row[:start], next(instants), *row[start + 1 :])
            if found != len(wanted):
                raise SourceUnreachableError(f"the trace store {self._path} changed while a snapshot of it was read")

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
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
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

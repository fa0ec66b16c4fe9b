"""One read transaction on one SQLite connection, opened read-only."""

import re
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from typing_extensions import override

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.ids import canonical
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql import unpack
from export_pipeline.sources.sql.projects import as_key, unescaped
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sql.source import Session
from export_pipeline.sources.sql.times import DAY_MICROS, parse_micros, path_stamp
from export_pipeline.sources.sqlite.dialect import (
    DAY_FUNCTION,
    HASH_FUNCTION,
    ID_FUNCTION,
    MICROS_FUNCTION,
    PAYLOAD_FUNCTION,
    PLAIN_FUNCTION,
    PROJECT_PARAMETERS,
    SCALAR_FUNCTION,
    STAMP_FUNCTION,
    TENANT_PARAMETER,
)
from export_pipeline.sources.sqlite.errors import BUSY_SECONDS, of_connecting, of_first_read, of_query
from export_pipeline.sources.sqlite.file import FileState
from export_pipeline.sources.sqlite.filter import add_functions, parameter
from export_pipeline.sources.sqlite.reading import SqliteReading

Translate = Callable[[sqlite3.Error, Path], ExportPipelineError]

_HEX = re.compile("(?:[0-9A-F]{2})+")
_INTEGER = re.compile("0|-?[1-9][0-9]{0,18}")


class SqliteSession(Session):
    """A read transaction on a connection of its own."""

    def __init__(self, path: Path, *, unit: EpochUnit, project: ProjectKey | None) -> None:
        self._path = path
        forms = _project_forms(None if project is None else project.id)
        self._parameters: dict[str, Any] = dict(zip(PROJECT_PARAMETERS, forms, strict=True))
        tenant = None if project is None or project.tenant is None else canonical(project.tenant)
        self._parameters[TENANT_PARAMETER] = None if tenant is None else tenant.encode("utf-8", "surrogatepass")
        opened = FileState.of(path)
        self._connection = _connect(path)
        with self._translated(of_first_read):
            try:
                _add_functions(self._connection, unit)
                # Sorting spills to files, so that memory stays flat.
                self._connection.execute("PRAGMA temp_store = FILE")
                self._connection.execute("BEGIN")
                self.definition = tuple(self._connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))
                self._file = self._still(opened)
                self._refuse_utf16()
            except BaseException:
                self._connection.close()
                raise

    def _still(self, opened: FileState | None) -> FileState | None:
        """The state of the file, whose log and locks are opened at the first read by its name."""
        if opened is None or not opened.is_at(self._path):
            raise SourceUnreachableError(f"the trace store {self._path} was replaced while it was opened; try again")
        (journal,) = self._connection.execute("PRAGMA journal_mode").fetchone()
        return None if journal == b"wal" else FileState.of(self._path)

    def _refuse_utf16(self) -> None:
        """The bytes of such a file's text are not those that times, ids and filters are read from."""
        (encoding,) = self._connection.execute("PRAGMA encoding").fetchone()
        if encoding != b"UTF-8":
            raise SourceUnusableError(
                f"{PREFIX}SOURCE_URL: {self._path} holds its text as {encoding.decode()}, and only UTF-8 can be read; "
                "copy it into a new file with sqlite3's .dump, without its line PRAGMA encoding"
            )

    @contextmanager
    def _translated(self, translate: Translate = of_query) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise translate(error, self._path) from None

    @override
    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Text comes as bytes."""
        with self._translated():
            return self._connection.execute(sql, self._parameters).fetchall()

    @override
    def bind(self, values: Sequence[str | int]) -> None:
        self._parameters |= {parameter(number): value for number, value in enumerate(values, 1)}

    def names(self, sql: str) -> list[str]:
        """The names of a query's columns."""
        with self._translated():
            return [item[0] for item in self._connection.execute(sql, self._parameters).description]

    def run(self, sql: str) -> None:
        """A statement that gives no rows, in the temporary database."""
        with self._translated():
            self._connection.execute(sql, self._parameters)

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one."""
        with self._translated():
            yield from self._connection.execute(sql, self._parameters)

    @override
    def read(self, queries: RunQueries, window: Window, fields: Collection[str] | None) -> SqliteReading:
        return SqliteReading(self, queries=queries, window=window, fields=fields)

    @override
    def confirm(self) -> None:
        """While a file without WAL is read, SQLite lets nobody write to it."""
        if self._file is not None and self._file.was_written_at(self._path):
            raise SourceUnreachableError(
                f"the trace store {self._path} was written to by something other than SQLite while it was read; "
                "replace it by renaming a new file, never by copying over it"
            )

    @override
    def cancel(self) -> None:
        self._connection.interrupt()

    @override
    def close(self) -> None:
        self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        if not path.is_file():
            raise SourceUnusableError(
                f"{PREFIX}SOURCE_URL names {path}, which {'is not a file' if path.exists() else 'does not exist'}"
            )
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError):
        raise of_connecting(path) from None
    connection.text_factory = bytes
    return connection


def _add_functions(connection: sqlite3.Connection, unit: EpochUnit) -> None:
    def micros(value: Any) -> int | None:
        return parse_micros(value, unit)

    def day(value: Any) -> int | None:
        parsed = parse_micros(value, unit)
        return None if parsed is None else parsed // DAY_MICROS

    connection.create_function(MICROS_FUNCTION, 1, micros, deterministic=True)
    connection.create_function(DAY_FUNCTION, 1, day, deterministic=True)
    connection.create_function(STAMP_FUNCTION, 1, path_stamp, deterministic=True)
    connection.create_function(PAYLOAD_FUNCTION, 1, _payload, deterministic=True)
    connection.create_function(PLAIN_FUNCTION, 2, _plain, deterministic=True)
    connection.create_function(SCALAR_FUNCTION, 1, _scalar, deterministic=True)
    connection.create_function(ID_FUNCTION, 1, _canonical, deterministic=True)
    connection.create_function(HASH_FUNCTION, 1, _hash, deterministic=True)
    add_functions(connection)


def _payload(value: bytes) -> str | bytes:
    return _text(unpack.payload(value))


def _plain(value: bytes, is_json: int) -> str | bytes | None:
    plain = unpack.plain(value, is_json=bool(is_json))
    return _text(plain) if isinstance(plain, bytes) and plain is not value else plain


def _scalar(value: bytes) -> str | bytes | None:
    try:
        return unpack.scalar(value.decode())
    except UnicodeDecodeError:
        return value


def _canonical(value: bytes | None) -> str | None:
    return canonical(as_key(value)) if value else None


def _hash(value: bytes | None) -> int:
    return 0 if value is None else zlib.crc32(value)


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _project_forms(project: str | None) -> tuple[bytes | None, bytes | None, int | None, bytes | None]:
    """A project's key as text, as the bytes that SQLite's hex() writes so, as an integer, as text that is not UTF-8."""
    if project is None:
        return None, None, None, None
    text = project.encode("utf-8", "surrogatepass")
    blob = bytes.fromhex(project) if _HEX.fullmatch(project) else None
    number = int(project) if _INTEGER.fullmatch(project) and -(2**63) <= int(project) < 2**63 else None
    return text, blob, number, unescaped(text)

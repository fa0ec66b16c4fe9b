"""Writes sample rows into SQLite and PostgreSQL: all of them or, when anything goes wrong, none."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from export_pipeline.errors import InputError, SourceUnreachableError, SourceUnusableError
from export_pipeline_sample.rows import FEEDBACK_COLUMNS, RUN_COLUMNS, SESSION_COLUMNS, Row

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

Existing = Literal["refuse", "append", "replace"]

TABLES: Mapping[str, Sequence[str]] = {
    "sessions": SESSION_COLUMNS,
    "runs": RUN_COLUMNS,
    "feedbacks": FEEDBACK_COLUMNS,
}
_IDS = {"id", "tenant_id", "session_id", "trace_id", "parent_run_id", "reference_example_id", "reference_dataset_id",
        "run_id"}  # fmt: skip
_TIMES = {"start_time", "end_time", "first_token_time", "inserted_at", "modified_at", "created_at"}
_JSON = {"inputs", "outputs", "extra", "events", "feedback_stats", "tags", "value", "correction", "feedback_source"}
_COUNTS = {"total_tokens", "prompt_tokens", "completion_tokens"}
_DECIMALS = {"total_cost", "prompt_cost", "completion_cost", "score"}

# Made after the rows are in: sorting once is quicker than keeping a tree in order.
_INDEXES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS sessions_id ON sessions (id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS runs_id ON runs (id)",
    "CREATE INDEX IF NOT EXISTS runs_session_id_start_time ON runs (session_id, start_time, id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS feedbacks_id ON feedbacks (id)",
    "CREATE INDEX IF NOT EXISTS feedbacks_run_id ON feedbacks (run_id)",
)


class StoreWriter(Protocol):
    """A trace store within its one transaction."""

    def write(self, table: str, rows: Sequence[Row]) -> None:
        """Adds rows to a table."""

    def known_sessions(self) -> set[str]:
        """The ids of the projects that are there."""


@contextmanager
def open_store(url: str, *, existing: Existing) -> Iterator[StoreWriter]:
    """The store behind a SQLAlchemy URL, its tables made; what is written in the block counts once the block ends well.

    Where runs are there already, "refuse" raises `InputError`, "replace" removes them, "append" keeps them. Raises
    `InputError` too for a URL that is neither SQLite nor PostgreSQL, and where rows are there already under their ids.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise InputError(
            "the trace store's URL cannot be read; write sqlite:///path/to/file or postgresql://user:password@host/name"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise InputError("sample traces go into a file: sqlite:///path/to/file")
        with _sqlite(Path(parsed.database).absolute(), existing) as writer:
            yield writer
    elif backend == "postgresql":
        with _postgres(parsed, existing) as writer:
            yield writer
    else:
        raise InputError(f"sample traces can be written to SQLite and PostgreSQL, not to {backend!r}")


def _refusal(place: str) -> InputError:
    return InputError(f"{place} holds runs already; append to them or replace them explicitly (--append, --replace)")


def _columns(table: str, types: Mapping[str, str], default: str) -> str:
    required = {"id", "session_id", "name", "run_type", "start_time"} if table == "runs" else {"id"}
    return ", ".join(
        f"{name} {types.get(name, default)}{' NOT NULL' if name in required else ''}" for name in TABLES[table]
    )


class _SqliteWriter:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def write(self, table: str, rows: Sequence[Row]) -> None:
        columns = TABLES[table]
        marks = ", ".join("?" * len(columns))
        self._connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)

    def known_sessions(self) -> set[str]:
        return {row[0] for row in self._connection.execute("SELECT id FROM sessions")}


@contextmanager
def _sqlite(path: Path, existing: Existing) -> Iterator[_SqliteWriter]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tables = _sqlite_tables(path)
        if tables.get("runs") and existing == "refuse":
            raise _refusal(str(path))
        # A new file is written aside and moved into place whole; one with other contents is changed in a transaction.
        aside = path.with_name(f"{path.name}.{os.getpid()}.partial")
        fresh = not tables or (existing == "replace" and tables.keys() <= TABLES.keys())
        try:
            with closing(sqlite3.connect(aside if fresh else path, timeout=30, isolation_level=None)) as connection:
                connection.execute(f"PRAGMA synchronous = {'OFF' if fresh else 'NORMAL'}")
                yield from _sqlite_transaction(connection, emptied=existing == "replace")
            if fresh:
                with aside.open("rb") as file:
                    os.fsync(file.fileno())
                aside.replace(path)
        finally:
            for left in (aside, aside.with_name(aside.name + "-journal")):
                left.unlink(missing_ok=True)
    except sqlite3.IntegrityError as error:
        raise _duplicate(str(path), str(error)) from None
    except sqlite3.Error as error:
        raise InputError(f"{path} cannot be written as a trace store: {error}") from None
    except OSError as error:
        raise InputError(f"{error.filename or path} cannot be written: {error.strerror}") from None


def _sqlite_transaction(connection: sqlite3.Connection, *, emptied: bool) -> Iterator[_SqliteWriter]:
    types = dict.fromkeys(_COUNTS, "INTEGER") | {"is_root": "INTEGER", "score": "REAL"}
    connection.execute("BEGIN IMMEDIATE")
    for table in TABLES:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({_columns(table, types, 'TEXT')})")
        if emptied:
            connection.execute(f"DELETE FROM {table}")
    yield _SqliteWriter(connection)
    for statement in _INDEXES:
        connection.execute(statement)
    connection.execute("COMMIT")


def _sqlite_tables(path: Path) -> dict[str, bool]:
    """The tables of a file, and whether they hold rows."""
    if not path.exists() or path.stat().st_size == 0:
        return {}
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: name in TABLES and bool(connection.execute(f"SELECT EXISTS (SELECT 1 FROM {name})").fetchone()[0])
            for name in names
        }


class _PostgresWriter:
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def write(self, table: str, rows: Sequence[Row]) -> None:
        text = BytesIO("".join(map(_copy_line, rows)).encode())
        self._cursor.copy_expert(f"COPY {table} ({', '.join(TABLES[table])}) FROM STDIN", text, size=1 << 20)

    def known_sessions(self) -> set[str]:
        self._cursor.execute("SELECT id::text FROM sessions")
        return {row[0] for row in self._cursor.fetchall()}


@contextmanager
def _postgres(url: "URL", existing: Existing) -> Iterator[_PostgresWriter]:
    import psycopg2

    shown = url.render_as_string(hide_password=True)
    try:
        connection = psycopg2.connect(
            host=url.host, port=url.port, user=url.username, password=url.password, dbname=url.database,
            connect_timeout=10, **{name: str(value) for name, value in url.query.items()},
        )  # fmt: skip
    except psycopg2.Error as error:
        reason = str(error).strip().splitlines()[0]
        raise SourceUnreachableError(f"the trace store {shown} cannot be reached: {reason}") from None
    try:
        with connection, connection.cursor() as cursor:
            _prepare_postgres(cursor, shown, existing)
            yield _PostgresWriter(cursor)
            for statement in (*_INDEXES, *(f"ANALYZE {table}" for table in TABLES)):
                cursor.execute(statement)
    except psycopg2.errors.UniqueViolation as error:
        raise _duplicate(shown, error.diag.message_detail or str(error)) from None
    except psycopg2.OperationalError as error:
        raise SourceUnreachableError(f"the trace store {shown} broke off: {str(error).strip()}") from None
    except psycopg2.Error as error:
        raise SourceUnusableError(f"sample traces cannot be written to {shown}: {str(error).strip()}") from None
    finally:
        connection.close()


def _prepare_postgres(cursor: Any, shown: str, existing: Existing) -> None:
    types = (
        dict.fromkeys(_IDS, "uuid") | dict.fromkeys(_TIMES, "timestamptz") | dict.fromkeys(_JSON, "jsonb")
        | dict.fromkeys(_COUNTS, "bigint") | dict.fromkeys(_DECIMALS, "numeric") | {"is_root": "boolean"}
    )  # fmt: skip
    for table in TABLES:
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {table} ({_columns(table, types, 'text')})")
    cursor.execute("SELECT EXISTS (SELECT 1 FROM runs)")
    if cursor.fetchone()[0] and existing == "refuse":
        raise _refusal(shown)
    if existing == "replace":
        cursor.execute(f"TRUNCATE {', '.join(TABLES)}")


def _copy_line(row: Iterable[str | int | None]) -> str:
    """A row in COPY's text format."""
    return "\t".join(["\\N" if value is None else _escaped(value) for value in row]) + "\n"


def _escaped(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if "\n" in value:
        value = value.replace("\n", "\\n")
    if "\t" in value:
        value = value.replace("\t", "\\t")
    return value.replace("\r", "\\r") if "\r" in value else value


def _duplicate(place: str, detail: str) -> InputError:
    return InputError(
        f"{place} holds rows of this sample already ({detail}); append with another seed, other days or other projects"
    )

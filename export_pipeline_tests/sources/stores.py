"""Trace stores for the tests: the same statements on SQLite, PostgreSQL, ClickHouse and MariaDB."""

import json
import re
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlencode, urlsplit
from urllib.request import urlopen
from uuid import UUID

import pytest

from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.raw import check_raw
from export_pipeline.runs.window import Window
from export_pipeline.settings import Settings, load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey, RunSource

PROJECT = "0190aaaa-0000-7000-8000-000000000001"
OTHER = "0190aaaa-0000-7000-8000-000000000002"
DAY = date(2026, 3, 14)
START = "2026-03-14 10:00:00+00:00"
"""In the midst of the day."""

TYPES = {
    "sqlite": {"uuid": "TEXT", "time": "TEXT", "json": "JSON", "any": "", "array": "JSON", "flag": "BOOLEAN"},
    "postgresql": {"uuid": "UUID", "time": "TIMESTAMPTZ", "json": "JSONB", "array": "TEXT[]", "flag": "BOOLEAN"},
    "clickhouse": {"uuid": "UUID", "time": "DateTime64(6)", "json": "String", "array": "Array(String)", "flag": "Bool"},
    "mysql": {"uuid": "VARCHAR(64)", "time": "DATETIME(6)", "json": "JSON", "array": "JSON", "flag": "BOOLEAN"},
}
EVERYWHERE = pytest.mark.parametrize(
    "store",
    ["sqlite", *(pytest.param(name, marks=pytest.mark.slow) for name in ("postgresql", "clickhouse", "mysql"))],
    indirect=True,
)
"""Marks tests whose statements all databases take."""
_LONG = {"TEXT": "LONGTEXT", "BLOB": "LONGBLOB", "JSONB": "JSON", "TEXT PRIMARY KEY": "VARCHAR(255) PRIMARY KEY"}
"""MariaDB's types for what has no limit elsewhere, and for what can be a key."""
TWO = pytest.mark.parametrize("store", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
"""Marks tests of what SQLite and PostgreSQL alone have."""
BASIC = {
    "id": "{uuid}",
    "session_id": "{uuid}",
    "name": "TEXT",
    "run_type": "TEXT",
    "start_time": "{time}",
}


def uuid(number: int) -> str:
    """A UUID that sorts as its number does."""
    return str(UUID(int=number))


def micros(text: str) -> int:
    """Microseconds since 1970 of an ISO text with a zone."""
    since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def settings_for(url: str, *, mapping: Path | None = None) -> Settings:
    """Settings that name this trace store."""
    return load_settings(source_url=url, control_url="sqlite:///control.db", bucket="bucket", mapping=mapping)


class Store:
    """A database that a test fills and a source reads."""

    def __init__(self, dialect: str, url: str, folder: Path) -> None:
        self.dialect, self.url, self.folder = dialect, url, folder
        self.times: set[tuple[str, str]] = set()
        """Tables with their columns of times, where those take no zone."""
        self.connection = self.connect()

    def connect(self) -> Any:
        """Another connection, in autocommit."""
        if self.dialect == "sqlite":
            connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            return connection
        if self.dialect == "clickhouse":
            return None  # each statement is a request of its own
        if self.dialect == "mysql":
            return mysql_connection(self.url)
        import psycopg2

        connection = psycopg2.connect(self.url.replace("+psycopg2", ""))
        connection.autocommit = True
        return connection

    def close(self) -> None:
        """Closes the test's own connection."""
        if self.connection is not None:
            self.connection.close()

    def run(self, statement: str, *values: Any) -> None:
        """Runs one statement; `?` stands for a value, `{time}` and the like for the database's own types."""
        for name, kind in TYPES[self.dialect].items():
            statement = statement.replace("{" + name + "}", kind)
        if self.dialect == "sqlite":
            self.connection.execute(statement, values)
        elif self.dialect == "clickhouse":
            literals = iter(values)
            statement = re.sub(r"[?]", lambda _: clickhouse_literal(next(literals)), statement)
            execute(self.url, as_mutation(statement))
        elif self.dialect == "mysql":
            with self.connection.cursor() as cursor:
                cursor.execute(statement.replace("?", "%s") if values else statement, values or None)
        else:
            with self.connection.cursor() as cursor:
                cursor.execute(statement.replace("?", "%s") if values else statement, values or None)

    def table(self, name: str, columns: dict[str, str], *, extra: str = "") -> None:
        """Makes a table; in ClickHouse of an engine that keeps all rows, unsorted, unless `extra` names one."""
        listed = ", ".join(f"{key} {kind}" for key, kind in columns.items())
        if self.dialect == "mysql":
            kinds = {key: _LONG.get(kind, kind) for key, kind in columns.items()}
            listed = ", ".join(f"{quoted(key)} {kind}" for key, kind in kinds.items())
            self.times |= {(name, key) for key, kind in columns.items() if kind.startswith(("{time}", "TIMESTAMP"))}
        if self.dialect == "clickhouse":
            listed = listed.replace(" PRIMARY KEY", "")
            self.run(f"CREATE TABLE {name} ({listed}) {extra or 'ENGINE = MergeTree ORDER BY tuple()'}")
        else:
            self.run(f"CREATE TABLE {name} ({listed}{extra})")

    def insert(self, table: str, /, **values: Any) -> None:
        """Adds a row."""
        names = [quoted(name) for name in values] if self.dialect == "mysql" else [*values]
        if self.dialect == "mysql":
            values = {name: mysql_value(value, (table, name) in self.times) for name, value in values.items()}
        self.run(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(values))})", *values.values())

    def projects(self, *keys: str) -> None:
        """Makes the table of projects with these."""
        self.table("sessions", {"id": "{uuid}", "name": "TEXT"})
        for number, key in enumerate(keys):
            self.insert("sessions", id=key, name=f"project {number}")

    def without_its_schema(self, text: str) -> str:
        """The text without the name that only this store's schema has."""
        found = re.search("search_path%3D(\\w+)", self.url)
        return text.replace(found[1], "public") if found else text

    def runs(self, columns: dict[str, str] | None = None, *, unique: bool = False) -> None:
        """Makes the tables of projects and runs: the required columns and those named here."""
        self.projects(PROJECT)
        kinds = {**BASIC, **(columns or {})}
        if unique:
            kinds["id"] += " PRIMARY KEY"
        self.table("runs", kinds)

    def add(self, number: int | str, start: Any, **values: Any) -> None:
        """Adds a run; its number becomes its id."""
        values = {"session_id": PROJECT, "name": "run", "run_type": "llm", **values}
        self.insert("runs", id=uuid(number) if isinstance(number, int) else number, start_time=start, **values)

    def source(self, mapping: str | None = None) -> RunSource:
        """A source that reads the store, perhaps through a mapping file of this text."""
        path = None
        if mapping is not None:
            path = self.folder / "mapping.yaml"
            path.write_text(mapping)
        return open_source(settings_for(self.url, mapping=path))


def fill(store: Store, rows: int, *, megabytes: int) -> None:
    """Rows that do not fit into the read-ahead together."""
    store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(rows):
        store.add(number, START, inputs="x")
    big = f"printf('%.{megabytes}000000c', 'x')" if store.dialect == "sqlite" else f"repeat('x', {megabytes}000000)"
    store.run(f"UPDATE runs SET inputs = {big}")


def execute(url: str, statement: str, *, nullable: bool = True) -> str:
    """Runs a statement in a database of a `ClickhouseServer`; rows as tab-separated text.

    `nullable`: columns of a new table may be null, as in other databases.
    """
    parts = urlsplit(url)
    settings = {"date_time_input_format": "best_effort", "session_timezone": "UTC"}
    settings["data_type_default_nullable"] = str(int(nullable))
    query = urlencode({"database": parts.path.removeprefix("/"), **settings})
    place = f"http://{parts.hostname}:{parts.port}/?{query}"
    try:
        with urlopen(place, statement.encode("utf-8", "surrogateescape"), timeout=60) as answer:
            return str(answer.read().decode("utf-8", "surrogateescape"))
    except HTTPError as error:
        raise AssertionError(error.read().decode()) from None


def as_mutation(statement: str) -> str:
    """An UPDATE or DELETE in ClickHouse's words; other statements as they are."""
    if update := re.match(r"UPDATE (\w+) SET (.*)", statement, re.DOTALL):
        where = "" if " WHERE " in update[2] else " WHERE 1"
        return f"ALTER TABLE {update[1]} UPDATE {update[2]}{where} SETTINGS mutations_sync = 1"
    if delete := re.match(r"DELETE FROM (\w+)", statement):
        return statement if " WHERE " in statement else f"TRUNCATE TABLE {delete[1]}"
    return statement


def clickhouse_literal(value: Any) -> str:
    """A value in ClickHouse's SQL; bytes are text that may be no UTF-8."""
    if value is None:
        return "NULL"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(clickhouse_literal, value))}]"
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return "'" + "".join(f"\\x{byte:02x}" for byte in value) + "'"
    return repr(value).lower() if isinstance(value, bool) else repr(value)


def quoted(name: str) -> str:
    """A column's name, some of which are words of MariaDB's."""
    return name if name.startswith('"') else f'"{name}"'


def mysql_connection(url: str) -> Any:
    """A connection to a database in MariaDB, in autocommit."""
    import pymysql

    parts = urlsplit(url)
    return pymysql.connect(
        host=str(parts.hostname),
        port=int(parts.port or 0),
        user=str(parts.username),
        password=unquote(str(parts.password)),
        database=parts.path.removeprefix("/"),
        charset="utf8mb4",
        autocommit=True,
        init_command="SET time_zone = '+00:00', sql_mode = 'PIPES_AS_CONCAT,ANSI_QUOTES,NO_BACKSLASH_ESCAPES', "
        "max_recursive_iterations = 1000000",
    )


def mysql_value(value: Any, is_time: bool) -> Any:
    """A value as MariaDB's columns take it: lists as JSON, times in UTC without a zone."""
    if is_time and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return json.dumps(value) if isinstance(value, (list, tuple)) else value


def rows_of(
    source: RunSource, *, project: str = PROJECT, window: Window | None = None, fields: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """All rows of a window (by default `DAY`) as dicts: text as bytes, times as microseconds."""
    found: list[dict[str, Any]] = []
    wanted = None if fields is None else list(fields)
    with source.open(ProjectKey(project), window or Window.of_day(DAY), wanted) as snapshot:
        for batch in snapshot.batches():
            check_raw(batch)
            names = batch.schema.names
            columns = [_plain(batch.column(name)) for name in names]
            found += [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
        assert snapshot.fingerprint.rows == len(found)
    return found


def ids_of(source: RunSource, *, project: str = PROJECT, window: Window | None = None) -> list[int]:
    """The numbers of the runs of a window, in the order in which they come."""
    return [UUID(row["id"].decode()).int for row in rows_of(source, project=project, window=window)]


def matching(source: RunSource, text: str, *, fields: list[str] | None = None) -> list[int]:
    """The numbers of the runs that match, which the fingerprints of snapshot and day must count too."""
    tree = parse_filter(text)
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY), fields, filter=tree) as snapshot:
        found = [UUID(run).int for batch in snapshot.batches() for run in batch.column("id").to_pylist()]
        assert snapshot.fingerprint.rows == len(found)
    days = source.days(ProjectKey(PROJECT), Window.of_day(DAY), filter=tree)
    assert {day: counted.rows for day, counted in days.items()} == ({DAY: len(found)} if found else {})
    return found


def _plain(array: Any) -> Sequence[Any]:
    import pyarrow as pa

    if pa.types.is_string(array.type):
        array = array.view(pa.binary())
    elif pa.types.is_timestamp(array.type):
        array = array.view(pa.int64())
    return list(array.to_pylist())


def readers(store: Store) -> list[int]:
    """The server processes of the product's connections to a store in PostgreSQL.

    Stores that share a database give their connections a name of their own, the test's as well as the product's.
    """
    name = "coalesce(nullif(current_setting('application_name'), ''), 'export-pipeline')"
    with store.connection.cursor() as cursor:
        ours = f"application_name = {name} AND datname = current_database() AND pid <> pg_backend_pid()"
        cursor.execute(f"SELECT pid FROM pg_stat_activity WHERE {ours}")
        return [pid for (pid,) in cursor.fetchall()]

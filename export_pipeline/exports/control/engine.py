"""The SQLAlchemy engine of the control database: which URLs are accepted, and how each database is spoken to.

SQLite: a file on a local disk, never created by a mere look; write transactions take the write lock at their start
(`BEGIN IMMEDIATE`), so that two of them never deadlock. PostgreSQL: psycopg2, whatever driver SQLAlchemy would take
for `postgresql://`. There the server itself ends a session whose process is stopped in the middle of a transaction, or
whose machine is gone: the rows that it has locked, the counter of all commits among them, are needed by everybody.
"""

import contextlib
import sqlite3
import time
import urllib.parse
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from export_pipeline.backoff import Backoff
from export_pipeline.database_url import parse_database_url, shown
from export_pipeline.errors import ControlSchemaError, ControlUnreachableError, ExportPipelineError, SettingsError

CONTROL_URL = "EXPORT_PIPELINE_CONTROL_URL"
WRITE = {"control_write": True}

_POSTGRES = {"postgresql", "postgres", "postgresql+psycopg2"}
_MISSING_TABLE = {"42P01", "42703", "3F000"}
_LOCK_NOT_AVAILABLE = "55P03"
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


def parse_control_url(text: str) -> URL:
    """The URL, with the driver spelt out; raises `SettingsError` that says which URLs are accepted."""
    accepted = "it takes sqlite:///path/to/control.db or postgresql://user@host/database"
    url = parse_database_url(text, setting=CONTROL_URL, accepted=accepted)
    if url.drivername in _POSTGRES:
        return url.set(drivername="postgresql+psycopg2")
    if url.drivername not in {"sqlite", "sqlite+pysqlite"}:
        raise SettingsError(f"{CONTROL_URL} names {url.drivername!r}: {accepted}")
    if not url.database or url.database == ":memory:":
        raise SettingsError(f"{CONTROL_URL} names no file: {accepted}")
    return url.set(drivername="sqlite")


def make_engine(url: URL, *, timeout: float) -> sa.Engine:
    """An engine that has not connected yet; `timeout` in seconds is for connecting and for waiting on locks."""
    if url.drivername == "sqlite":
        return _sqlite_engine(Path(str(url.database)), timeout=timeout)
    return sa.create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=timeout,
        connect_args={
            "connect_timeout": max(2, int(min(timeout, 10))),
            "application_name": "export-pipeline",
            "options": _options(url, timeout),
            "tcp_user_timeout": int(timeout * 1000),
            **_KEEPALIVES,
        },
    )


def _options(url: URL, timeout: float) -> str:
    """What the URL gives as options, and then our own settings, which win."""
    ours = [f"-c {name}={value}" for name, value in _session_settings(timeout).items()]
    return " ".join([*filter(None, [str(url.query.get("options", ""))]), *ours])


def _session_settings(timeout: float) -> dict[str, object]:
    """What the server is asked to do with a session; times in milliseconds.

    A transaction that says nothing for half of `timeout` is ended, so that whoever waits for its locks gets them before
    giving up: between two statements of ours there is next to no time.
    """
    milliseconds = int(timeout * 1000)
    return {
        "lock_timeout": milliseconds,
        "statement_timeout": 2 * milliseconds,
        "idle_in_transaction_session_timeout": max(1000, milliseconds // 2),
        "tcp_user_timeout": milliseconds,
        **{f"tcp_{name}": value for name, value in _KEEPALIVES.items()},
        "timezone": "UTC",
    }


def create_sqlite_file(url: URL, *, timeout: float) -> None:
    """Makes the file where it is missing, readable by its owner alone, and switches it to write-ahead logging.

    Only `migrate` calls this. The folder above may be missing, the one above that may not.
    """
    path = Path(str(url.database))
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.touch(mode=0o600, exist_ok=True)
    except OSError as error:
        raise ControlUnreachableError(f"{CONTROL_URL}: the file {path} cannot be made: {error.strerror}") from error
    backoff = Backoff(timeout, first=0.05, longest=0.5)
    while True:
        try:
            with contextlib.closing(_connect(path, timeout=timeout)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            # The switch does not wait for other processes as ordinary statements do.
            if "locked" not in str(error) or not backoff.wait():
                raise ControlUnreachableError(f"{CONTROL_URL}: {path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ControlUnreachableError(f"{CONTROL_URL}: {path}: {error}") from error


def _connect(path: Path, *, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{urllib.parse.quote(str(path.absolute()))}?mode=rw",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    # A built-in function: what a signal handler raises within one of Python's own would be lost in SQLite.
    connection.create_function("control_now_ns", 0, time.time_ns)
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _sqlite_engine(path: Path, *, timeout: float) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite://",
        creator=lambda: _connect(path, timeout=timeout),
        poolclass=sa.QueuePool,
        pool_timeout=timeout,
    )

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("control_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def explain(error: sa.exc.SQLAlchemyError, url: URL) -> ExportPipelineError | None:
    """The error to raise in place of SQLAlchemy's, or None where it is a mistake of ours."""
    if isinstance(error, sa.exc.TimeoutError):
        return ControlUnreachableError(f"the control database {shown(url)} has no connection free")
    if not isinstance(error, sa.exc.DBAPIError) or isinstance(error, sa.exc.IntegrityError | sa.exc.DataError):
        return None
    reason = _first_line(error.orig, url)
    if getattr(error.orig, "pgcode", None) in _MISSING_TABLE or "no such table" in reason or "no such column" in reason:
        return ControlSchemaError(
            f"the control database {shown(url)} lacks what this version needs ({reason}); "
            f"run `export-pipeline migrate`, or correct {CONTROL_URL}"
        )
    if isinstance(error, sa.exc.ProgrammingError | sa.exc.NotSupportedError):
        return None
    if held := _held(error.orig):
        return ControlUnreachableError(f"the control database {shown(url)} is up, but {held} ({reason})")
    if "unable to open database file" in reason:
        reason = "the file is missing or cannot be opened; `export-pipeline migrate` makes it"
    hint = "" if url.drivername == "sqlite" else " and that the server runs"
    return ControlUnreachableError(
        f"the control database {shown(url)} cannot be used: {reason}; check {CONTROL_URL}{hint}"
    )


def _held(error: Any) -> str | None:
    """Who keeps the database from doing what it was asked to, where somebody does."""
    if getattr(error, "pgcode", None) == _LOCK_NOT_AVAILABLE:
        return (
            "another session holds a row or table that is needed here; pg_stat_activity shows it, often as "
            "'idle in transaction', and pg_terminate_backend ends it"
        )
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY:
        return (
            "another process holds its write lock; one that was stopped in the middle of a transaction keeps it until "
            "it goes on or is killed"
        )
    return None


def _first_line(error: Any, url: URL) -> str:
    text = str(error).strip().partition("\n")[0] or type(error).__name__
    return text.replace(str(url.password), "***") if url.password else text

"""What SQLite's errors mean, told by its extended codes.

A trace store is only ever read: what cannot be written is a temporary file of this process, or what SQLite needs beside
the database to read it at all.
"""

import os
import sqlite3
from pathlib import Path

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.settings import PREFIX
from export_pipeline.sources.sql.failing import ExpressionError

BUSY_SECONDS = 30.0
"""How long a lock of a writer is waited for."""

_NO_LOG = {
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY_CANTINIT,
    sqlite3.SQLITE_READONLY_CANTLOCK,
    sqlite3.SQLITE_READONLY_DIRECTORY,
    sqlite3.SQLITE_READONLY_RECOVERY,
}
_TEMPORARY = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR_WRITE,
    sqlite3.SQLITE_IOERR_GETTEMPPATH,
}
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_PASSING = {
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_ABORT,
}
_TEMPORARY_FOLDERS = ("/var/tmp", "/usr/tmp", "/tmp", ".")  # noqa: S108 - SQLite's own, in its order


def of_connecting(path: Path) -> SourceUnusableError:
    """The error where the file itself cannot be opened."""
    return SourceUnusableError(
        f"{PREFIX}SOURCE_URL: {path} cannot be opened; it and its folder must be readable for this user"
    )


def of_first_read(error: sqlite3.Error, path: Path) -> ExportPipelineError:
    """The error of the first read of a file that was opened, at which SQLite looks for what its writers have left."""
    code, told = _code(error), _told(error)
    if code in _NO_LOG:
        return SourceUnusableError(
            f"{PREFIX}SOURCE_URL: {path} is in WAL mode, and its -wal and -shm can be neither made nor opened by this "
            "user; allow writing in its folder, or, where that is read-only, let the writer run PRAGMA "
            f"wal_checkpoint(TRUNCATE) and PRAGMA journal_mode = DELETE before it is put there: {told}"
        )
    if code == sqlite3.SQLITE_READONLY_ROLLBACK:
        return SourceUnusableError(
            f"{PREFIX}SOURCE_URL: a writer of {path} died in the middle of a transaction, which {path.name}-journal "
            f"undoes; let its program, or sqlite3, read it once with the right to write: {told}"
        )
    return of_query(error, path)


def of_query(error: sqlite3.Error, path: Path) -> ExportPipelineError:
    """The error of a statement."""
    code, store, told = _code(error), f"the trace store {path}", _told(error)
    kind = code & 0xFF
    if code in _TEMPORARY:
        return SourceUnreachableError(
            f"{_temporary_folder()} is full or cannot be written to: {store} is sorted in temporary files there; make "
            f"room, or name another folder in SQLITE_TMPDIR: {told}"
        )
    if kind == sqlite3.SQLITE_NOTADB:
        return SourceUnusableError(f"{PREFIX}SOURCE_URL names {path}, which is no SQLite database, or an encrypted one")
    if kind == sqlite3.SQLITE_CORRUPT or code == sqlite3.SQLITE_IOERR_CORRUPTFS:
        return SourceUnusableError(
            f"{store} is damaged or was cut off; restore it, or save what is left with sqlite3's .recover: {told}"
        )
    if kind in _LOCKED:
        return SourceUnreachableError(
            f"{store}: another process has kept it locked for {BUSY_SECONDS:.0f} seconds; with PRAGMA journal_mode = "
            f"WAL nobody who reads waits for a writer: {told}"
        )
    if kind in _PASSING:
        cause = "its disk or network share failed: " if kind == sqlite3.SQLITE_IOERR else ""
        return SourceUnreachableError(f"{store} broke off: {cause}{told}")
    return ExpressionError(f"{store} cannot be read: {error}")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # the module's own errors have none


def _told(error: sqlite3.Error) -> str:
    return f"{error} ({getattr(error, 'sqlite_errorname', 'no code')})"


def _temporary_folder() -> str:
    """Where SQLite puts them: the first of these that it may write to."""
    named = (os.environ.get(name, "") for name in ("SQLITE_TMPDIR", "TMPDIR"))
    usable = (
        folder
        for folder in (*named, *_TEMPORARY_FOLDERS)
        if folder and Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)
    )
    return next(usable, "every folder for temporary files")

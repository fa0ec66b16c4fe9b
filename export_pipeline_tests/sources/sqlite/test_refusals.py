"""What keeps an SQLite file from being read is named as what it is, and what mends it."""

import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.errors import SourceUnreachableError, SourceUnusableError
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.failing import ExpressionError
from export_pipeline.sources.sqlite import errors as sqlite_errors
from export_pipeline.sources.sqlite.reading import SqliteReading
from export_pipeline.sources.sqlite.session import SqliteSession
from export_pipeline_tests.sources.stores import PROJECT, Store, ids_of, settings_for

START = "2026-03-14 10:00:00+00:00"
DIES = "import os, signal, sqlite3, sys; writer = sqlite3.connect(sys.argv[1], isolation_level=None); "
DIES_IN_WAL = DIES + "writer.execute('DELETE FROM runs WHERE rowid = 1'); os.kill(os.getpid(), signal.SIGKILL)"
DIES_IN_ROLLBACK = DIES + (
    "writer.execute('PRAGMA cache_size = 2'); writer.execute('BEGIN IMMEDIATE'); "
    "writer.execute('UPDATE runs SET name = hex(zeroblob(90000))'); os.kill(os.getpid(), signal.SIGKILL)"
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may pass through, which pytest's own is not; its files can be read by all."""
    found, before = Path(tempfile.mkdtemp(prefix="export-pipeline-")), os.umask(0o022)
    found.chmod(0o755)
    yield found
    os.umask(before)
    shutil.rmtree(found)


def store_in(folder: Path, journal: str) -> Store:
    """Ten runs; everything that reading needs has been imported."""
    store = Store("sqlite", f"sqlite:///{folder / 'store.db'}", folder)
    store.run(f"PRAGMA journal_mode = {journal}")
    store.run("PRAGMA synchronous = OFF")
    store.runs({"inputs": "TEXT"})
    for number in range(10):
        store.add(number, START, inputs="x" * 5000)
    source = store.source()
    assert ids_of(source) == list(range(10))
    source.close()
    return store


@contextmanager
def without_rights(folder: Path, *, mode: int = 0o555) -> Iterator[None]:
    """Nothing can be written in the folder: root becomes `nobody` for the time."""
    folder.chmod(mode)
    if os.geteuid() == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(os.getuid())
        folder.chmod(0o755)


def dies(store: Store, program: str) -> None:
    """Another process begins to write and is killed."""
    path = store.url.removeprefix("sqlite:///")
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize("is_left", [False, True], ids=["closed", "killed"])
def test_a_file_in_wal_mode_that_cannot_be_written_beside_says_what_the_writer_can_do(
    folder: Path, is_left: bool
) -> None:
    store, settings = store_in(folder, "wal"), settings_for(f"sqlite:///{folder / 'store.db'}")
    store.run("DELETE FROM runs WHERE rowid = 2")
    store.close()
    if is_left:
        dies(store, DIES_IN_WAL)
        (folder / "store.db-shm").unlink()
    words = r"WAL mode.*allow writing in its folder.*wal_checkpoint.*journal_mode = DELETE"
    with without_rights(folder), pytest.raises(SourceUnusableError, match=words):
        open_source(settings)
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        writer.execute("PRAGMA journal_mode = DELETE")
    with without_rights(folder):
        assert ids_of(open_source(settings)) == list(range(2, 10) if is_left else (0, *range(2, 10)))


def test_a_source_that_loses_its_rights_says_so_at_every_question(folder: Path) -> None:
    store = store_in(folder, "wal")
    source = store.source()
    assert source.check().problems == ()
    store.close()
    for question in (ids_of, lambda source: source.days(ProjectKey(PROJECT)), lambda source: source.check()):
        with without_rights(folder), pytest.raises(SourceUnusableError, match="is in WAL mode"):
            question(source)
    assert ids_of(source) == list(range(10))


def test_a_file_in_wal_mode_is_read_without_rights_while_its_writer_lives(folder: Path) -> None:
    store = store_in(folder, "wal")
    store.run("DELETE FROM runs WHERE rowid = 1")
    source = store.source()
    with without_rights(folder):
        assert ids_of(source) == list(range(1, 10))
    store.close()


def test_what_a_killed_writer_has_left_in_wal_mode_is_read_with_rights(folder: Path) -> None:
    store = store_in(folder, "wal")
    store.close()
    dies(store, DIES_IN_WAL)
    assert ids_of(open_source(settings_for(store.url))) == list(range(1, 10))


def test_a_journal_that_a_killed_writer_has_left_is_named_until_somebody_rolls_it_back(folder: Path) -> None:
    store = store_in(folder, "delete")
    store.close()
    dies(store, DIES_IN_ROLLBACK)
    assert (folder / "store.db-journal").stat().st_size > 0
    with pytest.raises(SourceUnusableError, match=r"a writer of .* died .* store.db-journal .* right to write"):
        open_source(settings_for(store.url))
    with closing(sqlite3.connect(folder / "store.db")) as writer:
        assert writer.execute("SELECT count(*), max(length(name)) FROM runs").fetchone() == (10, 3)
    assert ids_of(open_source(settings_for(store.url))) == list(range(10))


@pytest.mark.parametrize("name", ["store.db", "."], ids=["file", "folder"])
def test_a_file_that_may_not_be_read_is_named(folder: Path, name: str) -> None:
    settings = settings_for(store_in(folder, "delete").url)
    words = "store.db cannot be opened; it and its folder must be readable"
    with without_rights(folder / name, mode=0o600), pytest.raises(SourceUnusableError, match=words):
        open_source(settings)


READ = """
import resource, sys
from datetime import date
from export_pipeline.runs.window import Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey
project = ProjectKey(sys.argv[2])
source = open_source(load_settings(source_url=sys.argv[1], control_url="sqlite:///control.db", bucket="bucket"))
assert source.days(project)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    with source.open(project, Window.of_day(date(2026, 3, 14))) as snapshot:
        print(sum(batch.num_rows for batch in snapshot.batches()))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_full_folder_for_temporary_files_is_named_and_not_the_trace_store(folder: Path, tmp_path: Path) -> None:
    store = store_in(folder, "delete")
    store.run("ALTER TABLE runs RENAME TO stored")
    store.run("CREATE VIEW runs AS SELECT *, hex(zeroblob(500000)) AS outputs FROM stored")
    done = subprocess.run(
        [sys.executable, "-c", READ, store.url, PROJECT],
        env={**os.environ, "SQLITE_TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"SourceUnreachableError {tmp_path} is full or cannot be written to: ")
    assert "SQLITE_TMPDIR" in done.stdout
    store.close()


def test_room_that_ends_while_rows_are_sorted_is_told_as_that(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = store_in(folder, "delete"), SqliteSession.read

    def read_with_little_room(session: SqliteSession, *what: Any) -> SqliteReading:
        session.run("PRAGMA temp.max_page_count = 10")
        return read(session, *what)

    source = store.source("runs: {query: SELECT * FROM runs}")
    with monkeypatch.context() as patch:
        patch.setattr(SqliteSession, "read", read_with_little_room)
        with pytest.raises(SourceUnreachableError, match=r"is full .* SQLITE_TMPDIR: .*\(SQLITE_FULL\)"):
            ids_of(source)
    assert ids_of(source) == list(range(10))
    store.close()


@pytest.mark.parametrize("length", [8000, 5000, 600, 90])
def test_a_file_that_was_cut_off_is_told_as_damaged(folder: Path, length: int) -> None:
    store = store_in(folder, "delete")
    store.close()
    os.truncate(folder / "store.db", length)
    with pytest.raises(SourceUnusableError, match=r"is damaged or was cut off; .* \(SQLITE_CORRUPT\)"):
        open_source(settings_for(store.url))


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("SQLITE_IOERR_READ", SourceUnreachableError, "disk or network share failed"),
        ("SQLITE_IOERR_LOCK", SourceUnreachableError, "disk or network share failed"),
        ("SQLITE_IOERR_SHMMAP", SourceUnreachableError, "disk or network share failed"),
        ("SQLITE_IOERR_CORRUPTFS", SourceUnusableError, "is damaged"),
        ("SQLITE_CORRUPT_INDEX", SourceUnusableError, "is damaged"),
        ("SQLITE_BUSY_RECOVERY", SourceUnreachableError, "kept it locked"),
        ("SQLITE_PROTOCOL", SourceUnreachableError, "broke off"),
        ("SQLITE_NOMEM", SourceUnreachableError, "broke off"),
        ("SQLITE_NOTADB", SourceUnusableError, "is no SQLite database"),
        ("SQLITE_ERROR", ExpressionError, "cannot be read: words"),
        (None, ExpressionError, "cannot be read: words"),
    ],
)
def test_every_code_has_its_kind_and_words(code: str | None, kind: type[Exception], words: str) -> None:
    error = sqlite3.OperationalError("words")
    if code is not None:
        error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, code), code
    told = sqlite_errors.of_query(error, Path("store.db"))
    assert type(told) is kind
    assert words in str(told)

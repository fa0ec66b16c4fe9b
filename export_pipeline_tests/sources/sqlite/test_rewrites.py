"""What migrations, refreshes and programs do to an SQLite file while it is read: the day fails, or it is right."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import UUID

import pytest

from export_pipeline.errors import SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline.sources.sqlite import session as sqlite_session
from export_pipeline_tests.sources.stores import BASIC, DAY, PROJECT, settings_for, uuid

START = "2026-03-14 10:00:00+00:00"
RELATIONS = {"table": None, "view": "runs: {table: shown}", "query": "runs: {query: SELECT * FROM runs}"}
JOURNALS = ["wal", "delete"]


class File:
    """An SQLite file with runs, its writer, and a source that reads it."""

    def __init__(self, path: Path, journal: str, ids: list[int], *, extra: str = "", unique: bool = True) -> None:
        self.path, self.journal = path, journal
        self.writer = sqlite3.connect(path, isolation_level=None, timeout=0)
        self.script(f"PRAGMA journal_mode = {journal}; PRAGMA synchronous = OFF")
        columns = ", ".join(f"{name} {kind.format(uuid='TEXT', time='TEXT')}" for name, kind in BASIC.items())
        self.script(
            f"CREATE TABLE sessions (id, name); INSERT INTO sessions VALUES ('{PROJECT}', 'project');"
            f"CREATE TABLE runs ({columns}, inputs TEXT{extra});"
            f"CREATE {'UNIQUE' if unique else ''} INDEX one_id ON runs (id); CREATE VIEW shown AS SELECT * FROM runs"
        )
        self.add(ids)

    def script(self, text: str) -> None:
        for statement in text.split(";"):
            self.writer.execute(statement)

    def add(self, ids: list[int], *, size: int = 1) -> None:
        rows = [(uuid(number), PROJECT, "run", "llm", START, "x" * size) for number in ids]
        self.writer.executemany(
            "INSERT INTO runs (id, session_id, name, run_type, start_time, inputs) VALUES (?, ?, ?, ?, ?, ?)", rows
        )

    @property
    def plain(self) -> list[int]:
        """The ids of the day as SQL tells them to anybody."""
        with closing(sqlite3.connect(self.path)) as other:
            return [UUID(id_).int for (id_,) in other.execute("SELECT id FROM runs ORDER BY id")]

    def source(self, mapping: str | None = None) -> RunSource:
        file = self.path.with_suffix(".yaml")
        if mapping is not None:
            file.write_text(mapping)
        return open_source(settings_for(f"sqlite:///{self.path}", mapping=file if mapping else None))


@pytest.fixture(params=JOURNALS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[File]:
    found = File(tmp_path / "store.db", request.param, list(range(1, 21)))
    yield found
    found.writer.close()


def read(source: RunSource, change: Callable[[], object] = lambda: None) -> list[int]:
    """The ids of the day; the change happens after the snapshot, before its rows are read."""
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        change()
        found = [UUID(id_).int for batch in snapshot.batches() for id_ in batch.column("id").to_pylist()]
        assert snapshot.fingerprint.rows == len(found)
    return found


CHANGES = {
    "a column more": "ALTER TABLE runs ADD COLUMN noise; UPDATE runs SET noise = 1; DELETE FROM runs WHERE rowid = 1",
    "a column less": "DROP VIEW shown; ALTER TABLE runs DROP COLUMN inputs; CREATE VIEW shown AS SELECT * FROM runs",
    "deleted and loaded": "CREATE TABLE copy AS SELECT * FROM runs WHERE rowid > 5; DELETE FROM runs; "
    "INSERT INTO runs SELECT * FROM copy; DROP TABLE copy",
    "dropped and made": "CREATE TABLE copy AS SELECT * FROM runs WHERE rowid > 5; DROP TABLE runs; "
    "CREATE TABLE runs AS SELECT * FROM copy; DROP TABLE copy",
    "emptied": "DELETE FROM runs",
}


@pytest.mark.parametrize("mapping", RELATIONS.values(), ids=RELATIONS)
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_another_connection_does_to_the_tables_is_seen_by_the_next_day_only(
    file: File, change: str, mapping: str | None
) -> None:
    source, before = file.source(mapping), file.plain
    assert read(source) == before
    file.script(f"BEGIN IMMEDIATE; {change}")

    def commit() -> None:
        if file.journal == "wal":
            file.script("COMMIT")
        else:  # which waits until nobody reads
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                file.script("COMMIT")

    assert read(source, commit) == before
    if file.writer.in_transaction:
        file.script("COMMIT")
    assert read(source) == file.plain
    assert {day: counted.rows for day, counted in source.days(ProjectKey(PROJECT)).items()} == (
        {DAY: len(file.plain)} if file.plain else {}
    )
    source.close()


@pytest.mark.parametrize("mapping", RELATIONS.values(), ids=RELATIONS)
def test_a_day_is_whole_while_the_file_is_vacuumed(file: File, mapping: str | None) -> None:
    """VACUUM gives the rows new numbers where nothing names them."""
    source = file.source(mapping)
    file.script("DELETE FROM runs WHERE rowid % 2 = 0")
    before = file.plain

    def vacuum() -> None:
        if file.journal == "wal":
            file.script("VACUUM")
        else:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                file.script("VACUUM")

    assert read(source, vacuum) == before == list(range(1, 21, 2))
    file.script("VACUUM")
    assert read(source) == before
    source.close()


def replaced_by(file: File, folder: Path) -> Callable[[], None]:
    """Renames another file, with fewer runs and versions of some, over this one."""

    def replace() -> None:
        fresh = File(folder / "fresh.db", file.journal, [1, 2, 2, 3], unique=False)
        fresh.writer.close()
        fresh.path.replace(file.path)
        for ending in ("-wal", "-shm"):  # else SQLite would take the old file's log for the new one's
            file.path.with_name(file.path.name + ending).unlink(missing_ok=True)

    return replace


@pytest.mark.parametrize("size", [1, 1_000_000], ids=["small", "large"])
@pytest.mark.parametrize("mapping", RELATIONS.values(), ids=RELATIONS)
def test_a_file_that_is_replaced_while_a_day_is_read_is_seen_by_the_next_day_only(
    file: File, tmp_path: Path, mapping: str | None, size: int
) -> None:
    source = file.source(mapping)
    file.add(list(range(21, 41)), size=size)
    assert read(source) == file.plain == list(range(1, 41))
    replace = replaced_by(file, tmp_path)
    assert read(source, replace) == list(range(1, 41))
    assert file.plain == [1, 2, 2, 3]
    assert read(source) == [1, 2, 3]
    assert source.days(ProjectKey(PROJECT))[DAY].superseded == 1
    source.close()


def test_a_file_that_is_replaced_while_it_is_opened_fails_the_day(
    file: File, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, replace, connect = file.source(), replaced_by(file, tmp_path), sqlite_session._connect

    def connect_then_replace(path: Path) -> sqlite3.Connection:
        connection = connect(path)
        replace()
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_session, "_connect", connect_then_replace)
        with pytest.raises(SourceUnreachableError, match=r"was replaced while it was opened|disk I/O error"):
            read(source)
    assert read(source) == [1, 2, 3]
    source.close()


def test_a_file_that_is_copied_over_while_a_day_is_read_fails_the_day(tmp_path: Path) -> None:
    file = File(tmp_path / "store.db", "delete", list(range(1, 21)))
    fresh = File(tmp_path / "fresh.db", "delete", [1, 2, 3])
    source = file.source()
    with pytest.raises(SourceUnreachableError, match="written to by something other than SQLite"):
        read(source, lambda: file.path.write_bytes(fresh.path.read_bytes()))
    assert read(source) == [1, 2, 3]
    source.close()


def test_another_file_of_the_same_age_and_schema_version_is_planned_anew(tmp_path: Path) -> None:
    """Copied over between two days: neither the inode nor SQLite's own number of the schema tells."""
    file = File(tmp_path / "store.db", "delete", [1, 2, 3])
    fresh = File(tmp_path / "fresh.db", "delete", [1, 2, 2, 3], unique=False)
    versions = [each.writer.execute("PRAGMA schema_version").fetchone() for each in (file, fresh)]
    assert versions[0] == versions[1]
    source = file.source()
    assert read(source) == [1, 2, 3]
    shutil.copyfile(fresh.path, file.path)
    assert file.plain == [1, 2, 2, 3]
    assert read(source) == [1, 2, 3]
    assert source.days(ProjectKey(PROJECT))[DAY].superseded == 1
    source.close()


def test_a_plan_follows_the_columns_and_keys_of_the_table(file: File) -> None:
    source = file.source()
    assert read(source) == list(range(1, 21))
    file.script("DROP INDEX one_id")
    file.add([2])
    assert read(source) == list(range(1, 21))
    assert source.days(ProjectKey(PROJECT))[DAY].superseded == 1
    file.script("ALTER TABLE runs ADD COLUMN is_deleted; UPDATE runs SET is_deleted = 1 WHERE id LIKE '%1'")
    assert read(source) == [number for number in range(1, 21) if number % 16 != 1]
    file.script("ALTER TABLE runs RENAME COLUMN is_deleted TO something_else")
    assert read(source) == list(range(1, 21))
    file.script("ALTER TABLE runs RENAME COLUMN start_time TO began")
    with pytest.raises(SourceUnusableError, match="has no column start_time"):
        read(source)
    file.script("ALTER TABLE runs RENAME COLUMN began TO start_time")
    assert read(source) == list(range(1, 21))
    source.close()


def test_days_of_two_schemas_that_are_read_side_by_side_are_each_read_by_its_own(tmp_path: Path) -> None:
    file = File(tmp_path / "store.db", "wal", [1, 2, 3])
    source = file.source()
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as before:
        file.script("DROP INDEX one_id")
        file.add([2])
        with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as after:
            assert (before.fingerprint.rows, before.fingerprint.superseded) == (3, 0)
            assert (after.fingerprint.rows, after.fingerprint.superseded) == (3, 1)
        assert sum(batch.num_rows for batch in before.batches()) == 3
    file.writer.close()
    source.close()

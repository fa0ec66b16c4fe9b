"""What migrations and maintenance do to a table while it is read: they wait, or the day does, and it is whole."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.mysql import client
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers import wait_for
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, ids_of

pytestmark = pytest.mark.slow

IDS = list(range(1, 21))
WINDOW = Window.of_day(DAY)
INSERT = (
    f"INSERT INTO {{}} SELECT concat('00000000-0000-0000-0000-', lpad(hex(seq), 12, '0')), '{PROJECT}', 'run', 'llm', "
    f"'2026-03-14 10:00:00' FROM seq_1_to_{len(IDS)}"
)
REWRITES = {
    "a column's type": ["ALTER TABLE runs MODIFY name VARCHAR(90)"],
    "another column": ["ALTER TABLE runs ADD COLUMN noise DOUBLE DEFAULT 1, ALGORITHM = COPY"],
    "truncated and loaded": ["TRUNCATE runs", "INSERT INTO runs SELECT * FROM fresh"],
    "replaced by renaming": ["ALTER TABLE runs RENAME stale", "ALTER TABLE fresh RENAME runs"],
    "dropped and made": ["DROP TABLE runs", "ALTER TABLE fresh RENAME runs"],
    "optimized": ["OPTIMIZE TABLE runs"],
    "no longer unique": ["ALTER TABLE runs DROP PRIMARY KEY"],
    "another epoch": [
        "ALTER TABLE runs ADD COLUMN began BIGINT",
        "UPDATE runs SET began = 1773482400",
        "ALTER TABLE runs DROP COLUMN start_time, CHANGE began start_time BIGINT",
    ],
}


@pytest.fixture
def filled(mysql_store: Store) -> Store:
    mysql_store.runs(unique=True)
    mysql_store.run(INSERT.format("runs"))
    mysql_store.run("CREATE TABLE fresh LIKE runs")
    mysql_store.run(INSERT.format("fresh"))
    return mysql_store


def waits(store: Store) -> bool:
    """Whether a session of the database waits for a lock on a table's definition."""
    with store.connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM information_schema.PROCESSLIST WHERE DB = DATABASE() "
            "AND STATE = 'Waiting for table metadata lock'"
        )
        return bool(cursor.fetchone()[0])


@contextmanager
def during(store: Store, statements: list[str], what: Callable[[], Any]) -> Iterator[Future[Any]]:
    """`what` is begun while another session holds the tables; then that one runs the statements and lets go."""
    writer = Store(store.dialect, store.url, store.folder)
    with ThreadPoolExecutor(1) as pool:
        writer.run("LOCK TABLES runs WRITE, fresh WRITE")
        try:
            result = pool.submit(what)
            wait_for(lambda: waits(store) or result.done(), what="a wait for the lock")
            assert not result.done()
            for statement in statements:
                writer.run(statement)
        finally:
            writer.close()  # which lets go
        yield result


@pytest.mark.parametrize("statements", REWRITES.values(), ids=REWRITES)
def test_a_day_that_begins_during_a_rewrite_waits_for_it_and_is_whole(filled: Store, statements: list[str]) -> None:
    source = filled.source()
    assert source.days(ProjectKey(PROJECT))[DAY].rows == len(IDS)
    with during(filled, statements, what=lambda: ids_of(source)) as found:
        assert found.result() == IDS
    source.close()


@pytest.mark.parametrize("mapping", ["runs: {table: shown}", "runs: {query: SELECT * FROM runs WHERE name <> 'x'}"])
def test_tables_behind_views_and_queries_are_waited_for_too(filled: Store, mapping: str) -> None:
    filled.run("CREATE VIEW shown AS SELECT * FROM runs")
    source = filled.source(mapping)
    assert ids_of(source) == IDS
    with during(filled, REWRITES["truncated and loaded"], what=lambda: ids_of(source)) as found:
        assert found.result() == IDS
    source.close()


def test_a_table_that_only_a_function_of_the_mapping_reads_is_waited_for_too(filled: Store) -> None:
    filled.run("CREATE TABLE names (id VARCHAR(64) PRIMARY KEY, name TEXT)")
    filled.run("INSERT INTO names SELECT id, 'named' FROM runs")
    filled.run(
        "CREATE FUNCTION name_of(wanted VARCHAR(64)) RETURNS TEXT READS SQL DATA "
        "RETURN (SELECT n.name FROM names AS n WHERE n.id = wanted)"
    )
    source = filled.source("runs: {fields: {name: {sql: name_of(id)}}}")
    writer = Store(filled.dialect, filled.url, filled.folder)
    with ThreadPoolExecutor(1) as pool, source.open(ProjectKey(PROJECT), WINDOW) as snapshot:
        emptied = pool.submit(writer.run, "TRUNCATE names")
        wait_for(lambda: waits(filled) or emptied.done(), what="a wait for the lock")
        assert not emptied.done()
        names = [name for batch in snapshot.batches() for name in batch.column("name").to_pylist()]
        assert names == ["named"] * len(IDS)
    source.close()
    writer.close()


DURING = {
    "ALTER": "ALTER TABLE runs ADD COLUMN noise INT",
    "TRUNCATE": "TRUNCATE runs",
    "RENAME": "RENAME TABLE runs TO stale, fresh TO runs",
    "DROP": "DROP TABLE runs",
    "OPTIMIZE": "OPTIMIZE TABLE runs",
}


def reading(source: RunSource) -> Any:
    return source.open(ProjectKey(PROJECT), WINDOW)


@pytest.mark.parametrize("statement", DURING.values(), ids=DURING)
def test_what_begins_while_a_day_is_read_waits_for_its_end(filled: Store, statement: str) -> None:
    source = filled.source()
    writer = Store(filled.dialect, filled.url, filled.folder)
    with ThreadPoolExecutor(1) as pool:
        with reading(source) as snapshot:
            assert snapshot.fingerprint.rows == len(IDS)
            changed = pool.submit(writer.run, statement)
            wait_for(lambda: waits(filled) or changed.done(), what="a wait for the lock")
            assert not changed.done()
            assert sum(batch.num_rows for batch in snapshot.batches()) == len(IDS)
        changed.result()
    source.close()
    writer.close()


def test_a_partition_that_is_exchanged_while_a_day_is_read_waits_for_its_end(mysql_store: Store) -> None:
    mysql_store.runs()
    mysql_store.run("CREATE TABLE fresh LIKE runs")
    mysql_store.run(
        "ALTER TABLE runs PARTITION BY RANGE COLUMNS (start_time) "
        "(PARTITION march VALUES LESS THAN ('2026-04-01'), PARTITION later VALUES LESS THAN (MAXVALUE))"
    )
    mysql_store.run(INSERT.format("runs"))
    source = mysql_store.source()
    writer = Store(mysql_store.dialect, mysql_store.url, mysql_store.folder)
    with ThreadPoolExecutor(1) as pool:
        with reading(source) as snapshot:
            changed = pool.submit(writer.run, "ALTER TABLE runs EXCHANGE PARTITION march WITH TABLE fresh")
            wait_for(lambda: waits(mysql_store) or changed.done(), what="a wait for the lock")
            assert not changed.done()
            assert sum(batch.num_rows for batch in snapshot.batches()) == snapshot.fingerprint.rows == len(IDS)
        changed.result()
    assert source.days(ProjectKey(PROJECT)) == {}
    source.close()
    writer.close()


def test_a_lock_that_is_kept_fails_the_day_and_says_so(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(client._COMMON, "lock_wait_timeout", "1")
    source = filled.source()
    writer = Store(filled.dialect, filled.url, filled.folder)
    writer.run("LOCK TABLES runs WRITE")
    with pytest.raises(SourceUnreachableError, match="has kept a table locked for 30 seconds; it is read once"):
        ids_of(source)
    writer.run("UNLOCK TABLES")
    assert ids_of(source) == IDS
    source.close()
    writer.close()

"""What migrations, refreshes and maintenance do to a table while it is read: the day fails, or it is right."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers import wait_for
from export_pipeline_tests.sources.stores import DAY, OTHER, PROJECT, Store, ids_of, rows_of

pytestmark = pytest.mark.slow

START = "2026-03-14 10:00:00+00:00"
IDS = list(range(1, 21))
VIEW = "runs: {table: shown}"


def fill(store: Store, table: str = "runs") -> None:
    store.run(
        f"INSERT INTO {table} (id, session_id, name, run_type, start_time) "
        f"SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(n), 12, '0'))::uuid, '{PROJECT}', 'run', 'llm', '{START}' "
        f"FROM generate_series(1, {len(IDS)}) AS n"
    )


@contextmanager
def held(store: Store, *statements: str) -> Iterator[Callable[[], None]]:
    """A transaction of another session that has run the statements; what is given commits it."""
    writer = Store(store.dialect, store.url, store.folder)
    writer.connection.autocommit = False
    for statement in statements:
        writer.run(statement)
    yield writer.connection.commit
    writer.connection.rollback()
    writer.close()


def waits(store: Store) -> bool:
    """Whether a session of the store waits for a lock."""
    with store.connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND application_name = current_setting('application_name')"
        )
        return bool(cursor.fetchone()[0])


@contextmanager
def during(store: Store, *statements: str, what: Callable[[], Any]) -> Iterator[Future[Any]]:
    """`what` is begun while another session has run the statements and not committed, which it does then."""
    with held(store, *statements) as commit, ThreadPoolExecutor(1) as pool:
        result = pool.submit(what)
        wait_for(lambda: waits(store) or result.done(), what="a wait for the lock")
        assert not result.done()
        commit()
        yield result


REWRITES = {
    "a column's type": ["ALTER TABLE runs ALTER COLUMN name TYPE varchar(90)"],
    "a rewriting column": ["ALTER TABLE runs ADD COLUMN noise double precision DEFAULT random()"],
    "truncated and loaded": [
        "CREATE TEMP TABLE copy ON COMMIT DROP AS SELECT * FROM runs",
        "TRUNCATE runs",
        "INSERT INTO runs SELECT * FROM copy",
    ],
    "replaced by renaming": [
        "CREATE TABLE fresh AS SELECT * FROM runs",
        "ALTER TABLE runs RENAME TO stale",
        "ALTER TABLE fresh RENAME TO runs",
    ],
    "dropped and made": [
        "CREATE TEMP TABLE copy ON COMMIT DROP AS SELECT * FROM runs",
        "DROP TABLE runs",
        "CREATE TABLE runs AS SELECT * FROM copy",
    ],
    "clustered": ["CLUSTER runs USING by_day"],
    "another epoch": [
        "ALTER TABLE runs ALTER COLUMN start_time TYPE bigint USING extract(epoch FROM start_time)::bigint"
    ],
}


@pytest.fixture
def filled(postgres_store: Store) -> Store:
    postgres_store.runs(unique=False)
    postgres_store.run("CREATE INDEX by_day ON runs (session_id, start_time)")
    fill(postgres_store)
    return postgres_store


@pytest.mark.parametrize("statements", REWRITES.values(), ids=REWRITES)
def test_a_day_that_begins_during_a_rewrite_waits_for_it_and_is_whole(filled: Store, statements: list[str]) -> None:
    source = filled.source()
    assert source.days(ProjectKey(PROJECT))[DAY].rows == len(IDS)
    with during(filled, *statements, what=lambda: ids_of(source)) as found:
        assert found.result() == IDS
    source.close()


@pytest.mark.parametrize(
    "question",
    [
        lambda source: source.days(ProjectKey(PROJECT))[DAY].rows,
        lambda source: source.outside(ProjectKey(PROJECT), Window.of_day(DAY)).total + len(IDS),
        lambda source: len(source.projects()) * len(IDS),
    ],
    ids=["days", "outside", "projects"],
)
def test_counts_that_are_asked_during_a_rewrite_are_right(filled: Store, question: Callable[[RunSource], int]) -> None:
    source = filled.source("projects: {from_runs: true}")
    assert question(source) == len(IDS)
    with during(filled, *REWRITES["truncated and loaded"], what=lambda: question(source)) as found:
        assert found.result() == len(IDS)
    source.close()


def test_changes_that_are_counted_during_a_rewrite_are_all_counted(filled: Store) -> None:
    from datetime import UTC, datetime

    filled.run("ALTER TABLE runs ADD COLUMN modified_at timestamptz DEFAULT '2026-03-15 00:00:00+00:00'")
    source = filled.source()
    since = datetime(2026, 3, 14, tzinfo=UTC)
    statement = "ALTER TABLE runs ALTER COLUMN name TYPE varchar(90)"
    with during(
        filled, statement, what=lambda: source.changed(ProjectKey(PROJECT), Window.of_day(DAY), since)
    ) as found:
        assert found.result() == len(IDS)
    source.close()


def test_tables_behind_views_and_beside_the_runs_are_locked_first_too(filled: Store) -> None:
    filled.run("CREATE VIEW shown AS SELECT * FROM runs")
    filled.table("feedbacks", {"run_id": "UUID", "key": "TEXT"})
    filled.run("INSERT INTO feedbacks SELECT id, 'good' FROM runs")
    source = filled.source(VIEW)
    rewrites = [f"ALTER TABLE {table} ADD COLUMN noise float DEFAULT random()" for table in ("runs", "feedbacks")]
    for rewrite in rewrites:
        with during(filled, rewrite, what=lambda: rows_of(source, fields=["id", "feedbacks"])) as found:
            assert [b'"good"' in row["feedbacks"] for row in found.result()] == [True] * len(IDS)
    source.close()


def test_a_role_that_may_read_the_view_alone_waits_for_the_table_behind_it(filled: Store, postgres: Any) -> None:
    from export_pipeline.sources.factory import open_source
    from export_pipeline_tests.sources.stores import settings_for

    schema = filled.url.rpartition("%3D")[2]
    filled.run("CREATE VIEW shown AS SELECT * FROM runs")
    filled.run(f"CREATE ROLE viewer_{schema} LOGIN PASSWORD 'viewer'")
    filled.run(f"GRANT USAGE ON SCHEMA {schema} TO viewer_{schema}")
    filled.run(f"GRANT SELECT ON shown, sessions TO viewer_{schema}")
    mapping = filled.folder / "mapping.yaml"
    mapping.write_text(VIEW)
    url = filled.url.replace(f"postgres:{postgres.password}@", f"viewer_{schema}:viewer@")
    source = open_source(settings_for(url, mapping=mapping))
    with during(filled, *REWRITES["a rewriting column"], what=lambda: ids_of(source)) as found:
        assert found.result() == IDS
    source.close()


def partitioned(store: Store) -> None:
    store.projects(PROJECT)
    store.run(
        "CREATE TABLE runs (id uuid, session_id uuid, name text, run_type text, start_time timestamptz) "
        "PARTITION BY RANGE (start_time)"
    )
    store.run("CREATE TABLE march PARTITION OF runs FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')")
    fill(store)


def test_partitions_are_locked_first_too(postgres_store: Store) -> None:
    partitioned(postgres_store)
    source = postgres_store.source()
    rewrite = [statement.replace("runs", "march") for statement in REWRITES["truncated and loaded"]]
    with during(postgres_store, *rewrite, what=lambda: ids_of(source)) as found:
        assert found.result() == IDS
    source.close()


def read_after(source: RunSource, *changes: Callable[[], None]) -> list[Any]:
    """The batches of the day, read when the changes have happened after the snapshot."""
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        for change in changes:
            change()
        return list(snapshot.batches())


def test_a_partition_that_is_attached_after_the_snapshot_fails_the_day_and_is_read_the_next_time(
    postgres_store: Store,
) -> None:
    partitioned(postgres_store)
    source = postgres_store.source()

    def attach() -> None:
        postgres_store.run("CREATE TABLE april (LIKE runs)")
        postgres_store.run("ALTER TABLE runs ATTACH PARTITION april DEFAULT")

    with pytest.raises(SourceUnreachableError, match="april was rewritten, truncated or replaced"):
        read_after(source, attach)
    assert ids_of(source) == IDS
    source.close()


def test_a_materialized_view_that_is_refreshed_meanwhile_fails_the_day_and_is_right_the_next_time(
    filled: Store,
) -> None:
    filled.run("CREATE MATERIALIZED VIEW shown AS SELECT * FROM runs")
    source = filled.source(VIEW)
    assert ids_of(source) == IDS
    with (
        during(filled, "REFRESH MATERIALIZED VIEW shown", what=lambda: ids_of(source)) as found,
        pytest.raises(SourceUnreachableError, match="shown was rewritten"),
    ):
        found.result()
    assert ids_of(source) == IDS
    source.close()


def test_a_table_that_takes_the_name_by_the_search_path_fails_the_day(filled: Store) -> None:
    """Renaming schemas is not kept away by any lock on their tables."""
    source = filled.source()
    schema = filled.url.rpartition("%3D")[2]

    def swap() -> None:
        filled.run(f"ALTER SCHEMA {schema} RENAME TO {schema}_old")
        filled.run(f"CREATE SCHEMA {schema}")
        filled.run(f"CREATE TABLE {schema}.runs AS SELECT * FROM {schema}_old.runs")

    with pytest.raises(SourceUnreachableError, match="replaced"):
        read_after(source, swap)
    source.close()


def test_a_rewrite_that_waits_for_the_day_changes_nothing_of_it(filled: Store) -> None:
    source = filled.source()
    with ThreadPoolExecutor(1) as pool, source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        writer = Store(filled.dialect, filled.url, filled.folder)
        truncated = pool.submit(writer.run, "TRUNCATE runs")
        wait_for(lambda: waits(filled), what="a wait for the lock")
        assert sum(batch.num_rows for batch in snapshot.batches()) == len(IDS)
        assert not truncated.done()
    assert truncated.result() is None
    assert ids_of(source) == []
    writer.close()
    source.close()


def test_a_lock_that_is_held_for_too_long_says_so_and_is_tried_again(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export_pipeline.sources.postgres import session as postgres_session

    short = postgres_session._BEGIN.replace("lock_timeout = '30s'", "lock_timeout = '50ms'")
    monkeypatch.setattr(postgres_session, "_BEGIN", short)
    source = filled.source()
    with (
        held(filled, *REWRITES["a column's type"]),
        pytest.raises(SourceUnreachableError, match="perhaps a migration, has kept a table locked for 30 seconds"),
    ):
        ids_of(source)
    assert ids_of(source) == IDS
    source.close()


def test_columns_that_were_added_or_lost_since_the_plan_was_made_are_noticed(filled: Store) -> None:
    source = filled.source()
    assert ids_of(source) == IDS
    filled.run("ALTER TABLE runs ADD COLUMN is_deleted boolean")
    filled.run("UPDATE runs SET is_deleted = true WHERE id::text LIKE '%1'")
    assert ids_of(source) == [number for number in IDS if number % 16 != 1]
    filled.run("CREATE UNIQUE INDEX one_id ON runs (id)")
    filled.run("DROP INDEX one_id")
    filled.run(
        "INSERT INTO runs SELECT id, session_id, 'newer', run_type, start_time FROM runs WHERE id::text LIKE '%2'"
    )
    assert ids_of(source, project=OTHER) == []
    assert ids_of(source) == [number for number in IDS if number % 16 != 1]
    source.close()

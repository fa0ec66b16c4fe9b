"""The newest version of a run wins, deleted ones are left out, whatever the engine and the state of its parts."""

from datetime import date
from typing import Any

import pytest

from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.stores import DAY, OTHER, PROJECT, Store, execute, micros, rows_of, uuid

pytestmark = pytest.mark.slow

NOON = "2026-03-14 12:00:00"
COLUMNS = {
    "id": "UUID NOT NULL",
    "session_id": "UUID NOT NULL",
    "name": "String",
    "run_type": "String",
    "start_time": "DateTime64(6, 'UTC') NOT NULL",
    "modified_at": "DateTime64(3, 'UTC') NOT NULL",
    "is_deleted": "UInt8 NOT NULL",
}
ENGINES = {
    "plain rows": "MergeTree ORDER BY (session_id, start_time)",
    "rows by id": "ReplacingMergeTree(modified_at, is_deleted) ORDER BY (session_id, id)",
    "rows by day and id": "ReplacingMergeTree(modified_at, is_deleted) ORDER BY (session_id, toDate(start_time), id)",
    "rows by start": "ReplacingMergeTree(modified_at, is_deleted) ORDER BY (session_id, id, start_time)",
    "versions without a deletion": "ReplacingMergeTree(modified_at) ORDER BY (session_id, id)",
    "partitions by month": (
        "ReplacingMergeTree(modified_at, is_deleted) PARTITION BY toYYYYMM(start_time) ORDER BY (session_id, id)"
    ),
    "partitions by day": "MergeTree PARTITION BY toDate(start_time) ORDER BY id",
    "deduplicated parts": "ReplacingMergeTree ORDER BY (session_id, id, modified_at)",
}


def add(store: Store, number: int, name: str, *, start: str = NOON, version: int = 0, **values: Any) -> None:
    """Each row is a part of its own until parts are merged."""
    modified = f"2026-03-15 00:00:{version:02}"
    columns = {"name": name, "run_type": "llm", "modified_at": modified, "is_deleted": 0, **values}
    store.insert("runs", **{"id": uuid(number), "session_id": PROJECT, "start_time": start, **columns})


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_newest_version_wins_and_deleted_runs_are_left_out(
    clickhouse_store: Store, engine: str, merged: bool
) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    store.table("runs", COLUMNS, extra=f"ENGINE = {ENGINES[engine]}")
    add(store, 1, "only")
    add(store, 2, "newest", version=2)
    add(store, 2, "old", version=1)
    add(store, 3, "deleted later", version=1)
    add(store, 3, "deleted", version=2, is_deleted=1)
    add(store, 4, "came back", version=3)
    add(store, 4, "deleted", version=2, is_deleted=1)
    add(store, 5, "twice", version=1)
    add(store, 5, "twice", version=1)
    add(store, 6, "moved within the day", start="2026-03-14 13:00:00", version=2)
    add(store, 6, "moved", version=1)
    add(store, 2, "of another project", session_id=OTHER, version=9)
    if merged:
        store.run("OPTIMIZE TABLE runs FINAL")
    source = store.source()
    names = [row["name"] for row in rows_of(source)]
    assert names == [b"only", b"newest", b"came back", b"twice", b"moved within the day"]
    counted = source.days(ProjectKey(PROJECT))[DAY]
    assert counted.rows == 5
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        list(snapshot.batches())
        assert snapshot.fingerprint == counted
    source.close()


def test_superseded_rows_are_counted_by_the_select_that_reads_the_day(
    clickhouse_store: Store, clickhouse: ClickhouseServer
) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    store.table("runs", COLUMNS, extra=f"ENGINE = {ENGINES['plain rows']}")
    for version in range(4):
        add(store, 1, f"version {version}", version=version)
    add(store, 2, "twice", version=1)
    add(store, 2, "twice", version=1)
    add(store, 3, "gone", version=1)
    add(store, 3, "gone", version=2, is_deleted=1)
    source = store.source()
    clickhouse.queries()
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        rows = sum(batch.num_rows for batch in snapshot.batches())
        found = snapshot.fingerprint
    assert (rows, found.rows, found.superseded) == (2, 2, 5)
    asked = [each["sql"] for each in clickhouse.queries() if each["sql"].startswith("SELECT")]
    assert len([sql for sql in asked if "FROM `runs`" in sql and "LIMIT 0" not in sql]) == 1
    assert found == source.days(ProjectKey(PROJECT))[DAY]
    source.close()


@pytest.mark.parametrize("engine", ["plain rows", "rows by id", "partitions by month"])
def test_a_run_that_moved_to_the_next_day_is_on_that_day_only(clickhouse_store: Store, engine: str) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    store.table("runs", COLUMNS, extra=f"ENGINE = {ENGINES[engine]}")
    add(store, 1, "before", start="2026-03-31 23:59:59", version=1)
    add(store, 1, "after", start="2026-04-01 00:00:01", version=2)
    add(store, 2, "after", start="2026-04-01 00:00:01", version=1)
    add(store, 2, "before", start="2026-03-31 23:59:59", version=2)
    source = store.source()
    last, first = Window.of_day(date(2026, 3, 31)), Window.of_day(date(2026, 4, 1))
    assert [(row["id"], row["name"]) for row in rows_of(source, window=last)] == [(uuid(2).encode(), b"before")]
    assert [(row["id"], row["name"]) for row in rows_of(source, window=first)] == [(uuid(1).encode(), b"after")]
    assert {day: each.rows for day, each in source.days(ProjectKey(PROJECT)).items()} == {
        date(2026, 3, 31): 1,
        date(2026, 4, 1): 1,
    }
    source.close()


def test_versions_that_agree_in_time_are_told_apart_in_the_same_way_whoever_counts(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    store.table("runs", {**COLUMNS, "tags": "String"}, extra="ENGINE = MergeTree ORDER BY tuple()")
    for number in range(1, 31):
        for name in ("b", "a", "c"):
            add(store, number, name, version=1, tags=f'["{number % 3}"]')
    source = store.source()
    assert [row["name"] for row in rows_of(source)] == [b"a"] * 30

    found = source.days(ProjectKey(PROJECT))[DAY]
    assert (found.rows, found.superseded) == (30, 60)
    source.close()


def test_rows_that_a_lightweight_delete_has_hidden_are_not_read(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    store.table("runs", COLUMNS, extra=f"ENGINE = {ENGINES['plain rows']}")
    for number in range(10):
        add(store, number, "run")
    store.run("DELETE FROM runs WHERE id < ?", uuid(4))
    source = store.source()
    assert [row["id"].decode() for row in rows_of(source)] == [uuid(number) for number in range(4, 10)]
    source.close()


def test_the_check_names_the_key_and_how_many_versions_are_set_aside(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    store.table("runs", COLUMNS, extra=f"ENGINE = {ENGINES['rows by id']}")
    add(store, 1, "old", version=1)
    add(store, 1, "new", version=2)
    source = store.source()
    assert source.check().extra["a run is identified by"] == "id and session_id, which are unique"
    store.run("DROP TABLE runs")
    store.table("runs", COLUMNS, extra=f"ENGINE = {ENGINES['plain rows']}")
    add(store, 1, "old", version=1)
    add(store, 1, "new", version=2)
    assert source.check().extra["a run is identified by"] == (
        "id and session_id; of rows that agree in them the newest is exported, 1 are set aside"
    )
    source.close()


def test_changed_rows_are_those_of_the_newest_versions(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    store.table("runs", COLUMNS, extra=f"ENGINE = {ENGINES['rows by day and id']}")
    add(store, 1, "old", version=1)
    add(store, 1, "new", version=9)
    add(store, 2, "old", version=1)
    source = store.source()
    instant = execute(store.url, "SELECT toUnixTimestamp64Micro(max(modified_at)) FROM runs FINAL")
    found = source.days(ProjectKey(PROJECT))[DAY].max_modified_at
    assert found is not None
    assert micros(found.isoformat()) == int(instant)
    source.close()

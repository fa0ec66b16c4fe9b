"""Which rows belong to a day: its bounds, versions, deleted rows, order, and what is counted beside."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.errors import SourceSlowError
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import DayFingerprint, OutsideRows, ProjectKey
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, OTHER, PROJECT, Store, ids_of, rows_of, uuid

BOUNDARIES = {
    1: "2026-03-13 23:59:59.999999+00:00",
    2: "2026-03-14 00:00:00+00:00",
    3: "2026-03-14 23:59:59.999999+00:00",
    4: "2026-03-15 00:00:00+00:00",
    5: "2026-03-15 01:00:00+02:00",
    6: "2026-03-13 23:30:00-01:00",
    7: "0001-01-01 00:00:00+00:00",
    8: "1970-01-01 00:00:00+00:00",
    9: "1969-12-31 23:59:59.999999+00:00",
    10: "9999-12-31 23:59:59+00:00",
}


@pytest.mark.parametrize("indexed", [True, False])
def test_a_day_is_its_24_hours_to_the_microsecond(store: Store, indexed: bool) -> None:
    store.runs(unique=indexed)
    if indexed:
        store.run("CREATE INDEX by_day ON runs (session_id, start_time)")
    for number, start in BOUNDARIES.items():
        store.add(number, start)
    store.add(20, BOUNDARIES[2], session_id=OTHER)
    source = store.source()
    assert ids_of(source) == [2, 6, 5, 3]
    assert ids_of(source, window=Window.of_day(date(2026, 3, 13))) == [1]
    assert ids_of(source, window=Window.of_day(date(2026, 3, 15))) == [4]
    assert ids_of(source, window=Window.of_day(date(1, 1, 1))) == [7]
    assert ids_of(source, window=Window.of_day(date(1969, 12, 31))) == [9]
    found = {day: fingerprint.rows for day, fingerprint in source.days(ProjectKey(PROJECT)).items()}
    assert found == {
        date(1, 1, 1): 1, date(1969, 12, 31): 1, date(1970, 1, 1): 1, date(2026, 3, 13): 1,
        DAY: 4, date(2026, 3, 15): 1, date(9999, 12, 31): 1,
    }  # fmt: skip
    assert list(found) == sorted(found)
    cut = Window(datetime(2026, 3, 14, 0, 0, 0, 1, tzinfo=UTC), datetime(2026, 3, 14, 23, tzinfo=UTC))
    assert ids_of(source, window=cut) == [6]
    assert {day: each.rows for day, each in source.days(ProjectKey(PROJECT), cut).items()} == {DAY: 1}
    source.close()


@EVERYWHERE
def test_rows_are_ordered_by_instant_and_then_id(store: Store) -> None:
    store.runs()
    starts = ["2026-03-14 10:00:00+00:00", "2026-03-14 11:00:00+01:00", "2026-03-14 09:59:59.999999+00:00"]
    for number in (9, 4, 6, 1, 8, 2, 3):
        store.add(number, starts[number % 3])
    source = store.source()
    assert ids_of(source) == [2, 8, 1, 3, 4, 6, 9]
    source.close()


@pytest.mark.parametrize("index", ["", "CREATE INDEX by_id ON runs (id)"])
def test_of_versions_the_one_modified_last_wins_wherever_it_lies(store: Store, index: str) -> None:
    store.runs({"modified_at": "{time}", "inserted_at": "{time}"})
    if index:
        store.run(index)
    today, yesterday = "2026-03-14 10:00:00+00:00", "2026-03-13 10:00:00+00:00"
    old, new = "2026-03-20 00:00:00+00:00", "2026-03-21 00:00:00.000001+00:00"
    store.add(1, today, name="old", modified_at=old)
    store.add(1, today, name="newest", modified_at=new)
    store.add(1, today, name="none", modified_at=None)
    store.add(2, today, name="moved away", modified_at=old)
    store.add(2, yesterday, name="yesterday now", modified_at=new)
    store.add(3, yesterday, name="was yesterday", modified_at=old)
    store.add(3, today, name="today now", modified_at=new)
    store.add(4, today, name="of this project", modified_at=old)
    store.add(4, today, name="of the other project", modified_at=new, session_id=OTHER)
    store.add(5, today, name="inserted first", modified_at=new, inserted_at=old)
    store.add(5, today, name="inserted last", modified_at=new, inserted_at=new)
    store.add(6, yesterday, name="starts first", modified_at=new)
    store.add(6, today, name="starts last", modified_at=new)
    store.add(7, today, name="twin", modified_at=new)
    store.add(7, today, name="later twin", modified_at=new)
    source = store.source()
    names = [row["name"].decode() for row in rows_of(source)]
    assert names == ["newest", "today now", "of this project", "inserted last", "starts last", "later twin"]
    assert [row["name"] for row in rows_of(source, project=OTHER)] == [b"of the other project"]
    assert [row["name"] for row in rows_of(source, window=Window.of_day(date(2026, 3, 13)))] == [b"yesterday now"]
    counted = {day: (each.rows, each.superseded) for day, each in source.days(ProjectKey(PROJECT)).items()}
    assert counted == {date(2026, 3, 13): (1, 2), DAY: (6, 5)}
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        assert (snapshot.fingerprint.rows, snapshot.fingerprint.superseded) == (6, 5)
    source.close()


@EVERYWHERE
def test_versions_are_told_apart_in_a_view_too(store: Store) -> None:
    store.runs({"modified_at": "{time}", "inputs": "TEXT"})
    store.run("CREATE VIEW seen AS SELECT * FROM runs")
    for number, name in ((1, "old"), (1, "new"), (2, "twin"), (2, "twin")):
        modified = f"2026-03-2{0 if name == 'old' else 1} 00:00:00+00:00"
        store.add(number, "2026-03-14 10:00:00+00:00", name=name, modified_at=modified, inputs="{}")
    store.run("INSERT INTO runs SELECT NULL, session_id, 'no id', run_type, start_time, NULL, '{}' FROM runs LIMIT 1")
    store.run("INSERT INTO runs SELECT NULL, session_id, 'no id', run_type, start_time, NULL, '{}' FROM runs LIMIT 1")
    expected = [b"new", b"no id", b"no id", b"twin"]
    for relation in ("table: seen", "query: SELECT * FROM runs", "table: runs"):
        source = store.source(f"runs: {{{relation}}}")
        assert sorted(row["name"] for row in rows_of(source)) == expected
        assert source.days(ProjectKey(PROJECT))[DAY].rows == 4
        source.close()


def test_a_table_without_row_numbers_is_read_alike(sqlite_store: Store) -> None:
    sqlite_store.projects(PROJECT)
    columns = "id TEXT PRIMARY KEY, session_id TEXT, name TEXT, run_type TEXT, start_time TEXT"
    sqlite_store.run(f"CREATE TABLE runs ({columns}) WITHOUT ROWID")
    for number, start in BOUNDARIES.items():
        sqlite_store.add(number, start)
    source = sqlite_store.source()
    assert ids_of(source) == [2, 6, 5, 3]
    source.close()


def test_a_column_that_is_called_rowid_does_not_confuse(sqlite_store: Store) -> None:
    sqlite_store.runs({"rowid": "TEXT", "oid": "TEXT"})
    for number, start in BOUNDARIES.items():
        sqlite_store.add(number, start, rowid="same", oid="same")
    source = sqlite_store.source()
    assert ids_of(source) == [2, 6, 5, 3]
    source.close()


DELETED: dict[str, list[tuple[Any, bool]]] = {
    "{flag}": [(None, False), (True, True), (False, False)],
    "INTEGER": [(None, False), (1, True), (0, False)],
    "TEXT": [(None, False), ("", False), ("no", False), ("False", False), ("0", False), ("true", True), ("2026", True)],
    "{time}": [(None, False), ("2026-03-20 00:00:00+00:00", True)],
}  # fmt: skip


@EVERYWHERE
@pytest.mark.parametrize("kind", DELETED)
def test_rows_marked_deleted_are_not_there(store: Store, kind: str) -> None:
    store.runs({"is_deleted": kind})
    kept = []
    for number, (marker, deleted) in enumerate(DELETED[kind]):
        store.add(number, "2026-03-14 10:00:00+00:00", is_deleted=marker)
        kept += [] if deleted else [number]
    source = store.source()
    assert ids_of(source) == kept
    assert source.days(ProjectKey(PROJECT))[DAY] == DayFingerprint(len(kept))
    source.close()


@EVERYWHERE
def test_a_run_whose_newest_version_is_deleted_is_gone(store: Store) -> None:
    store.runs({"is_deleted": "{flag}", "modified_at": "{time}"})
    store.add(1, "2026-03-14 10:00:00+00:00", is_deleted=False, modified_at="2026-03-20 00:00:00+00:00")
    store.add(1, "2026-03-14 10:00:00+00:00", is_deleted=True, modified_at="2026-03-21 00:00:00+00:00")
    source = store.source()
    assert ids_of(source) == []
    assert source.days(ProjectKey(PROJECT)) == {DAY: DayFingerprint(0, superseded=1)}
    source.close()


@EVERYWHERE
def test_rows_outside_the_window_and_without_a_readable_start_are_counted(store: Store) -> None:
    store.runs({"start_time": "TEXT"})
    for number, start in BOUNDARIES.items():
        store.add(number, start)
    for number, odd in enumerate([None, "", "soon", "2026-02-30", "2026-03-14T25:00:00Z", "99999999999999999999"]):
        store.add(100 + number, odd)
    source = store.source()
    assert source.outside(ProjectKey(PROJECT), Window.of_day(DAY)) == OutsideRows(before=4, after=3, unreadable=5)
    assert source.outside(ProjectKey(PROJECT), Window.of_day(DAY)).total == 12
    assert source.outside(ProjectKey(OTHER), Window.of_day(DAY)).total == 0
    source.close()


def test_an_infinite_start_lies_after_every_partition(postgres_store: Store) -> None:
    postgres_store.runs()
    for number, start in enumerate(
        ["infinity", "-infinity", "20000-01-01 00:00+00", "0044-03-15 00:00:00+00 BC", None]
    ):
        postgres_store.add(number, start)
    source = postgres_store.source()
    assert source.outside(ProjectKey(PROJECT), Window.of_day(DAY)) == OutsideRows(before=2, after=2, unreadable=1)
    assert source.days(ProjectKey(PROJECT)) == {}
    source.close()


@EVERYWHERE
def test_the_fingerprint_tells_newest_changes_of_runs_and_feedback(store: Store) -> None:
    store.runs({"modified_at": "{time}"}, unique=True)
    store.table("feedbacks", {"id": "TEXT", "run_id": "{uuid}", "score": "REAL", "modified_at": "{time}"})
    for number in (1, 2, 3):
        day = 14 if number < 3 else 15
        store.add(number, f"2026-03-{day} 10:00:00+00:00", modified_at=f"2026-03-2{number} 00:00:00.000001+00:00")
    for number, run in enumerate((1, 1, 2, 99)):
        store.insert(
            "feedbacks", id=f"f{number}", run_id=uuid(run), modified_at=f"2026-04-0{number + 1} 00:00:00+00:00"
        )
    source = store.source()
    first = DayFingerprint(2, datetime(2026, 3, 22, 0, 0, 0, 1, tzinfo=UTC), 3, datetime(2026, 4, 3, tzinfo=UTC))
    second = DayFingerprint(1, datetime(2026, 3, 23, 0, 0, 0, 1, tzinfo=UTC), 0, None)
    assert source.days(ProjectKey(PROJECT)) == {DAY: first, DAY + timedelta(days=1): second}
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        assert snapshot.fingerprint == first
    with source.open(ProjectKey(PROJECT), Window.of_day(date(2020, 1, 1))) as snapshot:
        assert snapshot.fingerprint == DayFingerprint(0, None, 0, None)
        assert list(snapshot.batches()) == []
    source.close()


@EVERYWHERE
@pytest.mark.parametrize("kind", ["{time}", "TEXT", "BIGINT"])
def test_rows_changed_after_an_instant_are_counted(store: Store, kind: str) -> None:
    store.runs({"modified_at": kind})
    seconds = int(datetime(2026, 3, 20, tzinfo=UTC).timestamp())
    for number in range(1, 6):
        changed = seconds + number if kind == "BIGINT" else f"2026-03-20 00:00:0{number}+00:00"
        store.add(number, "2026-03-14 10:00:00+00:00", modified_at=None if number == 5 else changed)
    store.add(6, "2026-03-15 10:00:00+00:00", modified_at=seconds + 9 if kind == "BIGINT" else "2026-03-21")
    source = store.source()
    last = source.days(ProjectKey(PROJECT))[DAY].max_modified_at
    assert last is not None
    day = Window.of_day(DAY)
    assert source.changed(ProjectKey(PROJECT), day, last) == 0
    assert source.changed(ProjectKey(PROJECT), day, last - timedelta(seconds=2)) == 2
    assert source.changed(ProjectKey(PROJECT), day, last - timedelta(days=1)) == 4
    one = parse_filter(f'eq(id, "{uuid(4)}")')
    assert source.changed(ProjectKey(PROJECT), day, last - timedelta(days=1), filter=one) == 1
    source.close()


@EVERYWHERE
def test_changed_rows_are_not_counted_without_modified_at(store: Store) -> None:
    store.runs()
    store.add(1, "2026-03-14 10:00:00+00:00")
    source = store.source()
    assert source.changed(ProjectKey(PROJECT), Window.of_day(DAY), datetime(2026, 3, 14, tzinfo=UTC)) is None
    source.close()


def test_an_infinite_change_time_is_the_last_there_is(postgres_store: Store) -> None:
    postgres_store.runs({"modified_at": "{time}"})
    postgres_store.add(1, "2026-03-14 10:00:00+00:00", modified_at="infinity")
    source = postgres_store.source()
    assert source.days(ProjectKey(PROJECT))[DAY].max_modified_at == datetime.max.replace(tzinfo=UTC)
    source.close()


@EVERYWHERE
def test_projects_come_oldest_first_with_experiments_marked(store: Store) -> None:
    columns = {
        "id": "TEXT",
        "name": "TEXT",
        "tenant_id": "TEXT",
        "start_time": "{time}",
        "reference_dataset_id": "TEXT",
    }
    store.table("sessions", columns)
    store.table(
        "runs", {"id": "TEXT", "session_id": "TEXT", "name": "TEXT", "run_type": "TEXT", "start_time": "{time}"}
    )
    store.insert("sessions", id="c", name="no start")
    store.insert("sessions", id="b", name="new", start_time="2026-02-01 00:00:00+00:00", reference_dataset_id="d")
    store.insert("sessions", id="a", name="old", start_time="2026-01-01 00:00:00+00:00", tenant_id="t")
    source = store.source()
    found = source.projects()
    assert [(project.key, project.name, project.is_experiment, project.tenant_key) for project in found] == [
        ("a", "old", False, "t"),
        ("b", "new", True, None),
        ("c", "no start", False, None),
    ]
    assert found[0].start_time == datetime(2026, 1, 1, tzinfo=UTC)
    source.close()


@EVERYWHERE
def test_payloads_that_were_not_asked_for_are_not_read(store: Store) -> None:
    store.runs({"inputs": "TEXT", "outputs": "TEXT", "error": "TEXT", "end_time": "{time}"})
    store.add(1, "2026-03-14 10:00:00+00:00", inputs="in", outputs="out", error="wrong")
    source = store.source()
    row = rows_of(source, fields=["id", "outputs"])[0]
    assert (row["inputs"], row["outputs"], row["error"]) == (None, b"out", None)
    row = rows_of(source, fields=["id", "status"])[0]
    assert (row["outputs"], row["error"]) == (None, b"wrong")
    source.close()


SLOW = {
    "sqlite": "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT max(n) FROM c WHERE r.id <> '')",
    "postgresql": "pg_sleep(3600)::text",
    "mysql": "sleep(3600)",
}


def test_a_count_that_takes_too_long_ends_and_the_next_one_is_answered(store: Store) -> None:
    store.runs()
    store.add(1, "2026-03-14 10:00:00+00:00")
    slow = store.source(f'runs: {{deleted: {{sql: "{SLOW[store.dialect]}"}}}}')
    for _ in range(2):
        with pytest.raises(SourceSlowError, match=r"took more than 0\.3 seconds"):
            slow.days(ProjectKey(PROJECT), seconds=0.3)
    slow.close()
    source = store.source()
    assert source.days(ProjectKey(PROJECT), seconds=600)[DAY].rows == 1
    source.close()

"""What `source check` finds in the values of a trace store before anything is exported."""

import gzip

import pytest

from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, PROJECT, Store

START = "2026-03-14 10:00:00+00:00"
UNREADABLE = ["Sat, 14 Mar 2026 10:00:00 +0000", "03/14/2026", "14.03.2026 10:00", "20260314T100000Z"]


@EVERYWHERE
def test_a_store_without_a_readable_time_is_not_ok_and_shows_examples(store: Store) -> None:
    store.runs({"start_time": "TEXT"})
    for number, start in enumerate([*UNREADABLE, None]):
        store.add(number, start)
    source = store.source()
    report = source.check()
    (problem,) = report.problems
    assert problem == (
        "no row would be exported: start_time is not a time in any row, such as 'Sat, 14 Mar 2026 10:00:00 +0000' and "
        "'03/14/2026' and '14.03.2026 10:00'; map an expression that gives ISO 8601 or an epoch number"
    )
    assert source.days(ProjectKey(PROJECT)) == {}
    source.close()


@EVERYWHERE
def test_rows_without_a_readable_time_among_others_are_counted(store: Store) -> None:
    store.runs({"start_time": "TEXT", "end_time": "TEXT", "modified_at": "TEXT"})
    store.add(1, START, end_time="noon", modified_at="yesterday")
    store.add(2, START, end_time="2026-03-14T10:00:00,5Z", modified_at=START)
    store.add(3, "03/14/2026", end_time=None, modified_at=None)
    source = store.source()
    report = source.check()
    assert report.problems == ()
    assert [warning for warning in report.warnings if "hold no time" in warning] == [
        "start_time: 1 of the first 3 rows hold no time, such as '03/14/2026'; such rows are in no day",
        "end_time: 1 of the first 3 rows hold no time, such as 'noon'",
        "modified_at: 1 of the first 3 rows hold no time, such as 'yesterday'",
    ]
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 2
    source.close()


def test_one_readable_time_behind_the_first_rows_is_found(store: Store) -> None:
    store.runs({"start_time": "TEXT"})
    store.run(
        f"INSERT INTO runs (id, session_id, start_time) SELECT '{PROJECT}', '{PROJECT}', 'noon' FROM "
        "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500) SELECT i FROM n) AS m"
    )
    source = store.source()
    assert len(source.check().problems) == 1
    store.add(1, START)
    report = source.check()
    assert report.problems == ()
    assert "start_time: 1,000 of the first 1,000 rows hold no time, such as 'noon'; such rows are in no day" in (
        report.warnings
    )
    source.close()


@EVERYWHERE
def test_an_empty_store_has_no_problem_with_times(store: Store) -> None:
    store.runs()
    source = store.source()
    assert source.check().problems == ()
    source.close()


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ({"sqlite": "TEXT", "postgresql": "TIMESTAMP", "mysql": "DATETIME(6)"}, "start_time, end_time: taken as UTC"),
        ({"sqlite": "TEXT", "postgresql": "TEXT", "mysql": "TEXT"}, "start_time, end_time: taken as UTC"),
    ],
)
def test_times_without_a_zone_are_named(store: Store, kinds: dict[str, str], told: str) -> None:
    store.runs({"start_time": kinds[store.dialect], "end_time": kinds[store.dialect]})
    store.add(1, "2026-03-14 10:00:00", end_time="2026-03-14 10:00:00.5")
    source = store.source()
    assert source.check().extra["times without a zone"] == told
    source.close()


@EVERYWHERE
def test_times_with_a_zone_and_numbers_are_not_called_zoneless(store: Store) -> None:
    zoned = "TIMESTAMP" if store.dialect == "mysql" else "{time}"
    store.runs({"start_time": zoned, "end_time": "TEXT", "modified_at": "BIGINT"})
    start = "2026-03-14 10:00:00" if store.dialect == "mysql" else START
    store.add(1, start, end_time="2026-03-14 10:00:00 +0000 UTC", modified_at=1773489600)
    source = store.source()
    assert "times without a zone" not in source.check().extra
    source.close()


@EVERYWHERE
def test_columns_that_are_left_out_are_named(store: Store) -> None:
    store.runs({"prompt": "TEXT", "user_name": "TEXT", "cost_cents": "INTEGER", "modified_at": "{time}"})
    store.add(1, START)
    source = store.source("runs:\n  fields:\n    total_cost:\n      sql: cost_cents / 100.0\n")
    assert source.check().extra["columns left out"] == "prompt, user_name"
    source.close()
    source = store.source("runs:\n  fields: {inputs: prompt, name: user_name, total_cost: cost_cents}\n")
    assert source.check().extra["columns left out"] == "name"
    source.close()


def test_bytes_in_json_columns_are_named_with_what_they_hold(store: Store) -> None:
    kind = "BYTEA" if store.dialect == "postgresql" else "BLOB"
    store.runs({"inputs": kind, "outputs": kind, "extra": "TEXT"})
    store.add(1, START, inputs=gzip.compress(b"{}"), outputs=b"\x01\x02", extra="{}")
    store.add(2, START, inputs=b"\x3c\x17a\x00", outputs=None)
    source = store.source()
    report = source.check()
    assert report.extra["bytes in inputs"] == "2 of the first 2 rows hold bytes: JSONB, gzip"
    (warning,) = [warning for warning in report.warnings if "bytes" in warning]
    assert warning == (
        "outputs: 1 of the first 2 rows hold bytes: other bytes, of which those that are not packed text are exported "
        "in base64"
    )
    source.close()

"""Columns of every type arrive as what they hold, whatever the time zone of the server."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export_pipeline.runs.times import MICROS_IN_UNIT, EpochUnit, microseconds
from export_pipeline.runs.window import Window
from export_pipeline.sources.clickhouse.times import ValueTime
from export_pipeline.sources.protocol import OutsideRows, ProjectKey
from export_pipeline.sources.sql.times import TEXT_NUMBER, TEXT_TIME, parse_micros
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.stores import (
    DAY,
    PROJECT,
    Store,
    clickhouse_literal,
    execute,
    micros,
    rows_of,
    uuid,
)

pytestmark = pytest.mark.slow

NOON = micros("2026-03-14T12:00:00+00:00")
EXACT = micros("2026-03-14T12:00:00.123456+00:00")

# field, type, value in SQL, what arrives
CELLS: list[tuple[str, str, str, Any]] = [
    ("inputs", "String", "'{\"a\":  1, \"a\": 2}'", b'{"a":  1, "a": 2}'),
    ("inputs", "Map(LowCardinality(String), String)", "map('a/b', '1', 'ü', '\"')", '{"a/b":"1","ü":"\\""}'.encode()),
    ("inputs", "Map(String, UInt64)", "map('n', 18446744073709551615)", b'{"n":18446744073709551615}'),
    ("inputs", "Map(String, Decimal(18, 12))", "map('n', 0.000001000001)", b'{"n":0.000001000001}'),
    ("outputs", "Array(Tuple(role String, n Nullable(Int8)))", "[('user', NULL)]", b'[{"role":"user","n":null}]'),
    ("outputs", "JSON", "'{\"a\": {\"b\": [1, 2]}}'", b'{"a":{"b":[1,2]}}'),
    ("extra", "Tuple(a UInt8, b Map(String, Array(String)))", "(1, map('x', ['y']))", b'{"a":1,"b":{"x":["y"]}}'),
    ("events", "LowCardinality(Nullable(String))", "NULL", None),
    ("tags", "Array(String)", "['a', 'b\"', '']", b'["a","b\\"",""]'),
    ("tags", "Array(LowCardinality(String))", "[]", b"[]"),
    ("total_tokens", "UInt32", "4294967295", 4294967295),
    ("total_tokens", "Nullable(Int64)", "-9223372036854775808", -(2**63)),
    ("total_tokens", "UInt64", "18446744073709551615", b"18446744073709551615"),
    ("total_tokens", "Float64", "7", b"7"),
    ("total_cost", "Decimal(18, 12)", "0.000000000001", b"0.000000000001"),
    ("total_cost", "Nullable(Decimal(38, 12))", "123456789012345678901234.5", b"123456789012345678901234.5"),
    ("total_cost", "Float64", "0.1", b"0.1"),
    ("total_cost", "Float64", "nan", b"nan"),
    ("is_root", "Bool", "true", True),
    ("is_root", "UInt8", "0", b"0"),
    ("is_root", "Nullable(Bool)", "NULL", None),
    ("status", "Enum8('ok' = 1, 'error' = 2)", "'error'", b"error"),
    ("status", "LowCardinality(String)", "'success'", b"success"),
    ("trace_tier", "FixedString(12)", "'longlived'", b"longlived"),
    ("reference_example_id", "UUID", f"'{uuid(5).upper()}'", uuid(5).encode()),
    ("reference_example_id", "UUID", "'00000000-0000-0000-0000-000000000000'", None),
    ("reference_example_id", "Nullable(UUID)", "NULL", None),
    ("reference_example_id", "FixedString(36)", f"'{uuid(5)}'", uuid(5).encode()),
    ("reference_example_id", "UInt64", "12", b"12"),
    ("end_time", "DateTime64(6, 'UTC')", "'2026-03-14 12:00:00.123456'", EXACT),
    ("end_time", "DateTime64(9, 'UTC')", "'2026-03-14 12:00:00.123456999'", EXACT),
    ("end_time", "DateTime64(9, 'UTC')", "'1969-12-31 23:59:59.999999999'", -1),
    ("end_time", "DateTime64(3, 'Asia/Kolkata')", "'2026-03-14 17:30:00.123'", EXACT - 456),
    ("end_time", "DateTime('America/New_York')", "'2026-03-14 08:00:00'", NOON),
    ("end_time", "Date", "'2026-03-14'", NOON - 43_200_000_000),
    ("end_time", "Date32", "'1900-01-01'", micros("1900-01-01T00:00:00+00:00")),
    ("end_time", "DateTime64(6)", "0", None),
    ("end_time", "Nullable(DateTime64(6))", "0", 0),
    ("end_time", "DateTime", "0", None),
    ("end_time", "String", "'whenever'", b"whenever"),
    ("end_time", "Int64", "1773489600", b"1773489600"),
    ("error", "String", "'before\\0after \\xff'", b"before\0after \xff"),
    ("error", "IPv4", "'127.0.0.1'", b"127.0.0.1"),
]  # fmt: skip


def create(store: Store, name: str, columns: dict[str, str]) -> None:
    """Makes a table of runs with these columns beside the required ones, null only where they say so."""
    basic = {"id": "UUID", "session_id": "UUID", "name": "String", "run_type": "String", "start_time": "DateTime64(6)"}
    listed = ", ".join(f"{name} {kind}" for name, kind in {**basic, **columns}.items())
    execute(store.url, f"CREATE TABLE {name} ({listed}) ENGINE = MergeTree ORDER BY session_id", nullable=False)


def test_cells_of_every_type_arrive_as_they_are(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    tables: list[dict[str, tuple[str, str, Any]]] = []
    for field, kind, value, expected in CELLS:
        free = next((table for table in tables if field not in table), None)
        if free is None:
            tables.append(free := {})
        free[field] = (kind, value, expected)
    for number, cells in enumerate(tables):
        create(store, f"runs_{number}", {field: kind for field, (kind, _, _) in cells.items()})
        values = ", ".join(value for _, value, _ in cells.values())
        execute(store.url, f"INSERT INTO runs_{number} VALUES ('{uuid(1)}', '{PROJECT}', 'n', 'llm', "
            f"'2026-03-14 12:00:00', {values})")  # fmt: skip
        source = store.source(f"runs: {{table: runs_{number}}}")
        (row,) = rows_of(source)
        for field, (kind, _, expected) in cells.items():
            assert row[field] == expected, (field, kind)
        assert source.check().problems == ()
        source.close()


def test_nested_columns_are_parallel_lists_that_an_expression_puts_together(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    create(store, "runs", {"marks": "Nested(at DateTime64(9), name String)"})
    store.run(
        f"INSERT INTO runs VALUES ('{uuid(1)}', '{PROJECT}', 'n', 'llm', '2026-03-14 12:00:00', "
        "['2026-03-14 12:00:01.5'], ['token'])"
    )
    expression = "toJSONString(arrayMap((t, n) -> map('name', n, 'time', toString(t)), `marks.at`, `marks.name`))"
    source = store.source(f'runs: {{fields: {{events: {{sql: "{expression}"}}}}}}')
    (row,) = rows_of(source)
    assert row["events"] == b'[{"name":"token","time":"2026-03-14 12:00:01.500000000"}]'
    source.close()


@pytest.mark.parametrize("kind", ["DateTime64(6)", "DateTime64(3)", "DateTime64(9)", "DateTime", "Nullable(DateTime)"])
def test_a_column_without_a_zone_holds_instants_wherever_the_server_is(clickhouse_store: Store, kind: str) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    create(store, "runs", {"start_time": kind, "modified_at": kind})
    for number, second in enumerate((-1, 0, 86_399, 86_400), 1):
        at = f"fromUnixTimestamp({NOON // 1_000_000 - 43_200 + second})"
        store.run(f"INSERT INTO runs SELECT '{uuid(number)}', '{PROJECT}', 'n', 'llm', {at}, {at}")
    source = store.source()
    assert [row["start_time"] for row in rows_of(source)] == [NOON - 43_200_000_000, NOON + 43_199_000_000]
    outside = source.outside(ProjectKey(PROJECT), Window.of_day(DAY))
    assert outside == OutsideRows(before=1, after=1, unreadable=0)
    source.close()


TEXTS = [
    "2026-03-14", "2026-03-14 05:06", "2026-03-14T05:06Z", "2026-03-14 05:06:07 UTC", "2026-03-14T05:06:07.1+01",
    "2026-03-14T23:59:59.999999999Z", "2024-02-29T12:00:00-0530", "2000-02-29 23:59:59.000001+00:00",
    "1900-03-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-14:00", "1969-12-31T23:59:59.9999999Z", "2026-03-14 17:30:00.5 +0530 IST m=+12.345678901",
    "2026-03-14 09:00:00 -0300 -03", "2026-03-14t05:06:07z", "2026-03-14T05:06:07+00:00", "0400-02-29", "2100-02-28",
    "1773489600", "1773489600.123456", "-1", "-0.0000001", "0", "99999999999999999999999999", "-99999999999999999999",
    "1773489600.1234567890123456789", "", " ", "yesterday", "2026-02-30", "2025-02-29", "0000-01-01", "2026-13-01",
    "2026-01-01T24:00:00Z", "2026-01-01T23:59:60Z", " 2026-01-01", "2026-01-01\n", "1e400", "0x10", "--1", "01",
    "2026-01-01T00:00:00+25:00", "2026-01-01T00:00:00+15:59", "2026-01-01T00:00:00-00:30", "2100-02-29", "NaN",
    "2026-03-14 12:00-0330", "2026-03-14 12:00 +01:30", "2026-03-14 12:00:00 +0530 IST m=+0.000123",
]  # fmt: skip


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_texts_are_read_as_times_by_the_rule_of_all_databases(clickhouse_store: Store, unit: EpochUnit) -> None:
    assert read_by(clickhouse_store.url, TEXTS, unit) == [parse_micros(text.encode(), unit) for text in TEXTS]


def read_by(url: str, texts: list[str], unit: EpochUnit) -> list[int | None]:
    """The times that ClickHouse makes of texts."""
    values = ", ".join(f"({clickhouse_literal(text)})" for text in texts)
    instant = ValueTime("x", "String", unit).instant
    answer = execute(url, f"SELECT {instant} FROM values('x String', {values})")
    return [None if line == "\\N" else int(line) for line in answer.splitlines()]


LIKE_TIMES = st.from_regex(re.compile(f"{TEXT_TIME}|{TEXT_NUMBER}", re.ASCII), fullmatch=True) | st.text(
    alphabet="0123456789-+:.TZ ", max_size=32
)


@settings(max_examples=15, deadline=None)
@given(texts=st.lists(LIKE_TIMES, min_size=20, max_size=60), unit=st.sampled_from(list(MICROS_IN_UNIT)))
def test_any_text_is_read_as_a_time_by_that_rule(
    clickhouse: ClickhouseServer, texts: list[str], unit: EpochUnit
) -> None:
    assert read_by(clickhouse.url(), texts, unit) == [parse_micros(text.encode(), unit) for text in texts]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_numbers_are_read_as_times_exactly(clickhouse_store: Store, unit: EpochUnit) -> None:
    kinds: dict[str, list[Any]] = {
        "Int64": [0, -1, 1_773_489_600, 1_773_489_600_123_456_789, 2**63 - 1, -(2**63), -999, -1000, -1001],
        "UInt64": [2**64 - 1, 0],
        "Float64": [1773489600.123456, -0.5, 1e18, float("nan"), float("inf"), 1.5e-7],
        "Decimal(30, 9)": ["1773489600.123456789", "-0.000000001"],
    }
    for kind, numbers in kinds.items():
        values = ", ".join(f"({number})" for number in numbers)
        instant = ValueTime("x", kind, unit).instant
        answer = execute(clickhouse_store.url, f"SELECT {instant} FROM values('x {kind}', {values})")
        found = [None if line == "\\N" else int(line) for line in answer.splitlines()]
        read = [number.encode() if isinstance(number, str) else number for number in numbers]
        assert found == [parse_micros(number, unit) for number in read], kind


def test_a_day_is_found_by_times_of_every_type(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    at = datetime(2026, 3, 14, 12, tzinfo=UTC)
    seconds = microseconds(at) // 1_000_000
    forms = {
        "String": "'2026-03-14T12:00:00Z'", "Int64": str(seconds), "UInt32": str(seconds), "Float64": f"{seconds}.0",
        "Decimal(18, 6)": f"{seconds}", "Date": "'2026-03-14'", "Date32": "'2026-03-14'",
        "LowCardinality(String)": f"'{seconds}'", "DateTime64(0)": "'2026-03-14 12:00:00'",
    }  # fmt: skip
    for number, (kind, value) in enumerate(forms.items()):
        create(store, f"runs_{number}", {"start_time": kind})
        store.run(f"INSERT INTO runs_{number} VALUES ('{uuid(1)}', '{PROJECT}', 'n', 'llm', {value})")
        source = store.source(f"runs: {{table: runs_{number}}}")
        expected = microseconds(at) - (43_200_000_000 if kind.startswith("Date") and "Time" not in kind else 0)
        assert [row["start_time"] for row in rows_of(source)] == [expected], kind
        assert {day: each.rows for day, each in source.days(ProjectKey(PROJECT)).items()} == {DAY: 1}, kind
        source.close()


def test_no_field_is_read_from_a_state_of_an_aggregation_or_a_time_from_a_map(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    create(store, "runs", {"end_time": "Map(String, String)", "error": "AggregateFunction(max, String)"})
    source = store.source()
    problems = " ".join(source.check().problems)
    assert "runs.end_time: column end_time is of type Map(String, String), which is not a time" in problems
    assert "runs.error: column error holds states of an aggregation" in problems
    source.close()

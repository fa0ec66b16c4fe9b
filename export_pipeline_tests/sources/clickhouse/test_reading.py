"""How a day is read: its own granules only, one statement, and a query that is stopped when nobody waits for it."""

from collections.abc import Callable
from typing import Any

import pytest

from export_pipeline.errors import SourceSlowError
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline.sources.sql.source import SqlSource
from export_pipeline_tests.servers import ClickhouseServer, wait_for
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store, execute, rows_of

pytestmark = pytest.mark.slow

PROJECTS, DAYS, ROWS = 3, 40, 10_000
"""Rows of one project on one day; a granule has 8,192."""
COLUMNS = "id UUID, session_id UUID, name String, run_type String, start_time DateTime64(6), modified_at DateTime64(6)"
ENGINES = {
    "sorted by project and start": "MergeTree ORDER BY (session_id, start_time)",
    "versions by day": "ReplacingMergeTree(modified_at) ORDER BY (session_id, toDate(start_time), id)",
    "partitions by day": "MergeTree PARTITION BY toDate(start_time) ORDER BY (session_id, id)",
}


def fill(store: Store, engine: str) -> None:
    """Rows of several projects on many days, of which `DAY` is one."""
    store.projects(PROJECT)
    execute(store.url, f"CREATE TABLE runs ({COLUMNS}) ENGINE = {engine}", nullable=False)
    project = f"toUUID(concat(substring('{PROJECT}', 1, 35), toString(number % {PROJECTS} + 1)))"
    start = f"toDateTime64('2026-02-10 00:00:00', 6, 'UTC') + (number % {DAYS}) * 86400 + number % 86400"
    for part in range(PROJECTS):
        store.run(
            f"INSERT INTO runs SELECT generateUUIDv4(), {project.replace('number', f'{part}')}, 'n', 'llm', {start}, "
            f"now64(6) FROM numbers({DAYS * ROWS}) SETTINGS max_partitions_per_insert_block = 1000"
        )


@pytest.mark.parametrize("engine", ENGINES)
def test_a_day_of_a_large_table_reads_the_granules_of_its_days_only(
    clickhouse_store: Store, clickhouse: ClickhouseServer, engine: str
) -> None:
    store = clickhouse_store
    fill(store, ENGINES[engine])
    source = store.source()
    key, window = ProjectKey(PROJECT), Window.of_day(DAY)
    tree = parse_filter('eq(name, "n")')
    wanted = int(execute(store.url, f"SELECT count() FROM runs WHERE session_id = '{PROJECT}' AND toDate(start_time, "
        f"'UTC') = '{DAY}'"))  # fmt: skip
    assert wanted > 0
    questions: dict[str, Callable[[], Any]] = {
        "rows": lambda: len(rows_of(source)),
        "days": lambda: source.days(key, window)[DAY].rows,
        "filtered": lambda: source.days(key, window, filter=tree)[DAY].rows,
        "changed": lambda: source.changed(key, window, window.start),
    }
    table = PROJECTS * DAYS * ROWS
    for name, ask in questions.items():
        clickhouse.queries()
        assert ask() == wanted, name
        read = sum(each["rows_read"] for each in clickhouse.queries() if "runs" in each["sql"])
        # The day, and the day before and after it for versions, by whole granules; in partitions by day of each part.
        assert read < table / 4, name
        if engine != "partitions by day":
            assert read < 5 * ROWS + 16 * 8192, name
    assert not [warning for warning in source.check().warnings if "reads the whole table" in warning]
    source.close()


def test_a_table_that_is_not_sorted_by_time_is_told(clickhouse_store: Store) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    execute(store.url, f"CREATE TABLE runs ({COLUMNS}) ENGINE = MergeTree ORDER BY (session_id, id)", nullable=False)
    source = store.source()
    report = source.check()
    assert report.index is None
    (warning,) = [each for each in report.warnings if "reads the whole table" in each]
    assert warning == (
        "table runs: neither the sorting key nor the partitions have start_time, so each day reads the whole table; "
        "they are named when a table is made: ORDER BY (session_id, start_time), PARTITION BY toYYYYMM(start_time)"
    )
    source.close()


@pytest.mark.parametrize(
    ("engine", "index"),
    [
        ("MergeTree ORDER BY (session_id, start_time)", "the sorting key (session_id, start_time)"),
        ("MergeTree ORDER BY (session_id, toStartOfHour(start_time), id)",
         "the sorting key (session_id, toStartOfHour(start_time), id)"),
        ("MergeTree PARTITION BY toYYYYMM(start_time) ORDER BY id", "the partitions (toYYYYMM(start_time))"),
        ("MergeTree PRIMARY KEY (session_id, toDate(start_time)) ORDER BY (session_id, toDate(start_time), id)",
         "the sorting key (session_id, toDate(start_time), id)"),
        ("MergeTree ORDER BY xxHash32(id, start_time)", None),
        ("MergeTree ORDER BY tuple()", None),
        ("Memory", None),
    ],
)  # fmt: skip
def test_which_keys_serve_a_day(clickhouse_store: Store, engine: str, index: str | None) -> None:
    store = clickhouse_store
    store.projects(PROJECT)
    execute(store.url, f"CREATE TABLE runs ({COLUMNS}) ENGINE = {engine}", nullable=False)
    source = store.source()
    assert source.check().index == index
    source.close()


def read(source: RunSource) -> None:
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        for _ in snapshot.batches():
            pass


@pytest.mark.parametrize("fault", ["stalled", "stalled_before"])
def test_a_query_that_gives_nothing_any_more_is_killed_and_the_next_one_answered(
    clickhouse_store: Store, clickhouse: ClickhouseServer, fault: str
) -> None:
    store = clickhouse_store
    store.runs()
    for number in range(1, 4):
        store.add(number, "2026-03-14 10:00:00")
    source = store.source()
    read(source)
    assert isinstance(source, SqlSource)
    usual, source._patience = source._patience, 1.2
    killed = len(clickhouse.kills())
    clickhouse.play(fault, match="`start_time out`")
    with pytest.raises(SourceSlowError, match=r"gave nothing for 0[.]02 minutes"):
        read(source)
    source._patience = usual
    wait_for(lambda: len(clickhouse.kills()) > killed, what="the query's end")
    assert all(each.startswith("export-pipeline-") for each in clickhouse.kills())
    assert len(rows_of(source)) == 3
    source.close()


def test_a_reader_that_stops_early_does_not_wait_for_the_rest(
    clickhouse_store: Store, clickhouse: ClickhouseServer
) -> None:
    store = clickhouse_store
    fill_one_day(store)
    source = store.source()
    clickhouse.play("stalled", match="`start_time out`")
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY)) as snapshot:
        assert next(iter(snapshot.batches())).num_rows > 0
    assert len(rows_of(source)) == 30_000
    source.close()


def fill_one_day(store: Store) -> None:
    store.projects(PROJECT)
    execute(store.url, f"CREATE TABLE runs ({COLUMNS}) ENGINE = MergeTree ORDER BY start_time", nullable=False)
    start = "toDateTime64('2026-03-14 00:00:00', 6, 'UTC') + number"
    columns = f"generateUUIDv4(), '{PROJECT}', hex(sipHash128(number)), 'llm', {start}, now64(6)"
    store.run(f"INSERT INTO runs SELECT {columns} FROM numbers(30000)")

"""What a day costs is counted in the rows that the engine reads: it does not grow with the days before it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import RunSource
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.clickhouse import langfuse
from export_pipeline_tests.sources.clickhouse.days import CHAT
from export_pipeline_tests.sources.clickhouse.otel import TABLE
from export_pipeline_tests.sources.stores import DAY, Store, execute

pytestmark = pytest.mark.slow

ROWS = 10_000
"""Of a day. Every fifth is the root of a trace, which are five spans in a row; every fifth has a score."""
FEW, MANY = 5, 60
GRANULE = 8192
TRACE = "concat('t', toString(intDiv(number, 5)))"
PARENT = "if(number % 5 = {root}, '', toString(number - 1))"


@dataclass(frozen=True)
class Kind:
    """A table that is filled with `INSERT … SELECT`, whose columns but the start are made of a number."""

    name: str
    columns: str
    values: str
    only: str = "1"


SCORES = Kind(
    "scores",
    "project_id, trace_id, id, observation_id, name, value, data_type, event_ts, timestamp",
    f"'chat', {TRACE}, toString(number), toString(number), 'good', 1, 'NUMERIC', now64(6)",
    "number % 5 = 2",
)
STORES: dict[str, tuple[Callable[[Store], Any], list[Kind]]] = {
    "langfuse 4": (
        lambda store: langfuse.make(store, version=4),
        [SCORES, Kind("events_full", "project_id, trace_id, span_id, parent_span_id, type, event_ts, input, start_time",
                      f"'chat', {TRACE}, toString(number), {PARENT.format(root=0)}, 'SPAN', now64(6), '{{}}'")],
    ),
    "langfuse 3": (
        lambda store: langfuse.make(store, version=3),
        [SCORES, Kind("traces", "project_id, id, event_ts, input, timestamp", f"'chat', {TRACE}, now64(6), '{{}}'",
                      "number % 5 = 0"),
         Kind("observations", "project_id, trace_id, id, parent_observation_id, type, event_ts, input, start_time",
              f"'chat', {TRACE}, toString(number), {PARENT.format(root=1)}, 'SPAN', now64(6), '{{}}'",
              "number % 5 > 0")],
    ),
    "otel": (
        lambda store: execute(store.url, TABLE, nullable=False),
        [Kind("otel_traces", "ServiceName, TraceId, SpanId, ParentSpanId, SpanName, Timestamp",
              f"'chat', {TRACE}, toString(number), {PARENT.format(root=0)}, 'span'")],
    ),
}  # fmt: skip


def fill(store: Store, kinds: list[Kind], days: int) -> None:
    """The day, and those before it."""
    first = DAY - timedelta(days=days - 1)
    seconds = f"intDiv(number, {ROWS}) * 86400 + intDiv(number % {ROWS} * 86400, {ROWS})"
    for kind in kinds:
        store.run(f"TRUNCATE TABLE {kind.name}")
        store.run(
            f"INSERT INTO {kind.name} ({kind.columns}) SELECT {kind.values}, "
            f"toDateTime64('{first} 00:00:00', 6, 'UTC') + {seconds} FROM numbers({days * ROWS}) WHERE {kind.only} "
            "SETTINGS max_partitions_per_insert_block = 1000"
        )
        store.run(f"OPTIMIZE TABLE {kind.name} FINAL")  # so that parts, and with them granules, are always the same


def read_for(source: RunSource, server: ClickhouseServer) -> dict[str, int]:
    """The rows that the engine reads to answer each question about the day."""
    window = Window.of_day(DAY)

    def rows() -> int:
        with source.open(CHAT, window) as snapshot:
            return sum(batch.num_rows for batch in snapshot.batches())

    questions: dict[str, Callable[[], int | None]] = {
        "rows": rows,
        "count": lambda: source.days(CHAT, window)[DAY].rows,
        "changed": lambda: source.changed(CHAT, window, window.start),
    }
    read = {}
    server.queries()
    for question, ask in questions.items():
        assert ask() in (ROWS, None)  # None: no column tells
        read[question] = sum(each["rows_read"] for each in server.queries())
    return read


@pytest.mark.parametrize("name", STORES)
def test_the_rows_that_a_day_reads_do_not_grow_with_the_days_before_it(
    clickhouse: ClickhouseServer, clickhouse_store: Store, name: str
) -> None:
    make, kinds = STORES[name]
    make(clickhouse_store)
    read = {}
    for days in (FEW, MANY):
        fill(clickhouse_store, kinds, days)
        source = clickhouse_store.source()
        read[days] = read_for(source, clickhouse)
        source.close()
    for question, few in read[FEW].items():
        assert few < 20 * ROWS + 20 * GRANULE, question
        assert read[MANY][question] <= few + 4 * GRANULE, question

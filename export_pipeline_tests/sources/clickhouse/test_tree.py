"""A store that has only parents gets whole paths, also of parents that began the day before."""

from datetime import datetime
from typing import Any

import pytest

from export_pipeline.runs.filter import parse_filter
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.stores import OTHER, PROJECT, Store, execute, matching, rows_of, uuid

pytestmark = pytest.mark.slow

DAY_BEFORE, DAY = "2026-03-13", "2026-03-14"
UNSORTED = "MergeTree ORDER BY tuple()"
VERSIONS = "ReplacingMergeTree(modified_at) ORDER BY (session_id, toDate(start_time), id)"


def made(store: Store, engine: str, runs: dict[int, tuple[str, int | None]], **values: Any) -> dict[int, str]:
    """Fills a table with runs, each with start and parent; the segments that their paths consist of."""
    store.projects(PROJECT)
    columns = "id UUID, session_id UUID, name String, run_type String, parent_run_id Nullable(UUID)"
    columns += ", start_time DateTime64(6), modified_at DateTime64(6)"
    execute(store.url, f"CREATE TABLE runs ({columns}) ENGINE = {engine}", nullable=False)
    for number, (start, parent) in runs.items():
        above = None if parent is None else uuid(parent)
        basic = {"session_id": PROJECT, "name": "n", "run_type": "llm", "modified_at": "2026-03-20", **values}
        store.insert("runs", id=uuid(number), start_time=start, parent_run_id=above, **basic)
    return {
        number: f"{datetime.fromisoformat(start):%Y%m%dT%H%M%S%fZ}{uuid(number)}" for number, (start, _) in runs.items()
    }


def paths(store: Store, mapping: str | None = None) -> dict[int, str | None]:
    source = store.source(mapping)
    found = {int(row["id"][-4:], 16): row["dotted_order"] for row in rows_of(source)}
    source.close()
    return {number: None if path is None else path.decode() for number, path in found.items()}


@pytest.mark.parametrize("engine", [UNSORTED, VERSIONS])
def test_paths_lead_to_the_root_wherever_its_day_began(clickhouse_store: Store, engine: str) -> None:
    segments = made(clickhouse_store, engine, {
        1: (f"{DAY} 10:00:00.000001", None), 2: (f"{DAY} 10:00:01", 1), 3: (f"{DAY} 10:00:02.5", 2),
        4: (f"{DAY} 10:00:02.5", 2), 5: (f"{DAY_BEFORE} 23:59:59.999999", None), 6: (f"{DAY} 00:00:00", 5),
        7: (f"{DAY} 11:00:00", 99), 8: (f"{DAY} 12:00:00", 9), 9: (f"{DAY} 12:00:00", 8), 10: (f"{DAY} 12:00:00", 9),
        11: (f"{DAY} 13:00:00", 11),
    })  # fmt: skip
    for number in (1, 2, 3):
        clickhouse_store.run(f"INSERT INTO runs SELECT * FROM runs WHERE id = '{uuid(number)}' LIMIT 1")
    assert paths(clickhouse_store) == {
        1: segments[1],
        2: f"{segments[1]}.{segments[2]}",
        3: f"{segments[1]}.{segments[2]}.{segments[3]}",
        4: f"{segments[1]}.{segments[2]}.{segments[4]}",
        6: f"{segments[5]}.{segments[6]}",
        **dict.fromkeys((7, 8, 9, 10, 11)),
    }


def test_a_parent_in_another_project_is_found_where_ids_tell_runs_apart(clickhouse_store: Store) -> None:
    store = clickhouse_store
    segments = made(store, UNSORTED, {2: (f"{DAY} 10:00:01", 1)})
    basic = {"session_id": OTHER, "name": "n", "run_type": "llm", "modified_at": "2026-03-20"}
    store.insert("runs", id=uuid(1), start_time=f"{DAY} 10:00:00", parent_run_id=None, **basic)
    assert paths(store) == {2: None}
    root = f"20260314T100000000000Z{uuid(1)}"
    assert paths(store, "runs: {identity: [id]}") == {2: f"{root}.{segments[2]}"}


def test_a_path_of_256_runs_is_built_and_a_longer_one_is_none(clickhouse_store: Store) -> None:
    chain = {number: (f"{DAY} 10:00:00.{number:06}", number - 1 if number > 1 else None) for number in range(1, 258)}
    segments = made(clickhouse_store, UNSORTED, chain)
    source = clickhouse_store.source()
    found = {row["id"].decode(): row["dotted_order"] for row in rows_of(source)}
    source.close()
    assert found[uuid(256)].decode() == ".".join(segments[number] for number in range(1, 257))
    assert found[uuid(257)] is None


def test_filters_see_the_tree_that_is_built(clickhouse_store: Store) -> None:
    made(
        clickhouse_store, UNSORTED, {1: (f"{DAY} 10:00:00", None), 2: (f"{DAY} 10:00:01", 1), 3: (f"{DAY} 10:00:02", 2)}
    )
    source = clickhouse_store.source()
    assert matching(source, "eq(is_root, true)") == [1]
    assert matching(source, f'eq(trace_id, "{uuid(1)}")') == [1, 2, 3]
    assert matching(source, f'and(eq(trace_id, "{uuid(1)}"), eq(is_root, false))', fields=["id"]) == [2, 3]
    days = source.days(ProjectKey(PROJECT), filter=parse_filter(f'eq(trace_id, "{uuid(1)}")'))
    assert [each.rows for each in days.values()] == [3]
    source.close()


def test_fields_that_need_no_path_build_none(clickhouse_store: Store, clickhouse: ClickhouseServer) -> None:
    made(clickhouse_store, UNSORTED, {1: (f"{DAY} 10:00:00", None), 2: (f"{DAY} 10:00:01", 1)})
    source = clickhouse_store.source()
    clickhouse.queries()
    source.days(ProjectKey(PROJECT))
    assert not [each for each in clickhouse.queries() if "RECURSIVE" in each["sql"]]
    source.close()

"""Langfuse's tables, of version 3 and 4, are read by the mapping that comes with the package."""

import json
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.clickhouse.days import CHAT, at, exported, original
from export_pipeline_tests.sources.clickhouse.langfuse import add, make
from export_pipeline_tests.sources.stores import DAY, Store, execute, settings_for

pytestmark = pytest.mark.slow

TRACE, OTHER_TRACE = "0af7651916cd43dd8448eb211c80319c", "trace-2"


GENERATION = {
    "type": "GENERATION",
    "name": "answer",
    "level": "DEFAULT",
    "usage_details": {"input": 12, "output": 3, "total": 15},
    "cost_details": {"input": "0.000000000012", "output": "0.1", "total": "0.100000000012"},
    "provided_model_name": "gpt-4o",
    "model_parameters": '{"temperature": 0.5}',
}


def maps(values: dict[str, Any]) -> dict[str, Any]:
    """Values of maps as ClickHouse's text."""
    return {
        name: "{" + ",".join(f"'{key}':{each}" for key, each in value.items()) + "}"
        if isinstance(value, dict) else value
        for name, value in values.items()
    }  # fmt: skip


@pytest.fixture
def version_4(clickhouse_store: Store) -> Store:
    store = clickhouse_store
    make(store, version=4)
    basic = {"trace_id": TRACE, "updated_at": "2026-03-14 19:00:00", "session_id": "thread", "user_id": "ann"}
    add(store, "events_full", **basic, span_id="root", parent_span_id="", type="SPAN", name="chat", level="DEFAULT",
        start_time="2026-03-13 23:59:59.999999", end_time="2026-03-14 10:00:00", tags=["a", "b"])  # fmt: skip
    generation = {**basic, **maps(GENERATION), "span_id": "g1", "parent_span_id": "root"}
    generation |= {"start_time": "2026-03-14 10:00:00.000001", "end_time": "2026-03-14 10:00:01.5"}
    add(store, "events_full", **generation, input='{"q": 1}', output="plain", event_ts="2026-03-14 12:00:00")
    add(store, "events_full", **generation, input='[1, 2]', output='{"a": 2}', metadata_names=["k"],
        metadata_values=['v"'], completion_start_time="2026-03-14 10:00:00.25", event_ts="2026-03-14 20:00:01",
        experiment_item_id="item")  # fmt: skip
    add(store, "events_full", **basic, span_id="t1", parent_span_id="g1", type="TOOL", name="look up", level="ERROR",
        status_message="no such page", start_time="2026-03-14 10:00:01", end_time="2026-03-14 10:00:02")  # fmt: skip
    add(store, "events_full", **basic, span_id="e1", parent_span_id="t1", type="EVENT", name="log",
        start_time="2026-03-14 10:00:01.5")  # fmt: skip
    add(store, "events_full", **basic, span_id="p1", parent_span_id="gone", type="RETRIEVER", name="open",
        start_time="2026-03-14 10:00:03")  # fmt: skip
    gone = {**basic, "span_id": "d1", "parent_span_id": "root", "type": "SPAN", "start_time": "2026-03-14 10:00:04"}
    add(store, "events_full", **gone)
    add(store, "events_full", **gone, is_deleted=1, event_ts="2026-03-14 20:00:09")
    add(store, "events_full", **basic, span_id="x", type="SPAN", start_time="2026-03-14 11:00:00", project_id="other")
    score = {"timestamp": "2026-03-14 12:00:00", "trace_id": TRACE, "source": "API", "data_type": "NUMERIC"}
    add(store, "scores", **score, id="s1", observation_id="g1", name="good", value=0.5, event_ts="2026-03-14 12:00:00")
    add(store, "scores", **score, id="s1", observation_id="g1", name="good", value=0.75)
    add(store, "scores", **score, id="s2", observation_id="g1", name="gone", value=1, is_deleted=1)
    add(store, "scores", **score, id="s3", name="of the trace", value=1)
    return store


def test_a_day_of_version_4_is_what_its_rows_say(version_4: Store) -> None:
    source = version_4.source()
    assert sorted(project.key for project in source.projects()) == ["chat", "other"]
    rows = {original(row).partition(":")[2]: row for row in exported(source)}
    whose = f"project_id = 'chat' AND is_deleted = 0 AND toDate(start_time, 'UTC') = '{DAY}'"
    wanted = execute(version_4.url, f"SELECT span_id FROM events_full FINAL WHERE {whose} ORDER BY start_time, span_id")
    assert list(rows) == wanted.split()
    assert {name: row["run_type"] for name, row in rows.items()} == {
        "g1": "llm", "t1": "tool", "e1": "chain", "p1": "retriever",
    }  # fmt: skip
    assert {name: row["status"] for name, row in rows.items()} == {
        "g1": "success", "t1": "error", "e1": "success", "p1": "pending",
    }  # fmt: skip
    generation, tool, event = rows["g1"], rows["t1"], rows["e1"]
    assert (generation["inputs"], generation["outputs"]) == ('{"input":[1, 2]}', '{"a": 2}')
    assert (tool["error"], generation["error"]) == ("no such page", None)
    assert (event["start_time"], event["end_time"]) == (at("2026-03-14 10:00:01.5"), at("2026-03-14 10:00:01.5"))
    assert generation["start_time"] == at("2026-03-14 10:00:00.000001")
    assert generation["first_token_time"] == at("2026-03-14 10:00:00.25")
    tokens = [generation[f"{name}_tokens"] for name in ("prompt", "completion", "total")]
    assert (tokens, tool["total_tokens"]) == ([12, 3, 15], None)
    costs = [generation[f"{name}_cost"] for name in ("prompt", "completion", "total")]
    assert costs == [Decimal("0.000000000012"), Decimal("0.1"), Decimal("0.100000000012")]
    assert tool["total_cost"] is None
    extra = json.loads(generation["extra"])
    assert extra["metadata"] == {
        "k": 'v"', "ls_model_name": "gpt-4o", "thread_id": "thread", "user_id": "ann", "environment": "default",
    }  # fmt: skip
    assert extra["invocation_params"] == {"temperature": 0.5}
    assert original(generation, "reference_example_id") == "item"
    records = json.loads(generation["feedbacks"])
    assert [(each["id"], each["key"], each["score"], each["run_id"]) for each in records] == [
        ("s1", "good", 0.75, f"{TRACE}:g1")
    ]
    assert json.loads(tool["feedbacks"]) == []
    source.close()


def test_the_tree_of_version_4_leads_to_its_root_on_the_day_before(version_4: Store) -> None:
    source = version_4.source()
    (root,) = exported(source, day=date(2026, 3, 13))
    rows = {original(row).partition(":")[2]: row for row in exported(source)}
    assert (root["is_root"], root["parent_run_ids"], root["trace_id"]) == (True, [], root["id"])
    assert rows["g1"]["parent_run_ids"] == [root["id"]]
    assert rows["t1"]["parent_run_ids"] == [root["id"], rows["g1"]["id"]]
    assert rows["e1"]["parent_run_ids"] == [root["id"], rows["g1"]["id"], rows["t1"]["id"]]
    for name in ("g1", "t1", "e1"):
        segments = rows[name]["dotted_order"].split(".")
        assert [str(UUID(segment[22:])) for segment in segments] == [*rows[name]["parent_run_ids"], rows[name]["id"]]
        assert (rows[name]["trace_id"], rows[name]["is_root"]) == (root["id"], False)
    assert rows["p1"]["dotted_order"] is None
    assert rows["p1"]["parent_run_id"] is not None
    assert root["tags"] == ["a", "b"]
    source.close()


def test_the_check_says_that_it_is_langfuse_and_what_is_left_out(version_4: Store) -> None:
    add(version_4, "observations", id="o", trace_id=TRACE, type="SPAN", start_time="2026-01-01 00:00:00")
    source = version_4.source()
    report = source.check()
    assert report.problems == ()
    left_out = [warning for warning in report.warnings if warning.endswith("are not exported")]
    migration = (
        "observations from before the first row of events_full (Langfuse's migration to version 4 has not ended)"
    )
    assert left_out == [f"1 {migration} are not exported"]
    source.close()


def test_a_table_that_lacks_a_column_is_refused_by_its_name(version_4: Store) -> None:
    version_4.run("ALTER TABLE events_full DROP COLUMN metadata_values")
    with pytest.raises(SourceUnusableError, match=r"cannot be read as langfuse: it lacks events_full\.metadata_values"):
        version_4.source()


@pytest.fixture
def version_3(clickhouse_store: Store) -> Store:
    store = clickhouse_store
    make(store, version=3)
    trace = {"id": TRACE, "timestamp": "2026-03-14 10:00:00.001", "name": "chat", "tags": ["a"], "session_id": "thread"}
    add(store, "traces", **trace, input="hello", user_id="bob", event_ts="2026-03-14 12:00:00")
    add(store, "traces", **trace, input='{"q": 1}', output="bye", user_id="ann")
    add(store, "traces", id=OTHER_TRACE, timestamp="2026-03-14 11:00:00", name="deleted", is_deleted=1)
    observation = {**maps(GENERATION), "trace_id": TRACE, "start_time": "2026-03-14 10:00:00.002"}
    add(store, "observations", **observation, id="g1", end_time="2026-03-14 10:00:01", event_ts="2026-03-14 12:00:00")
    add(store, "observations", **observation, id="g1", end_time="2026-03-14 10:00:02", input="why", output="so")
    child = {"trace_id": TRACE, "parent_observation_id": "g1", "start_time": "2026-03-14 10:00:00.003"}
    add(store, "observations", **child, id="t1", type="TOOL", name="look up", level="ERROR", status_message="lost",
        end_time="2026-03-14 10:00:01")  # fmt: skip
    add(store, "observations", **child, id="d1", type="SPAN", is_deleted=1)
    score = {"timestamp": "2026-03-14 12:00:00", "trace_id": TRACE, "source": "API", "data_type": "NUMERIC"}
    add(store, "scores", **score, id="s1", name="of the trace", value=1)
    add(store, "scores", **score, id="s2", name="of the span", value=0.5, observation_id="t1")
    return store


def test_a_day_of_version_3_has_the_trace_as_root_of_its_observations(version_3: Store) -> None:
    source = version_3.source()
    root, generation, tool = exported(source)
    assert (root["id"], root["trace_id"]) == (str(UUID(TRACE)), str(UUID(TRACE)))
    assert [row["name"] for row in (root, generation, tool)] == ["chat", "answer", "look up"]
    assert [row["is_root"] for row in (root, generation, tool)] == [True, False, False]
    assert (generation["parent_run_ids"], tool["parent_run_ids"]) == ([root["id"]], [root["id"], generation["id"]])
    assert {row["trace_id"] for row in (root, generation, tool)} == {root["id"]}
    assert [row["status"] for row in (root, generation, tool)] == ["success", "success", "error"]
    assert (root["inputs"], root["outputs"], root["tags"]) == ('{"q": 1}', '{"output":"bye"}', ["a"])
    assert (generation["inputs"], generation["end_time"]) == ('{"input":"why"}', at("2026-03-14 10:00:02"))
    assert json.loads(root["extra"])["metadata"] == {"thread_id": "thread", "user_id": "ann", "environment": "default"}
    assert [generation["total_tokens"], generation["total_cost"]] == [15, Decimal("0.100000000012")]
    assert tool["error"] == "lost"
    assert [each["key"] for each in json.loads(root["feedbacks"])] == ["of the trace"]
    assert [each["key"] for each in json.loads(tool["feedbacks"])] == ["of the span"]
    assert source.check().problems == ()
    source.close()


@pytest.mark.parametrize("version", [3, 4])
def test_a_day_of_a_large_store_reads_its_own_granules(
    clickhouse_store: Store, clickhouse: ClickhouseServer, version: int
) -> None:
    store = clickhouse_store
    make(store, version=version)
    start = "toDateTime64('2026-02-20 00:00:00', 6, 'UTC') + (number % 40) * 86400 + intDiv(number, 40) % 86400"
    if version == 4:
        columns = "project_id, trace_id, span_id, type, start_time, event_ts"
        table, id_ = "events_full", f"'chat', toString(intDiv(number, 5)), toString(number), 'SPAN', {start}, now64(6)"
    else:
        columns = "project_id, trace_id, id, type, start_time, event_ts"
        table, id_ = "observations", f"'chat', toString(intDiv(number, 5)), toString(number), 'SPAN', {start}, now64(6)"
    store.run(f"INSERT INTO {table} ({columns}) SELECT {id_} FROM numbers(800000)")
    source = store.source()
    key, window = ProjectKey("chat"), Window.of_day(DAY)
    clickhouse.queries()
    with source.open(key, window) as snapshot:
        assert sum(batch.num_rows for batch in snapshot.batches()) == 20_000
    read = sum(each["rows_read"] for each in clickhouse.queries() if table in each["sql"])
    assert read < 400_000
    source.close()


@pytest.mark.parametrize("kind", [None, "langfuse"])
def test_a_version_4_of_which_only_cut_rows_may_be_read_is_refused(version_4: Store, kind: str | None) -> None:
    version_4.run("RENAME TABLE events_full TO events_core")
    settings = settings_for(version_4.url).model_copy(update={"source_kind": kind})
    with pytest.raises(SourceUnusableError, match="cannot be read as Langfuse 3: events_core is of a newer version"):
        open_source(settings)
    version_4.run("DROP TABLE observations")
    version_4.run("DROP TABLE traces")
    if kind is None:
        assert open_source(settings).check().problems == (
            "runs: table runs does not exist", "projects: table sessions does not exist",
        )  # fmt: skip
    else:
        with pytest.raises(SourceUnusableError, match="lacks events_full, observations, which Langfuse 4 has"):
            open_source(settings)


@pytest.mark.parametrize("version", [3, 4])
def test_changed_rows_are_looked_for_within_the_window_only(
    clickhouse_store: Store, clickhouse: ClickhouseServer, version: int
) -> None:
    """Nothing in the table is sorted by `updated_at`."""
    store = clickhouse_store
    make(store, version=version)
    table, id_ = ("events_full", "span_id") if version == 4 else ("observations", "id")
    start = "toDateTime64('2026-02-20 00:00:00', 6, 'UTC') + (number % 40) * 86400 + intDiv(number, 40) % 86400"
    store.run(
        f"INSERT INTO {table} (project_id, trace_id, {id_}, type, start_time, event_ts, updated_at) SELECT 'chat', "
        f"toString(intDiv(number, 5)), toString(number), 'SPAN', {start}, '2026-03-20 00:00:00', "
        "'2026-03-20 00:00:00' FROM numbers(800000)"
    )
    source = store.source()
    clickhouse.queries()
    assert source.changed(CHAT, Window.of_day(DAY), at("2026-03-19 00:00:00")) == 20_000
    assert source.changed(CHAT, Window.of_day(DAY), at("2026-03-20 00:00:00")) == 0
    assert sum(each["rows_read"] for each in clickhouse.queries() if table in each["sql"]) < 400_000
    source.close()

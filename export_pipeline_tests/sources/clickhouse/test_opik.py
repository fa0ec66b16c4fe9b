"""Tables with the columns, engines and keys of Opik's are read by the mapping that comes with the package."""

import json
from decimal import Decimal
from typing import Any

import pytest

from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.clickhouse.days import at, exported
from export_pipeline_tests.sources.stores import Store, execute, uuid

pytestmark = pytest.mark.slow

PROJECT = "01890000-0000-7000-8000-000000000001"
BOTH = """id FixedString(36), workspace_id String, project_id FixedString(36), name String,
start_time DateTime64(9, 'UTC'), end_time Nullable(DateTime64(9, 'UTC')), input String, output String, metadata String,
tags Array(String), error_info String DEFAULT '', created_at DateTime64(9, 'UTC') DEFAULT now64(9),
last_updated_at DateTime64(6, 'UTC') DEFAULT now64(6)"""
SPANS = f"""{BOTH}, trace_id FixedString(36), parent_span_id String DEFAULT '',
type Enum8('unknown' = 0, 'general' = 1, 'tool' = 2, 'llm' = 3, 'guardrail' = 4), usage Map(String, Int32),
model String DEFAULT '', provider String DEFAULT '', total_estimated_cost Decimal(38, 12)"""
SCORES = """entity_id FixedString(36), entity_type Enum8('unknown' = 0, 'span' = 1, 'trace' = 2, 'thread' = 3),
project_id FixedString(36), workspace_id String, name String, category_name String DEFAULT '', value Decimal(18, 9),
reason String DEFAULT '', source Enum8('sdk' = 1, 'ui' = 2), created_at DateTime64(9, 'UTC') DEFAULT now64(9),
last_updated_at DateTime64(9, 'UTC') DEFAULT now64(9)"""
TABLES = {
    "spans": (SPANS, "workspace_id, project_id, trace_id, parent_span_id, id"),
    "traces": (f"{BOTH}, thread_id String", "workspace_id, project_id, id"),
    "feedback_scores": (SCORES, "workspace_id, project_id, entity_type, entity_id, name"),
}


@pytest.fixture
def opik(clickhouse_store: Store) -> Store:
    store = clickhouse_store
    for name, (columns, key) in TABLES.items():
        engine = f"ReplacingMergeTree(last_updated_at) ORDER BY ({key})"
        execute(store.url, f"CREATE TABLE {name} ({columns}) ENGINE = {engine}", nullable=False)

    def add(table: str, **values: Any) -> None:
        basic = {"workspace_id": "acme", "project_id": PROJECT, "last_updated_at": "2026-03-15 00:00:00"}
        store.insert(table, **{**basic, **values})

    trace = {"id": uuid(1), "name": "chat", "start_time": "2026-03-14 10:00:00.000000001", "thread_id": "thread"}
    add("traces", **trace, input="hi", last_updated_at="2026-03-14 00:00:00")
    add("traces", **trace, input='{"q": 1}', end_time="2026-03-14 10:00:02", tags=["a"], metadata='{"k": 1}')
    span = {
        "id": uuid(2),
        "trace_id": uuid(1),
        "name": "answer",
        "type": "llm",
        "model": "gpt-4o",
        "provider": "openai",
    }
    usage = "{'prompt_tokens':12,'completion_tokens':3,'total_tokens':15}"
    span |= {"start_time": "2026-03-14 10:00:00.5", "usage": usage, "total_estimated_cost": "0.000000000012"}
    add("spans", **span, last_updated_at="2026-03-14 00:00:00")
    add("spans", **span, end_time="2026-03-14 10:00:01", output="[1]")
    error = json.dumps({"exception_type": "KeyError", "message": "k", "traceback": "at line 1"})
    add("spans", id=uuid(3), trace_id=uuid(1), parent_span_id=uuid(2), name="look up", type="tool", error_info=error,
        start_time="2026-03-14 10:00:00.75")  # fmt: skip
    add("spans", id=uuid(4), trace_id=uuid(9), workspace_id="other", name="x", start_time="2026-03-14 10:00:00")
    add("feedback_scores", entity_id=uuid(2), entity_type="span", name="good", value=0.5, source="sdk",
        last_updated_at="2026-03-14 00:00:00")  # fmt: skip
    add("feedback_scores", entity_id=uuid(2), entity_type="span", name="good", value=0.75, source="sdk")
    add("feedback_scores", entity_id=uuid(1), entity_type="trace", name="kind", value=1, source="ui", reason="nice")
    return store


def test_a_day_of_opik_has_the_trace_as_root_of_its_spans(opik: Store) -> None:
    source = opik.source()
    projects = source.projects()
    assert sorted((project.key, project.tenant_key) for project in projects) == [(PROJECT, "acme"), (PROJECT, "other")]
    root, answer, tool = exported(source, project=ProjectKey(PROJECT, tenant="acme", untold=False))
    assert [row["id"] for row in (root, answer, tool)] == [uuid(1), uuid(2), uuid(3)]
    assert [row["parent_run_ids"] for row in (root, answer, tool)] == [[], [uuid(1)], [uuid(1), uuid(2)]]
    assert {row["trace_id"] for row in (root, answer, tool)} == {uuid(1)}
    assert [row["run_type"] for row in (root, answer, tool)] == ["chain", "llm", "tool"]
    assert [row["status"] for row in (root, answer, tool)] == ["success", "success", "error"]
    assert (tool["error"], answer["error"]) == ("at line 1", None)
    assert (root["inputs"], answer["outputs"], answer["inputs"]) == ('{"q": 1}', '{"output":[1]}', None)
    assert (root["start_time"], answer["end_time"]) == (at("2026-03-14 10:00:00"), at("2026-03-14 10:00:01"))
    tokens = [answer[f"{name}_tokens"] for name in ("prompt", "completion", "total")]
    assert (tokens, root["total_tokens"]) == ([12, 3, 15], None)
    assert (answer["total_cost"], tool["total_cost"]) == (Decimal("0.000000000012"), None)
    assert root["tags"] == ["a"]
    assert json.loads(root["extra"]) == {"metadata": {"thread_id": "thread"}, "opik_metadata": {"k": 1}}
    assert json.loads(answer["extra"])["metadata"] == {"ls_model_name": "gpt-4o", "ls_provider": "openai"}
    assert [(each["key"], each["score"]) for each in json.loads(answer["feedbacks"])] == [("good", 0.75)]
    assert [(each["key"], each["comment"]) for each in json.loads(root["feedbacks"])] == [("kind", "nice")]
    assert source.check().problems == ()
    source.close()

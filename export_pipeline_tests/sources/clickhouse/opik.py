"""Tables with the columns, engines and keys of Opik's, and rows for them in several versions."""

import json
from typing import Any

from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.stores import Store, execute, uuid

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
OPIK = ProjectKey(PROJECT, tenant="acme", untold=False)
TABLES = {
    "spans": (SPANS, "workspace_id, project_id, trace_id, parent_span_id, id"),
    "traces": (f"{BOTH}, thread_id String", "workspace_id, project_id, id"),
    "feedback_scores": (SCORES, "workspace_id, project_id, entity_type, entity_id, name"),
}


def add(store: Store, table: str, **values: Any) -> None:
    """Adds a row, as a part of its own."""
    basic = {"workspace_id": "acme", "project_id": PROJECT, "last_updated_at": "2026-03-15 00:00:00"}
    store.insert(table, **{**basic, **values})


def make_tables(store: Store) -> None:
    """The tables, empty."""
    for name, (columns, key) in TABLES.items():
        engine = f"ReplacingMergeTree(last_updated_at) ORDER BY ({key})"
        execute(store.url, f"CREATE TABLE {name} ({columns}) ENGINE = {engine}", nullable=False)


def make(store: Store) -> None:
    """The tables, with a trace of two spans and their scores."""
    make_tables(store)
    trace = {"id": uuid(1), "name": "chat", "start_time": "2026-03-14 10:00:00.000000001", "thread_id": "thread"}
    add(store, "traces", **trace, input="hi", last_updated_at="2026-03-14 00:00:00")
    add(store, "traces", **trace, input='{"q": 1}', end_time="2026-03-14 10:00:02", tags=["a"], metadata='{"k": 1}')
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
    add(store, "spans", **span, last_updated_at="2026-03-14 00:00:00")
    add(store, "spans", **span, end_time="2026-03-14 10:00:01", output="[1]")
    error = json.dumps({"exception_type": "KeyError", "message": "k", "traceback": "at line 1"})
    tool = {"id": uuid(3), "trace_id": uuid(1), "parent_span_id": uuid(2), "name": "look up", "type": "tool"}
    add(store, "spans", **tool, error_info=error, start_time="2026-03-14 10:00:00.75")
    add(store, "spans", id=uuid(4), trace_id=uuid(9), workspace_id="other", name="x", start_time="2026-03-14 10:00:00")
    score = {"entity_id": uuid(2), "entity_type": "span", "name": "good", "source": "sdk"}
    add(store, "feedback_scores", **score, value=0.5, last_updated_at="2026-03-14 00:00:00")
    add(store, "feedback_scores", **score, value=0.75)
    of_trace = {"entity_id": uuid(1), "entity_type": "trace", "name": "kind", "source": "ui"}
    add(store, "feedback_scores", **of_trace, value=1, reason="nice")


def add_authored(store: Store) -> None:
    """The table of scores that newer versions have beside the other, with those of two authors, one of them twice."""
    key = "workspace_id, project_id, entity_type, entity_id, author, name"
    engine = f"ReplacingMergeTree(last_updated_at) ORDER BY ({key})"
    columns = f"{SCORES}, author String DEFAULT ''"
    execute(store.url, f"CREATE TABLE authored_feedback_scores ({columns}) ENGINE = {engine}", nullable=False)
    score = {"entity_id": uuid(2), "entity_type": "span", "name": "good", "source": "ui"}
    add(store, "authored_feedback_scores", **score, author="ann", value=9, last_updated_at="2026-03-14 00:00:00")
    add(store, "authored_feedback_scores", **score, author="ann", value=0.25)
    add(store, "authored_feedback_scores", **score, author="bob", value=0.5, category_name="fine")

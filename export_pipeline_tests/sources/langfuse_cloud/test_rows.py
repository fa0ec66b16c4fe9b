"""An observation of the API is the run that the mapping of Langfuse's own tables makes of it."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from export_pipeline.runs.ids import uuid_of
from export_pipeline.sources.protocol import RunSource
from export_pipeline_tests.servers.langfuse import PROJECT, Langfuse
from export_pipeline_tests.sources.clickhouse.langfuse import add, make
from export_pipeline_tests.sources.langfuse_cloud.observations import MIDNIGHT
from export_pipeline_tests.sources.presets.known_stores import Span, exported, place_of
from export_pipeline_tests.sources.stores import Store

TRACE = "0af7651916cd43dd8448eb211c80319c"
MORNING = MIDNIGHT + timedelta(hours=10)
BASIC: dict[str, Any] = {"sessionId": "thread", "userId": "ann"}
GENERATION: dict[str, Any] = {
    "type": "GENERATION",
    "name": "answer",
    "parentObservationId": "root",
    "endTime": MORNING + timedelta(seconds=1),
    "completionStartTime": MORNING + timedelta(milliseconds=250),
    "input": "[1, 2]",
    "output": '{"a":  2}',
    "metadata": {"k": 'v"'},
    "model": "gpt-4o",
    "modelParameters": {"temperature": 0.5},
    "usageDetails": {"input": 12, "output": 3, "total": 15},
    "costDetails": {"input": Decimal("1.2e-11"), "output": Decimal("0.1"), "total": Decimal("0.100000000012")},
    "tags": ["a", "b"],
}


def add_trace(server: Langfuse) -> None:
    """A root on the day before, a generation, a tool with an error, an event and one whose parent is unknown."""
    server.add(TRACE, "root", MIDNIGHT - timedelta(milliseconds=1), name="chat", **BASIC)
    server.add(TRACE, "g1", MORNING, **GENERATION, **BASIC)
    server.add(TRACE, "t1", MORNING + timedelta(seconds=1), type="TOOL", name="look up", level="ERROR", **BASIC,
               parentObservationId="g1", statusMessage="no such page", output="plain \x00text")  # fmt: skip
    server.add(
        TRACE, "e1", MORNING + timedelta(seconds=2), type="EVENT", endTime=None, parentObservationId="t1", **BASIC
    )
    server.add(
        TRACE, "p1", MORNING + timedelta(seconds=3), type="RETRIEVER", endTime=None, parentObservationId="gone", **BASIC
    )


def by_name(source: RunSource) -> dict[str, dict[str, Any]]:
    rows = exported(source, PROJECT)
    return {json.loads(row["extra"])["export_pipeline"]["original_ids"]["id"].partition(":")[2]: row for row in rows}


def test_every_field_is_filled_from_the_observation(server: Langfuse, source: RunSource) -> None:
    add_trace(server)

    rows = by_name(source)

    generation, tool, event, orphan = rows["g1"], rows["t1"], rows["e1"], rows["p1"]
    assert [row["run_type"] for row in rows.values()] == ["llm", "tool", "chain", "retriever"]
    assert [row["status"] for row in rows.values()] == ["success", "error", "success", "pending"]
    assert (generation["inputs"], generation["outputs"]) == ('{"input":[1, 2]}', '{"a":  2}')
    assert json.loads(tool["outputs"]) == {"output": "plain \x00text"}
    assert (tool["error"], generation["error"], tool["inputs"]) == ("no such page", None, None)
    assert (event["end_time"], orphan["end_time"]) == (event["start_time"], None)
    assert generation["first_token_time"] == MORNING + timedelta(milliseconds=250)
    assert [generation[f"{each}_tokens"] for each in ("prompt", "completion", "total")] == [12, 3, 15]
    costs = [generation[f"{each}_cost"] for each in ("prompt", "completion", "total")]
    assert costs == [Decimal("0.000000000012"), Decimal("0.1"), Decimal("0.100000000012")]
    assert (tool["total_tokens"], tool["total_cost"], generation["tags"]) == (None, None, ["a", "b"])
    extra = json.loads(generation["extra"])
    assert extra["invocation_params"] == {"temperature": 0.5}
    metadata = {"k": 'v"', "ls_model_name": "gpt-4o", "thread_id": "thread", "user_id": "ann", "environment": "default"}
    assert extra["metadata"] == metadata


def test_trees_lead_to_roots_of_the_day_before_and_unknown_parents_have_none(
    server: Langfuse, source: RunSource
) -> None:
    add_trace(server)
    server.add(TRACE, "circle-1", MORNING, parentObservationId="circle-2")
    server.add(TRACE, "circle-2", MORNING, parentObservationId="circle-1")
    server.add("of another trace", "root", MORNING)
    spans = {
        (each["traceId"], each["id"]): Span(each["traceId"], each["id"], each["parentObservationId"], each["startTime"])
        for each in server.observations
    }

    rows = by_name(source)

    for (trace, own), span in spans.items():
        if span.start < MIDNIGHT:
            continue
        row = rows[own]
        expected = place_of(span, spans, trace=uuid_of(trace))
        assert {name: row[name] for name in expected} == expected
    assert len(server.asked("/observations")) < 12


@pytest.mark.slow
def test_the_runs_are_those_of_the_tables_of_version_4(
    server: Langfuse, source: RunSource, clickhouse_store: Store
) -> None:
    add_trace(server)
    make(clickhouse_store, version=4)
    for each in server.observations:
        add(clickhouse_store, "events_full", **in_the_table(each))
    tables = clickhouse_store.source()

    told, expected = exported(source, PROJECT), exported(tables, PROJECT)

    tables.close()
    assert [without(row) for row in told] == [without(row) for row in expected]
    assert [json.loads(row["extra"]) for row in told] == [json.loads(row["extra"]) for row in expected]


def in_the_table(observation: dict[str, Any]) -> dict[str, Any]:
    """The row of `events_full` that the API would tell so."""

    def time(name: str) -> str | None:
        return None if observation[name] is None else f"{observation[name]:%Y-%m-%d %H:%M:%S.%f}"

    def details(name: str) -> str:
        members = (
            f"'{key}':{format(value, 'f' if name == 'costDetails' else '')}" for key, value in observation[name].items()
        )
        return "{" + ",".join(members) + "}"

    parameters = observation["modelParameters"]
    return {
        "project_id": PROJECT,
        "trace_id": observation["traceId"],
        "span_id": observation["id"],
        "parent_span_id": observation["parentObservationId"] or "",
        "start_time": time("startTime"),
        "end_time": time("endTime"),
        "completion_start_time": time("completionStartTime"),
        "name": observation["name"],
        "type": observation["type"],
        "level": observation["level"],
        "status_message": observation["statusMessage"] or "",
        "user_id": observation["userId"],
        "session_id": observation["sessionId"],
        "tags": observation["tags"],
        "input": observation["input"] or "",
        "output": observation["output"] or "",
        "provided_model_name": observation["model"] or "",
        "model_parameters": "" if parameters is None else json.dumps(parameters),
        "usage_details": details("usageDetails"),
        "cost_details": details("costDetails"),
        "metadata_names": list(observation["metadata"]),
        "metadata_values": list(observation["metadata"].values()),
    }


def without(row: dict[str, Any]) -> dict[str, Any]:
    """A run without what JSON may write in several ways, and without feedback."""
    return {name: cell for name, cell in row.items() if name not in {"extra", "feedbacks", "feedback_stats", "outputs"}}


def test_values_of_metadata_come_whole(server: Langfuse, source: RunSource) -> None:
    long = {"prompt": "é" * 5_000, "with,comma": "x" * 150, "exactly": "y" * 200, "short": "z", "number": 12.50}
    server.add(TRACE, "a", MORNING, metadata=long)
    server.add(TRACE, "b", MORNING + timedelta(hours=1), metadata={"other": "o" * 201})

    rows = by_name(source)

    metadata = [json.loads(rows[name]["extra"])["metadata"] for name in ("a", "b")]
    assert [{key: each[key] for key in each if key != "environment"} for each in metadata] == [
        long,
        {"other": "o" * 201},
    ]


def test_scores_are_feedback_of_their_observation_and_those_of_a_trace_of_its_root(
    server: Langfuse, source: RunSource
) -> None:
    root = server.add(TRACE, "root", MORNING)
    child = server.add(TRACE, "child", MORNING + timedelta(seconds=1), parentObservationId="root")
    server.add("another", "root", MORNING + timedelta(seconds=2))
    server.score(TRACE, "child", "good", Decimal("0.30000000000000004"), comment='so "so"', metadata={"by": "ann"})
    server.score(TRACE, "child", "good", 1)
    server.score(TRACE, "child", "safe", True, "BOOLEAN")
    server.score(TRACE, "child", "tone", "kind", "CATEGORICAL")
    server.score(TRACE, None, "helpful", 0)
    server.score("a trace of another day", "root", "good", 1)
    server.scores.append({**server.scores[0], "id": "session", "subject": {"kind": "session", "id": "thread"}})
    for number in range(150):
        server.score(TRACE, "child", "many", number)

    first, second, third = exported(source, PROJECT)

    stats, records = json.loads(second["feedback_stats"]), json.loads(second["feedbacks"])
    assert stats["good"] == {"n": 2, "avg": 0.65, "values": {}}
    assert stats["safe"] == {"n": 1, "avg": 1.0, "values": {}}
    assert stats["tone"] == {"n": 1, "avg": None, "values": {"kind": 1}}
    assert stats["many"] == {"n": 150, "avg": 74.5, "values": {}}
    assert "0.30000000000000004" in second["feedbacks"]
    assert records[0] == {
        "id": "score-0000",
        "run_id": child,
        "key": "good",
        "score": 0.30000000000000004,
        "value": None,
        "comment": 'so "so"',
        "feedback_source": {"type": "eval"},
        "extra": {"by": "ann"},
        "created_at": "2026-11-20T10:00:00.000Z",
        "modified_at": "2026-11-20T10:00:00.000Z",
    }
    assert len(records) == 154
    assert json.loads(first["feedback_stats"]) == {"helpful": {"n": 1, "avg": 0.0, "values": {}}}
    assert json.loads(first["feedbacks"])[0]["run_id"] == root
    assert (third["feedback_stats"], third["feedbacks"]) == (None, None)

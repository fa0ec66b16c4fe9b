"""Spans that OpenTelemetry's SDK makes under real instrumentations are runs with what these have recorded."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.servers.http import Answer, Asked, http_server
from export_pipeline_tests.sources.clickhouse import otel_process
from export_pipeline_tests.sources.clickhouse.days import exported, original
from export_pipeline_tests.sources.clickhouse.otel import TABLE
from export_pipeline_tests.sources.clickhouse.otel_process import MODEL, QUESTION, REPLY
from export_pipeline_tests.sources.presets.known_stores import answer_of
from export_pipeline_tests.sources.stores import Store, execute

pytestmark = pytest.mark.slow

MICROSECOND = timedelta(microseconds=1)
ANSWERED_BY = "gpt-4o-2024-08-06"
INPUTS: dict[str, Any] = {
    "genai": [{"role": "user", "parts": [{"content": QUESTION, "type": "text"}], "name": None}],
    "openllmetry": [{"role": "user", "parts": [{"content": QUESTION, "type": "text"}]}],
    "openinference": [{"role": "user", "content": QUESTION}],
}


def completion(asked: Asked) -> Answer:
    """What OpenAI's API answers."""
    message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": REPLY}}
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    body = {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": ANSWERED_BY,
        "choices": [message],
        "usage": usage,
    }
    return Answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})


@pytest.mark.parametrize("instrumentation", ["genai", "openinference", "openllmetry"])
def test_what_an_instrumentation_records_is_in_the_run(
    clickhouse_store: Store, tmp_path: Path, instrumentation: str
) -> None:
    with http_server(completion) as model:
        spans = answer_of(otel_process.__file__, instrumentation, f"{model.url}/v1", folder=tmp_path)
    execute(clickhouse_store.url, TABLE, nullable=False)
    rows = "\n".join(map(json.dumps, spans))
    execute(clickhouse_store.url, f"INSERT INTO otel_traces FORMAT JSONEachRow {rows}")
    ids = {span["SpanName"]: f"{span['TraceId']}:{span['SpanId']}" for span in spans}

    with closing(clickhouse_store.source()) as source:
        days = source.days(ProjectKey("chat"))
        found = [row for day in days for row in exported(source, day=day, project=ProjectKey("chat"))]

    by_id = {original(row): row for row in found}
    assert sorted(by_id) == sorted(ids.values())
    root, tool = by_id[ids["answer"]], by_id[ids["look up"]]
    (call,) = (row for row in found if row not in (root, tool))
    assert [row["run_type"] for row in (root, call, tool)] == ["chain", "llm", "tool"]
    assert [row["parent_run_ids"] for row in (root, call, tool)] == [[], [root["id"]], [root["id"]]]
    for row, span in zip((call, tool), by_name(spans, "look up"), strict=True):
        assert row["start_time"] == moment(span["Timestamp"])
        took = timedelta(microseconds=span["Duration"] // 1_000)
        assert took <= row["end_time"] - row["start_time"] <= took + MICROSECOND
    assert (call["prompt_tokens"], call["completion_tokens"], call["total_tokens"]) == (12, 3, 15)
    assert json.loads(call["inputs"])["messages"] == INPUTS[instrumentation]
    assert REPLY in call["outputs"]
    assert json.loads(call["extra"])["metadata"]["ls_model_name"] in {MODEL, ANSWERED_BY}
    assert (tool["status"], tool["error"].splitlines()[0]) == ("error", "LookupError: no such parcel")
    assert tool["error"].rstrip().endswith("LookupError: no such parcel")
    assert (root["status"], call["status"]) == ("success", "success")


def by_name(spans: list[dict[str, Any]], tool: str) -> list[dict[str, Any]]:
    """The call of the model, then the tool."""
    (call,) = (span for span in spans if span["SpanName"] not in {"answer", tool})
    return [call, *(span for span in spans if span["SpanName"] == tool)]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text[:26]).replace(tzinfo=UTC)

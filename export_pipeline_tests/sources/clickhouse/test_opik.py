"""Tables with the columns, engines and keys of Opik's are read by the mapping that comes with the package."""

import json
from decimal import Decimal

import pytest

from export_pipeline_tests.sources.clickhouse.days import at, exported
from export_pipeline_tests.sources.clickhouse.opik import OPIK, PROJECT, make
from export_pipeline_tests.sources.stores import Store, uuid

pytestmark = pytest.mark.slow


def test_a_day_of_opik_has_the_trace_as_root_of_its_spans(clickhouse_store: Store) -> None:
    make(clickhouse_store)
    source = clickhouse_store.source()
    projects = source.projects()
    assert sorted((project.key, project.tenant_key) for project in projects) == [(PROJECT, "acme"), (PROJECT, "other")]
    root, answer, tool = exported(source, project=OPIK)
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

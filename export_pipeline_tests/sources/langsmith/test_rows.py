"""A run of the API becomes a row of which no digit and no byte is lost, in both shapes of the API."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.sources.http.client import BadAnswerError
from export_pipeline.sources.langsmith.pages import page_of
from export_pipeline.sources.langsmith.rows import Shape, last_of, row_of, selects
from export_pipeline_tests.servers.langsmith import LangSmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, source_of
from export_pipeline_tests.sources.presets.known_stores import exported

ROOT = "9b8d7c6e-0000-4000-8000-000000000001"
CHILD = "9b8d7c6e-0000-4000-8000-000000000002"
EXAMPLE = "9b8d7c6e-0000-4000-8000-000000000003"


@pytest.mark.parametrize("has_v2", [True, False])
def test_every_column_that_the_api_gives_is_exported(server: LangSmith, has_v2: bool) -> None:
    server.has_v2 = has_v2
    project = server.add_project("chat", start=MIDNIGHT)
    start = MIDNIGHT + timedelta(seconds=1)
    server.add_run(project, MIDNIGHT, id=ROOT)
    path = f"20260314T000000000000Z{ROOT}.20260314T000001000000Z{CHILD}"
    server.add_run(
        project,
        start,
        id=CHILD,
        trace_id=ROOT,
        dotted_order=path,
        run_type="llm",
        end_time="2026-03-14T01:00:02.5+00:30",
        first_token_time="2026-03-14T00:00:02.000001",
        error="boom ✈",
        tags=["a", "b"],
        events=[{"name": "new_token"}],
        extra={"runtime": {"sdk": "x"}, "metadata": {"env": "prod"}},
        reference_example_id=EXAMPLE,
        trace_tier="longlived",
        total_tokens=12,
        prompt_tokens=10,
        completion_tokens=2,
        total_cost=Decimal("0.123456789012"),
        prompt_cost=Decimal("1.2E-7"),
        completion_cost=Decimal("0.1"),
    )
    server.feedback.append({"run_id": CHILD, "key": "helpful", "score": 0.5})

    root, row = exported(source_of(server), project)
    assert root["feedbacks"] == "[]"

    texts = {name: json.loads(row.pop(name)) for name in ("inputs", "outputs", "extra", "events", "feedback_stats")}
    (record,) = json.loads(row.pop("feedbacks"))
    assert (record["run_id"], record["key"], record["score"], record["comment"]) == (CHILD, "helpful", 0.5, None)
    assert texts == {
        "inputs": {"text": "hello"},
        "outputs": {"text": "world"},
        "extra": {"runtime": {"sdk": "x"}, "metadata": {"env": "prod"}},
        "events": [{"name": "new_token"}],
        "feedback_stats": {"helpful": {"n": 1, "avg": 0.5}},
    }
    assert {name: value for name, value in row.items() if name not in {"tenant_id", "session_id"}} == {
        "id": CHILD,
        "trace_id": ROOT,
        "parent_run_id": ROOT,
        "parent_run_ids": [ROOT],
        "reference_example_id": EXAMPLE,
        "name": "a run",
        "run_type": "llm",
        "start_time": start,
        "end_time": datetime(2026, 3, 14, 0, 30, 2, 500_000, tzinfo=UTC),
        "first_token_time": datetime(2026, 3, 14, 0, 0, 2, 1, tzinfo=UTC),
        "status": "error",
        "is_root": False,
        "dotted_order": path,
        "trace_tier": None if has_v2 else "longlived",
        "tags": ["a", "b"],
        "error": "boom ✈",
        "total_tokens": 12,
        "prompt_tokens": 10,
        "completion_tokens": 2,
        "total_cost": Decimal("0.123456789012"),
        "prompt_cost": Decimal("0.000000120000"),
        "completion_cost": Decimal("0.100000000000"),
    }


def test_a_run_that_is_under_way_is_exported_as_pending(server: LangSmith) -> None:
    project = server.add_project("chat", start=MIDNIGHT)
    server.add_run(project, MIDNIGHT, end_time=None, outputs=None)

    (row,) = exported(source_of(server), project)

    assert (row["status"], row["end_time"], row["outputs"]) == ("pending", None, None)


def cells(**run: str) -> Any:
    """A run whose values are given as JSON text."""
    given = {"id": f'"{ROOT}"', "start_time": '"2026-03-14T00:00:00Z"', **run}
    text = ", ".join(f'"{name}" : {value}' for name, value in given.items())
    return page_of(f'{{ "items" : [ {{ {text} }} ] , "next_cursor" : "" }}', runs="items").runs[0]


@pytest.mark.parametrize(
    "text",
    [
        '{"n":12345678901234567890123,"f":0.10000000000000000001,"e":1E+2}',
        '{ "spaces" : [ 1 , 2 ]\n}',
        r'{"escaped":"\ud83d\u2708 \u0000 \/","twice":1,"twice":2}',
        '{"nested":{"items":[{"id":"x"}],"next_cursor":"y"}}',
        '"a text"',
        "[]",
        "NaN",
    ],
)
def test_payloads_are_kept_byte_for_byte(text: str) -> None:
    row = row_of(cells(inputs=text), "p")

    assert text in row.cells


@pytest.mark.parametrize(
    ("extra", "metadata", "expected"),
    [
        ('{"a": 1.50}', '{"b": 2.50}', '{"metadata":{"b": 2.50},"a": 1.50}'),
        ('{"metadata": {"c": 3}}', '{"b": 2}', '{"metadata": {"c": 3}}'),
        ("{ }", '{"b": 2}', '{"metadata":{"b": 2}}'),
        ("null", '{"b": 2}', '{"metadata":{"b": 2}}'),
        ('"text"', '{"b": 2}', '"text"'),
        ('{"a": 1}', "{}", '{"a": 1}'),
        ('{"a": 1}', "null", '{"a": 1}'),
    ],
)
def test_metadata_stand_in_extra_as_in_langsmiths_own_files(extra: str, metadata: str, expected: str) -> None:
    assert expected in row_of(cells(extra=extra, metadata=metadata), "p").cells


@pytest.mark.parametrize("has_v2", [True, False])
def test_attachments_are_named_in_extra_without_their_addresses(server: LangSmith, has_v2: bool) -> None:
    server.has_v2 = has_v2
    project = server.add_project("chat", start=MIDNIGHT)
    server.add_run(project, MIDNIGHT, attachments={"zoé.png": "image/png", 'a"b': "text/plain"}, extra={"x": 1})
    server.add_run(project, MIDNIGHT + timedelta(seconds=1), extra={})

    row, other = exported(source_of(server), project)

    named = [{"name": 'a"b', "mime_type": "text/plain"}, {"name": "zoé.png", "mime_type": "image/png"}]
    if has_v2:
        named = [{"name": each["name"]} for each in named]
    assert json.loads(row["extra"]) == {"x": 1, "attachments": named}
    assert other["extra"] == "{}"
    assert "storage.example" not in str(row)


@pytest.mark.parametrize("has_v2", [True, False])
def test_a_server_that_knows_no_attachments_gives_the_runs_all_the_same(server: LangSmith, has_v2: bool) -> None:
    server.has_v2, server.unknown = has_v2, frozenset({"ATTACHMENTS", "s3_urls"})
    project = server.add_project("chat", start=MIDNIGHT)
    for number in range(3):
        server.add_run(project, MIDNIGHT + timedelta(hours=number), attachments={"a": "b"}, extra={"x": 1})

    assert [row["extra"] for row in exported(source_of(server), project)] == ['{"x": 1}'] * 3


def test_null_is_nothing() -> None:
    assert set(row_of(cells(extra="null", metadata="null", inputs="null", error="null"), "p").cells) == {None, ROOT}


@pytest.mark.parametrize("run", [{"start_time": "null"}, {"start_time": '"soon"'}, {"id": "null"}, {"id": "7"}])
def test_a_run_without_id_or_time_is_no_answer(run: dict[str, str]) -> None:
    with pytest.raises(BadAnswerError, match="no id or no readable start_time"):
        row_of(cells(**run), "p")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        '{"items"',
        '{"items":',
        '{"items":[',
        '{"items":[{"id":"x"}',
        '{"items":[{"id":"x"}]',
        '{"items":[{"id":"x"} {"id":"y"}]}',
        '{"items":[1]}',
        '{"items":[]} {}',
        '{"items":null}',
        '{"items":{"id":1}}',
        '{"runs":[]}',
        '{"items":[],"next_cursor":7}',
        '{"items":[],}',
        "{items:[]}",
    ],
)
def test_what_is_no_page_is_no_answer(text: str) -> None:
    with pytest.raises(BadAnswerError):
        page_of(text, runs="items")


@pytest.mark.parametrize("shape", ["v1", "v2"])
def test_payloads_that_are_not_exported_are_not_asked_for(shape: Shape) -> None:
    everything, little = selects(shape, None), selects(shape, ["id", "outputs"])

    assert {name.lower() for name in set(everything) - set(little)} >= {"inputs", "extra", "events", "error"}
    assert {"outputs", "id", "start_time"} <= {name.lower() for name in little}


@given(
    value=st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]),
    ensure_ascii=st.booleans(),
)
def test_the_parent_is_the_last_of_the_ancestors_however_they_are_written(
    value: Any, separators: tuple[str, str], ensure_ascii: bool
) -> None:
    last = value[-1] if isinstance(value, list) and value else None
    text = json.dumps(value, separators=separators, ensure_ascii=ensure_ascii)
    assert last_of(text) == (last if isinstance(last, str) else None)

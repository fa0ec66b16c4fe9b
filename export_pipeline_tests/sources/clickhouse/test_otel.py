"""The collector's table otel_traces, written in four dialects, is read by the mapping that comes with the package."""

import json
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.clickhouse.days import CHAT, at, exported, original
from export_pipeline_tests.sources.clickhouse.otel import TABLE
from export_pipeline_tests.sources.stores import DAY, Store, clickhouse_literal, execute

pytestmark = pytest.mark.slow

TRACE = "0af7651916cd43dd8448eb211c80319c"
MESSAGES = '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'
SPANS: dict[str, dict[str, str]] = {
    "genai": {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o",
        "gen_ai.input.messages": MESSAGES, "gen_ai.output.messages": "[]", "gen_ai.usage.input_tokens": "12",
        "gen_ai.usage.output_tokens": "3", "gen_ai.conversation.id": "thread",
        "gen_ai.response.time_to_first_chunk": "0.25",
    },
    "older": {"gen_ai.system": "openai", "gen_ai.request.model": "gpt-4", "gen_ai.usage.prompt_tokens": "7",
              "gen_ai.usage.completion_tokens": "2"},
    "openinference": {
        "openinference.span.kind": "LLM", "input.value": '{"q": 1}', "output.value": "plain",
        "llm.model_name": "claude", "llm.token_count.prompt": "5", "llm.token_count.completion": "1",
        "llm.token_count.total": "6", "llm.cost.total": "0.000000000012", "session.id": "s", "tag.tags": '["a"]',
    },
    "openllmetry": {
        "traceloop.span.kind": "tool", "traceloop.entity.input": '{"args": [1]}', "traceloop.entity.output": "42",
    },
    "indexed": {
        "llm.request.type": "chat", "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "be brief",
        "gen_ai.prompt.1.role": "user", "gen_ai.prompt.1.content": 'say "hi"', "gen_ai.completion.0.content": "hi",
        "gen_ai.completion.0.role": "assistant", "llm.usage.total_tokens": "9",
    },
    "http": {"http.request.method": "GET"},
}  # fmt: skip


def literal(values: dict[str, str]) -> str:
    return f"map({listed(text for pair in values.items() for text in pair)})"


def listed(texts: Iterable[str]) -> str:
    return ", ".join(map(clickhouse_literal, texts))


def add(store: Store, span: str, attributes: dict[str, str], *, parent: str = "", second: int = 0, **more: Any) -> None:
    """A span of 1.5 seconds that begins at the second, and a nanosecond."""
    marks = more.get("events", [])
    times, names, kwargs = ([mark[place] for mark in marks] for place in range(3))
    values = [
        more.get("start", f"'2026-03-14 10:00:{second:02}.000000001'"), f"'{TRACE}'", f"'{span}'", f"'{parent}'", "''",
        f"'{span}'", "'Client'", f"'{more.get('service', 'chat')}'", "map('service.name', 'chat')", "'scope'", "''",
        literal(attributes), "1500000000", f"'{more.get('status', 'Unset')}'", f"'{more.get('message', '')}'",
        f"[{listed(times)}]", f"[{listed(names)}]",
        f"[{', '.join(map(literal, kwargs))}]", "[]", "[]", "[]", "[]",
    ]  # fmt: skip
    execute(store.url, f"INSERT INTO otel_traces SELECT {', '.join(values)}")


@pytest.fixture
def source(clickhouse_store: Store) -> RunSource:
    store = clickhouse_store
    execute(store.url, TABLE, nullable=False)
    for second, (span, attributes) in enumerate(SPANS.items()):
        events = [
            ("2026-03-14 10:00:01.5", "gen_ai.user.message", {"content": "hello"}),
            ("2026-03-14 10:00:01.6", "gen_ai.choice", {"message": "bye"}),
        ] if span == "older" else []  # fmt: skip
        add(store, span, attributes, parent="" if span == "genai" else "genai", second=second, events=events)
    add(store, "genai", SPANS["genai"])  # a retry of the exporter
    failed = [("2026-03-14 10:00:30", "exception", {"exception.message": "lost", "exception.stacktrace": "at line 1"})]
    add(store, "failed", {}, parent="http", second=30, status="Error", message="no route", events=failed, service="web")
    add(store, "early", {}, start="'2026-03-13 23:59:59.999999999'", service="chat")
    add(store, "late", {"gen_ai.operation.name": "execute_tool"}, parent="early", second=40)
    return store.source()


def loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def by_name(source: RunSource, project: str = "chat") -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in exported(source, project=ProjectKey(project))}


def test_each_dialect_gives_the_same_run(source: RunSource) -> None:
    assert sorted(project.key for project in source.projects()) == ["chat", "web"]
    rows = by_name(source)
    assert list(rows) == [*SPANS, "late"]
    assert {name: row["run_type"] for name, row in rows.items()} == {
        "genai": "llm", "older": "llm", "openinference": "llm", "openllmetry": "tool", "indexed": "llm",
        "http": "chain", "late": "tool",
    }  # fmt: skip
    tokens = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert {name: tuple(row[each] for each in tokens) for name, row in rows.items()} == {
        "genai": (12, 3, 15), "older": (7, 2, 9), "openinference": (5, 1, 6), "openllmetry": (None, None, None),
        "indexed": (None, None, 9), "http": (None, None, None), "late": (None, None, None),
    }  # fmt: skip
    read = {
        name: tuple(row[each] and json.loads(row[each]) for each in ("inputs", "outputs")) for name, row in rows.items()
    }
    assert read == {
        "genai": ({"messages": json.loads(MESSAGES)}, {"messages": []}),
        "older": ({"messages": [{"role": "user", "content": "hello"}]}, {"choices": [{"message": "bye"}]}),
        "openinference": ({"q": 1}, {"output": "plain"}),
        "openllmetry": ({"args": [1]}, {"output": "42"}),
        "indexed": (
            {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": 'say "hi"'}]},
            {"messages": [{"content": "hi", "role": "assistant"}]},
        ),
        "http": (None, None),
        "late": (None, None),
    }
    metadata = {name: json.loads(row["extra"])["metadata"] for name, row in rows.items()}
    assert metadata["genai"] == {"ls_model_name": "gpt-4o", "ls_provider": "openai", "thread_id": "thread"}
    assert metadata["older"] == {"ls_model_name": "gpt-4", "ls_provider": "openai"}
    assert metadata["openinference"] == {"ls_model_name": "claude", "thread_id": "s"}
    assert rows["openinference"]["total_cost"] == Decimal("0.000000000012")
    assert rows["openinference"]["tags"] == ["a"]
    assert original(rows["genai"]) == f"{TRACE}:genai"
    source.close()


def test_times_errors_and_events_are_the_spans(source: RunSource) -> None:
    rows = by_name(source)
    assert (rows["genai"]["start_time"], rows["genai"]["end_time"]) == (
        at("2026-03-14 10:00:00"), at("2026-03-14 10:00:01.5"),
    )  # fmt: skip
    assert rows["genai"]["first_token_time"] == at("2026-03-14 10:00:00.25")
    (event, choice) = json.loads(rows["older"]["events"])
    assert (event["name"], event["time"]) == ("gen_ai.user.message", "2026-03-14T10:00:01.500000000Z")
    assert choice["kwargs"] == {"message": "bye"}
    (failed,) = by_name(source, "web").values()
    assert (failed["status"], failed["error"]) == ("error", "no route\n\nat line 1")
    assert {row["status"] for row in rows.values()} == {"success"}
    source.close()


def test_a_trace_is_one_tree_through_services_and_over_midnight(source: RunSource) -> None:
    rows, (failed,) = by_name(source), by_name(source, "web").values()
    root = rows["genai"]["id"]
    assert rows["genai"]["is_root"]
    assert rows["older"]["parent_run_ids"] == [root]
    assert failed["parent_run_ids"] == [root, rows["http"]["id"]]
    assert {failed["trace_id"], rows["older"]["trace_id"], rows["genai"]["trace_id"]} == {root}
    (early,) = exported(source, day=date(2026, 3, 13))
    assert rows["late"]["parent_run_ids"] == [early["id"]]
    assert rows["late"]["trace_id"] == early["id"]
    source.close()


def test_a_day_reads_its_own_partitions(clickhouse_store: Store, clickhouse: ClickhouseServer) -> None:
    store = clickhouse_store
    execute(store.url, TABLE, nullable=False)
    columns = "Timestamp, TraceId, SpanId, ServiceName"
    start = "toDateTime64('2026-02-20 00:00:00', 9, 'UTC') + (number % 40) * 86400 + intDiv(number, 40) % 86400"
    store.run(
        f"INSERT INTO otel_traces ({columns}) SELECT {start}, toString(number), 'a', 'chat' FROM numbers(400000) "
        "SETTINGS max_partitions_per_insert_block = 1000"
    )
    source = store.source()
    clickhouse.queries()
    with source.open(ProjectKey("chat"), Window.of_day(DAY)) as snapshot:
        assert sum(batch.num_rows for batch in snapshot.batches()) == 10_000
    assert sum(each["rows_read"] for each in clickhouse.queries() if "otel_traces" in each["sql"]) < 120_000
    assert not [warning for warning in source.check().warnings if "whole table" in warning]
    source.close()


@pytest.mark.parametrize(
    "change",
    [
        "Duration = 7",
        "StatusCode = 'Error'",
        "StatusMessage = 'late'",
        "ParentSpanId = 'http'",
        "SpanAttributes = mapUpdate(SpanAttributes, map('late', '1'))",
        "`Events.Name` = ['late'], `Events.Timestamp` = [Timestamp], `Events.Attributes` = [map()]",
    ],
)
def test_a_changed_span_is_seen_by_the_digest_of_its_day(
    source: RunSource, clickhouse_store: Store, change: str
) -> None:
    before = source.days(CHAT)
    assert source.changed(CHAT, Window.of_day(DAY), at("2026-03-15 00:00:00")) is None
    clickhouse_store.run("INSERT INTO otel_traces SELECT * FROM otel_traces WHERE SpanId = 'openllmetry'")
    retried = source.days(CHAT)
    assert (retried[DAY].rows, retried[DAY].digest) == (before[DAY].rows, before[DAY].digest)
    clickhouse_store.run(
        f"ALTER TABLE otel_traces UPDATE {change} WHERE SpanId = 'openllmetry' SETTINGS mutations_sync = 1"
    )
    after = source.days(CHAT)
    assert (after[DAY].rows, after[DAY].digest != before[DAY].digest) == (before[DAY].rows, True)
    assert after[date(2026, 3, 13)] == before[date(2026, 3, 13)]
    exported(source)  # which compares what the snapshot counts
    assert "changed ones by a digest of column seen, others not" in source.check().extra["late changes"]
    source.close()


def test_a_span_that_comes_in_the_place_of_another_is_seen_by_the_digest(
    source: RunSource, clickhouse_store: Store
) -> None:
    before = source.days(CHAT)[DAY]
    clickhouse_store.run("ALTER TABLE otel_traces DELETE WHERE SpanId = 'http' SETTINGS mutations_sync = 1")
    add(clickhouse_store, "another", {}, second=5)
    after = source.days(CHAT)[DAY]
    assert (after.rows, after.digest != before.digest) == (before.rows, True)
    source.close()

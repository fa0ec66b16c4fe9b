"""Filters over the forms in which stores keep a run: native types, mappings, views, versions."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, PROJECT, Store, matching, micros, uuid

WINDOW = Window.of_day(DAY)
START = "2026-03-14 10:00:00+00:00"
NATIVE = {
    "parent_run_id": "{uuid}", "end_time": "{time}", "status": "TEXT", "error": "TEXT", "inputs": "{json}",
    "extra": "{json}", "tags": "{array}", "total_tokens": "BIGINT",
    "is_root": "{flag}", "modified_at": "{time}", "is_deleted": "{flag}",
}  # fmt: skip


def listed(store: Store, *texts: str) -> Any:
    """A list of texts as the store's column of tags takes it."""
    return json.dumps(texts) if store.dialect == "sqlite" else list(texts)


@pytest.fixture
def native(store: Store) -> Iterator[RunSource]:
    """Four runs in columns of the database's own types, and feedback on two of them."""
    store.runs(NATIVE, unique=True)
    prod, dev = (
        '{"metadata": {"env": "prod", "n": 5.0}}',
        '{"metadata": {"env": "dev", "deep": {"list": [{"x": null}]}}}',
    )
    store.add(
        1,
        START,
        end_time="2026-03-14 10:00:05+00:00",
        inputs='{"q": "Where?"}',
        extra=prod,
        is_root=True,
        total_tokens=10,
    )
    store.add(2, START, parent_run_id=uuid(1), error="rate limit", extra=dev, tags=listed(store, "beta", "50%"))
    store.add(3, START, status="SUCCESS", tags=listed(store), total_tokens=2**62, name="Ärger")
    store.add(4, START, end_time="2026-03-14 09:59:59.5+00:00", is_root=False, name="50% off", run_type="Tool")
    store.table(
        "feedbacks", {"id": "{uuid}", "run_id": "{uuid}", "key": "TEXT", "score": "NUMERIC", "modified_at": "{time}"}
    )
    for number, (run, key, score) in enumerate(
        [(1, "right", 0.25), (1, "kind", 1), (2, "right", 1), (2, "kind", None)]
    ):
        changed = f"2026-03-15 00:00:0{number}+00:00"
        store.insert("feedbacks", id=uuid(number), run_id=uuid(run), key=key, score=score, modified_at=changed)
    source = store.source()
    yield source
    source.close()


WANTED = {
    f'in(id, ["{uuid(3)}", "{{{str(UUID(int=2)).upper()}}}"])': [2, 3],
    'eq(run_type, "tool")': [4],
    'eq(name, "ärger")': [],
    'eq(name, "Ärger")': [3],
    'gt(name, "run")': [3],
    r'like(name, "50\% %")': [4],
    'eq(status, "pending")': [],
    'eq(status, "success")': [1, 3, 4],
    'in(status, ["error"])': [2],
    "neq(error, null)": [2],
    "eq(end_time, null)": [2, 3],
    'lt(end_time, "2026-03-14T11:00:00+01:00")': [4],
    'eq(latency, "5s")': [1],
    "lt(latency, 0)": [4],
    "eq(latency, -0.5)": [4],
    "not(gt(latency, 1))": [2, 3, 4],
    "eq(is_root, true)": [1, 3],
    "neq(is_root, true)": [2, 4],
    f"eq(total_tokens, {2**62})": [3],
    f"lt(total_tokens, {2**62})": [1],
    "eq(total_tokens, null)": [2, 4],
    'has(tags, "50%")': [2],
    'not(has(tags, "beta"))': [1, 3, 4],
    'eq(input_key, "q")': [1],
    'like(input_value, "%here%")': [1],
    'eq(output_key, "q")': [],
    'neq(output_key, "q")': [1, 2, 3, 4],
    'and(eq(metadata_key, "env"), in(metadata_value, ["prod", 5]))': [1],
    'and(eq(metadata_key, "env"), neq(metadata_value, "prod"))': [2],
    "eq(metadata_value, 5)": [1],
    "and(eq(metadata_key, \"deep.list.x\"), eq(metadata_value, null))": [2],
    'and(eq(feedback_key, "right"), lt(feedback_score, 0.5))': [1],
    'and(eq(feedback_key, "kind"), lt(feedback_score, 0.5))': [],
    "eq(feedback_score, null)": [2],
    'and(lt(feedback_score, 0.5), eq(feedback_key, "kind"))': [],
    'neq(feedback_key, "kind")': [3, 4],
    'search("WHERE?")': [1],
    'search("RATE")': [2],
    'search("ärger")': [],
}  # fmt: skip


def test_filters_over_native_types_give_these_runs(native: RunSource) -> None:
    assert {text: matching(native, text) for text in WANTED} == WANTED


def test_the_feedback_that_is_counted_is_that_of_the_matching_runs(native: RunSource) -> None:
    tree = parse_filter('and(eq(feedback_key, "right"), lt(feedback_score, 0.5))')
    with native.open(ProjectKey(PROJECT), WINDOW, ["id", "feedbacks"], filter=tree) as snapshot:
        (batch,) = snapshot.batches()
        assert [len(json.loads(cell)) for cell in batch.column("feedbacks").to_pylist()] == [2]
        assert snapshot.fingerprint.feedbacks == 2
        newest = snapshot.fingerprint.max_feedback_modified_at
    assert newest is not None
    assert newest.isoformat() == "2026-03-15T00:00:01+00:00"
    assert native.days(ProjectKey(PROJECT), WINDOW, filter=tree)[DAY].feedbacks == 2


@EVERYWHERE
def test_a_filter_is_asked_about_the_newest_version_only(store: Store) -> None:
    store.runs({"modified_at": "{time}", "is_deleted": "{flag}", "error": "TEXT"})
    for number, (old, new) in enumerate([("a", "b"), ("b", "a")]):
        store.add(number, START, error=old, modified_at="2026-03-14 10:00:00+00:00")
        store.add(number, START, error=new, modified_at="2026-03-14 11:00:00+00:00")
    store.add(7, START, error="a", modified_at="2026-03-14 10:00:00+00:00", is_deleted=False)
    store.add(7, START, error="a", modified_at="2026-03-14 11:00:00+00:00", is_deleted=True)
    source = store.source()
    assert matching(source, 'eq(error, "a")') == [1]
    assert matching(source, 'not(eq(error, "a"))') == [0]
    source.close()


@EVERYWHERE
@pytest.mark.parametrize("mapped", ["runs:\n  table: seen\n", "runs:\n  query: SELECT * FROM runs WHERE name <> 'x'\n"])
def test_a_filter_on_columns_that_are_not_exported_works_over_views_and_queries(store: Store, mapped: str) -> None:
    store.runs({"modified_at": "{time}", "extra": "TEXT", "error": "TEXT", "inputs": "TEXT"})
    store.run("CREATE VIEW seen AS SELECT * FROM runs")
    for number in range(6):
        extra = json.dumps({"metadata": {"n": number}})
        store.add(number, START, extra=extra, error="e" if number % 2 else None, inputs='{"a": 1}', modified_at=START)
    source = store.source(mapped)
    both = 'and(eq(metadata_key, "n"), gt(metadata_value, 1), eq(status, "error"), eq(input_key, "a"))'
    assert matching(source, both, fields=["id", "name"]) == [3, 5]
    assert matching(source, f"not({both})", fields=["id", "name"]) == [0, 1, 2, 4]
    source.close()


MAPPING = """
epoch_unit: ms
projects: {from_runs: true}
runs:
  table: calls
  fields:
    id: act
    session_id: app
    name: {sql: "title || '!'"}
    run_type: {sql: "CASE kind WHEN 'c' THEN 'LLM' ELSE 'tool' END"}
    start_time: began
    end_time: {sql: "began + took"}
    parent_run_id: parent
    extra: {sql: "'{\\"metadata\\":{\\"app\\":\\"' || app || '\\"}}'"}
    total_tokens: {sql: "tokens_in + tokens_out"}
feedbacks: {table: opinions, run_id: act, key: what, score: {sql: "points / 10.0"}}
"""


@EVERYWHERE
def test_fields_are_those_of_the_run_schema_wherever_a_mapping_takes_them_from(store: Store) -> None:
    store.run(
        "CREATE TABLE calls (act TEXT, app TEXT, title TEXT, kind TEXT, began BIGINT, took BIGINT, parent TEXT, "
        "tokens_in INTEGER, tokens_out INTEGER)"
    )
    store.run("CREATE TABLE opinions (act TEXT, what TEXT, points INTEGER)")
    began = micros("2026-03-14T10:00:00+00:00") // 1000
    for number in range(4):
        values = {"title": f"t{number}", "kind": "c" if number else "d", "took": 1500 * number or None}
        values |= {"parent": uuid(0) if number else None, "tokens_in": number, "tokens_out": 10}
        store.insert("calls", act=uuid(number), app=PROJECT, began=began, **values)
        store.insert("opinions", act=uuid(number), what="good", points=number)
    source = store.source(MAPPING)
    wanted = {
        'eq(name, "t2!")': [2],
        'eq(run_type, "llm")': [1, 2, 3],
        "gte(latency, 3)": [2, 3],
        'eq(status, "pending")': [0],
        "eq(is_root, true)": [0],
        "gt(total_tokens, 11)": [2, 3],
        f'and(eq(metadata_key, "app"), eq(metadata_value, "{PROJECT}"))': [0, 1, 2, 3],
        'and(eq(feedback_key, "good"), gte(feedback_score, 0.2))': [2, 3],
        'gt(start_time, "2026-03-14T10:00:00")': [],
        'gte(start_time, "2026-03-14T11:00:00+01")': [0, 1, 2, 3],
        "has(tags, 'a')": [],
        "neq(error, null)": [],
    }
    assert {text: matching(source, text) for text in wanted} == wanted
    source.close()


@EVERYWHERE
def test_where_there_are_no_records_of_feedback_its_averages_are_asked(store: Store) -> None:
    store.runs({"feedback_stats": "{json}"})
    stats = [
        '{"right": {"n": 2, "avg": 0.5, "values": {}}, "a.b": {"n": 1, "avg": 1}}',
        '{"right": {"avg": null}}',
        "{}",
    ]
    for number, text in enumerate([*stats, None]):
        store.add(number, START, feedback_stats=text)
    source = store.source()
    wanted = {
        'eq(feedback_key, "right")': [0, 1],
        'neq(feedback_key, "right")': [2, 3],
        'and(eq(feedback_key, "right"), gte(feedback_score, 0.5))': [0],
        'and(eq(feedback_key, "a.b"), eq(feedback_score, 1))': [0],
        "eq(feedback_score, null)": [1],
        "eq(feedback_score, 2)": [],
    }
    assert {text: matching(source, text) for text in wanted} == wanted
    source.close()


@EVERYWHERE
def test_a_filter_on_feedback_of_a_store_without_any_has_no_run(store: Store) -> None:
    store.runs()
    store.add(1, START)
    source = store.source()
    assert matching(source, 'eq(feedback_key, "a")') == []
    assert matching(source, 'neq(feedback_key, "a")') == [1]
    assert matching(source, "gt(feedback_score, 0)") == []
    source.close()


@EVERYWHERE
def test_times_in_every_year_compare_to_the_microsecond(store: Store) -> None:
    store.runs({"end_time": "{time}"}, unique=True)
    ends = [
        "0001-01-02 00:00:00.000001",
        "1969-12-31 23:59:59.999999",
        "2026-03-14 10:00:00.123457",
        "9999-12-30 23:59:59.999999",
    ]
    for number, end in enumerate(ends):
        store.add(number, START, end_time=f"{end}+00:00")
    source = store.source()
    for number, end in enumerate(ends):
        instant = datetime.fromisoformat(end).replace(tzinfo=UTC).isoformat()
        assert matching(source, f'eq(end_time, "{instant}")') == [number]
        assert matching(source, f'gt(end_time, "{instant}")') == list(range(number + 1, 4))
    source.close()


@pytest.mark.parametrize("end", ["infinity", "-infinity", "0044-03-15 00:00:00+00 BC", "12026-01-01 00:00:00+00"])
def test_times_that_no_file_holds_are_null(postgres_store: Store, end: str) -> None:
    postgres_store.runs({"end_time": "{time}"}, unique=True)
    postgres_store.add(1, START, end_time=end)
    source = postgres_store.source()
    assert matching(source, 'and(eq(end_time, null), eq(status, "pending"), eq(latency, null))') == [1]
    source.close()


def test_a_column_that_ignores_case_in_the_database_does_not_in_a_filter(sqlite_store: Store, tmp_path: Path) -> None:
    sqlite_store.runs({"error": "TEXT COLLATE NOCASE"}, unique=True)
    sqlite_store.add(1, START, error="Boom")
    source = sqlite_store.source()
    assert matching(source, 'eq(error, "boom")') == []
    assert matching(source, 'in(error, ["boom", "BOOM"])') == []
    assert matching(source, 'like(error, "boom")') == []
    assert matching(source, 'eq(error, "Boom")') == [1]
    source.close()

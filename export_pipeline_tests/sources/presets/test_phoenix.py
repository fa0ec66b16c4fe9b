"""Traces that a real Phoenix has stored in SQLite and in PostgreSQL, against plain SQL and its own API."""

import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.home import free_ports
from export_pipeline.sources.protocol import DayFingerprint, ProjectKey, RunSource
from export_pipeline_tests.servers.waiting import listens, wait_for
from export_pipeline_tests.sources.presets import phoenix_process
from export_pipeline_tests.sources.presets.known_stores import (
    DAY,
    NAMES,
    Database,
    Span,
    answer_of,
    exported,
    matching,
    place_of,
    program,
    twelve_places,
    work_of_reading,
)

pytestmark = pytest.mark.slow

LLM = {"gpt", "another root"}
STARTING_SECONDS = 300.0
SPANS = """SELECT t.trace_id, s.span_id, s.parent_id, s.name, s.span_kind, s.status_code, s.start_time, s.end_time,
  s.llm_token_count_prompt AS prompt, s.llm_token_count_completion AS completion,
  c.total_cost, c.prompt_cost, c.completion_cost
FROM spans s JOIN traces t ON t.id = s.trace_rowid LEFT JOIN span_costs c ON c.span_rowid = s.id"""


class Written:
    """A Phoenix's database with the traces of `phoenix_process`, and what Phoenix's API said of them."""

    def __init__(self, database: Database, api: list[list[Any]]) -> None:
        self.database, self.api = database, api
        self.source = database.source()
        (project,) = [each for each in self.source.projects() if each.name == "support bot"]
        self.project = project.key

    def spans(self) -> dict[tuple[str, str], Span]:
        return {
            (row["trace_id"], row["span_id"]): Span(
                row["trace_id"], row["span_id"], row["parent_id"], at(row["start_time"])
            )
            for row in self.database.rows(SPANS)
        }

    def runs(self) -> dict[str, dict[str, Any]]:
        """The day's runs by name."""
        return {row["name"]: row for row in exported(self.source, self.project)}

    def day(self) -> DayFingerprint:
        return self.source.days(ProjectKey(self.project))[DAY]


def at(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value).replace(tzinfo=UTC)


@pytest.fixture(scope="module", params=NAMES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """Phoenix runs while it is written to, and is ended before the tests change what it has stored."""
    folder = tmp_path_factory.mktemp("phoenix")
    url = f"sqlite:///{folder}/phoenix.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database().replace("+psycopg2", "")
    port, grpc = free_ports(2), free_ports(1)
    database = Database(request.param, url)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_SQL_DATABASE_URL": url,
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc),
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    with program("phoenix", "serve", folder=folder, environment=environment) as process:
        wait_for(lambda: listens(port) or process.poll() is not None, what="Phoenix starting", seconds=STARTING_SECONDS)
        assert process.poll() is None, (folder / "log").read_text()[-4_000:]
        api = answer_of(phoenix_process.__file__, f"http://127.0.0.1:{port}", folder=folder)
        wait_for(lambda: len(database.rows("SELECT id FROM span_costs")) == 1, what="Phoenix reckoning the costs")
    made = Written(database, api)
    yield made
    made.source.close()


@pytest.fixture
def source(written: Written) -> RunSource:
    return written.source


def test_phoenix_is_recognised_with_its_version(source: RunSource, written: Written) -> None:
    report = source.check()
    assert report.problems == ()
    (version,) = written.database.rows("SELECT version_num FROM alembic_version")
    assert report.extra["kind"] == (
        f"phoenix, version {version['version_num']}, found by the tables projects, traces, spans"
    )
    assert report.warnings == ()
    assert report.index == "those of Arize Phoenix 20"


def test_every_span_that_phoenix_s_own_api_lists_is_a_run_of_its_day(written: Written) -> None:
    runs = exported(written.source, written.project) + exported(
        written.source, written.project, DAY - timedelta(days=1)
    )
    assert sorted(run["name"] for run in runs) == sorted(name for _, _, name in written.api)
    assert {run["name"] for run in runs} - written.runs().keys() == {"yesterday", "a microsecond before"}
    spans = written.spans()
    assert {run["id"] for run in runs} == {span.run_id for span in spans.values()}


def test_ids_and_trees_are_those_of_walking_up_in_the_store(written: Written) -> None:
    spans, runs = written.spans(), exported(written.source, written.project)
    by_id = {span.run_id: span for span in spans.values()}
    for run in runs:
        span = by_id[run["id"]]
        expected = place_of(span, spans, trace=uuid.UUID(span.trace))
        assert {name: run[name] for name in expected} == expected, run["name"]
    named = written.runs()
    assert len(named["over midnight"]["parent_run_ids"]) == 1, "its root began the day before"
    assert named["orphan"]["trace_id"] == str(uuid.UUID(int=phoenix_process.LOST))
    assert named["child of the orphan"]["parent_run_id"] == named["orphan"]["id"]
    assert named["its child"]["trace_id"] == named["another root"]["id"] != named["one root"]["id"]


def test_a_circle_of_parents_ends_and_costs_only_its_own_runs_their_path(written: Written) -> None:
    parent = "UPDATE spans SET parent_id = {} WHERE span_id = '0000000000000031'"
    written.database.rows(parent.format("'0000000000000031'"))
    try:
        runs = written.runs()
        assert runs["one root"]["parent_run_id"] == runs["one root"]["id"]
        assert runs["one root"]["dotted_order"] is None
        assert runs["one root"]["trace_id"] == str(uuid.UUID(int=phoenix_process.ROOTS))
        assert runs["its child"]["trace_id"] == runs["another root"]["id"]
    finally:
        written.database.rows(parent.format("NULL"))


def test_times_types_states_tokens_and_costs_are_those_of_plain_sql(written: Written) -> None:
    types = {"LLM": "llm", "TOOL": "tool", "RETRIEVER": "retriever", "EMBEDDING": "embedding"}
    runs = {run["id"]: run for run in exported(written.source, written.project)}
    seen = 0
    for row in written.database.rows(SPANS):
        span = written.spans()[row["trace_id"], row["span_id"]]
        if (run := runs.get(span.run_id)) is None:
            continue
        seen += 1
        assert (run["start_time"], run["end_time"]) == (at(row["start_time"]), at(row["end_time"]))
        assert run["run_type"] == types.get(row["span_kind"], "chain")
        assert run["status"] == ("error" if row["status_code"] == "ERROR" else "success")
        assert (run["prompt_tokens"], run["completion_tokens"]) == (row["prompt"], row["completion"])
        for cost in ("total_cost", "prompt_cost", "completion_cost"):
            assert run[cost] == twelve_places(row[cost]), (run["name"], cost)
    assert seen == len(runs) == 11
    assert written.runs()["gpt"]["total_tokens"] == 1_234
    assert written.runs()["another root"]["total_tokens"] == 5
    assert written.runs()["gpt"]["total_cost"] is not None


def test_inputs_outputs_and_errors_are_what_the_instrumentation_sent(written: Written) -> None:
    runs = written.runs()
    asked = '{"question": "Where is my parcel?", "n": 12345678901234567890}'
    assert runs["answer"]["inputs"] == asked, "JSON that was sent as text is kept byte for byte"
    assert json.loads(runs["answer"]["outputs"]) == {"output": "On its way ✈"}
    message = {"message": {"role": "user", "content": "Where is my parcel?"}}
    assert json.loads(runs["gpt"]["inputs"]) == {"messages": [message]}
    assert json.loads(runs["look up"]["inputs"]) == {"parcel": 7}
    assert json.loads(runs["search"]["outputs"]) == {"documents": [{"document": {"content": "a page"}}]}
    assert json.loads(runs["odd"]["inputs"]) == {"input": "{broken"}
    assert json.loads(runs["odd"]["outputs"]) == {"output": [1, 2]}
    assert (runs["orphan"]["inputs"], runs["orphan"]["outputs"], runs["orphan"]["error"]) == (None, None, None)
    assert runs["look up"]["error"] == "ValueError: boom\n\nTraceback: boom"


def test_metadata_threads_models_tags_and_events_have_langsmith_s_names(written: Written) -> None:
    runs = written.runs()
    metadata = {name: json.loads(run["extra"])["metadata"] for name, run in runs.items()}
    assert metadata["answer"] | {"empty": None} == {
        "env": "prod",
        "empty": None,
        "thread_id": "thread-1",
        "user_id": "user-1",
    }
    assert metadata["gpt"] == {"ls_model_name": "gpt-4o-mini", "ls_provider": "openai", "thread_id": "thread-1"}
    assert metadata["orphan"] == {}
    extra = json.loads(runs["gpt"]["extra"])
    assert extra["export_pipeline"]["original_ids"]["id"] == f"{phoenix_process.CHAT:032x}:{0x12:016x}"
    assert extra["attributes"]["llm"]["token_count"]["prompt_details"] == {"cache_read": 200}
    assert runs["answer"]["tags"] == ["gold", "ünïcode"]
    assert runs["gpt"]["tags"] == []
    assert runs["gpt"]["first_token_time"] == datetime(2026, 3, 14, 1, 0, 2, 500_000, tzinfo=UTC)
    (event,) = json.loads(runs["look up"]["events"])
    assert (event["name"], event["kwargs"]["exception.message"]) == ("exception", "boom")
    assert datetime.fromisoformat(event["time"]) == datetime(2026, 3, 14, 2, tzinfo=UTC)


def test_annotations_are_feedback_one_by_one_and_in_sum(written: Written) -> None:
    runs = written.runs()
    stored = written.database.rows("SELECT id, name, label, score, explanation FROM span_annotations ORDER BY id")
    found = json.loads(runs["gpt"]["feedbacks"])
    named = [(each["key"], each["value"], each["score"], each["comment"]) for each in found]
    assert named == [(row["name"], row["label"], row["score"], row["explanation"]) for row in stored]
    assert json.loads(runs["gpt"]["feedback_stats"]) == {
        "helpful": {"n": 1, "avg": 1.0, "values": {"yes": 1}},
        "length": {"n": 1, "avg": 0.25, "values": {}},
    }
    assert json.loads(runs["answer"]["feedback_stats"]) == {"helpful": {"n": 1, "avg": 0.0, "values": {"no": 1}}}
    assert [each["feedback_source"] for each in json.loads(runs["answer"]["feedbacks"])] == [{"type": "llm"}]
    assert (runs["search"]["feedback_stats"], runs["search"]["feedbacks"]) == (None, "[]")


@pytest.mark.parametrize(
    ("change", "back"),
    [
        pytest.param(
            "INSERT INTO span_costs (span_rowid, trace_rowid, span_start_time, total_cost) "
            "SELECT id, trace_rowid, start_time, 0.5 FROM spans WHERE name = 'search'",
            "DELETE FROM span_costs WHERE total_cost = 0.5",
            id="a cost that is reckoned later",
        ),
        pytest.param(
            "UPDATE span_annotations SET score = 0.75, updated_at = '2027-01-01 00:00:00.000000' WHERE name = 'length'",
            "UPDATE span_annotations SET score = 0.25, updated_at = created_at WHERE name = 'length'",
            id="an annotation that is changed",
        ),
        pytest.param(
            "UPDATE trace_annotations SET updated_at = '2027-01-01 00:00:00.000000'",
            "UPDATE trace_annotations SET updated_at = created_at",
            id="an annotation of a trace that is changed",
        ),
        pytest.param(
            "UPDATE spans SET span_id = '0000000000000099' WHERE span_id = '0000000000000031'",
            "UPDATE spans SET span_id = '0000000000000031' WHERE span_id = '0000000000000099'",
            id="a parent that comes later",
        ),
    ],
)
def test_what_comes_after_the_span_changes_the_digest_of_its_day(written: Written, change: str, back: str) -> None:
    before = written.day()
    written.database.rows(change)
    try:
        changed = written.day()
        assert (changed.rows, changed.digest != before.digest) == (before.rows, True)
    finally:
        written.database.rows(back)
    if "span_costs" not in change:
        assert written.day() == before


def test_what_a_day_costs_does_not_grow_with_the_other_days(written: Written) -> None:
    database, many = written.database, 20_000
    columns = {row["name"]: row for row in database.rows("SELECT * FROM spans LIMIT 1")}
    (sample,) = columns.values()
    others = [name for name in sample if name not in {"id", "span_id", "parent_id", "start_time", "end_time"}]
    at_noon = "'2026-02-01 12:00:00.000000'"
    numbers = f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many}) SELECT i FROM n) AS n"
    added = (
        f"INSERT INTO spans (span_id, parent_id, start_time, end_time, {', '.join(others)}) "
        f"SELECT 'x' || n.i, 'x' || (n.i - 1), {at_noon}, {at_noon}, {', '.join(f's.{name}' for name in others)} "
        f"FROM {numbers} CROSS JOIN (SELECT * FROM spans WHERE span_id = '{sample['span_id']}') AS s"
    )
    before = work_of_reading(database, written.project)
    database.rows(added)
    database.rows("ANALYZE")
    try:
        assert len(database.rows("SELECT id FROM spans")) > many
        after = work_of_reading(database, written.project)
    finally:
        database.rows("DELETE FROM spans WHERE span_id LIKE 'x%'")
        database.rows("ANALYZE")
    before.does_not_grow_to(after, of="spans")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('eq(run_type, "llm")', LLM),
        ('eq(status, "error")', {"look up"}),
        ("neq(error, null)", {"look up"}),
        ('and(eq(metadata_key, "env"), eq(metadata_value, "prod"))', {"answer"}),
        ('and(eq(metadata_key, "ls_model_name"), eq(metadata_value, "gpt-4o-mini"))', {"gpt"}),
        ("gt(total_tokens, 1000)", {"gpt"}),
        ('has(tags, "gold")', {"answer"}),
        ('and(eq(feedback_key, "helpful"), gte(feedback_score, 1))', {"gpt"}),
        ('search("parcel")', {"answer", "gpt", "look up", "search"}),
    ],
)
def test_filters_mean_of_a_known_store_what_the_file_says(written: Written, text: str, names: set[str]) -> None:
    assert matching(written.source, written.project, text) == names


def test_filters_on_ids_take_those_of_the_store_and_those_on_traces_mean_the_tree(written: Written) -> None:
    runs = written.runs()
    stored = {run["id"]: json.loads(run["extra"])["export_pipeline"]["original_ids"]["id"] for run in runs.values()}
    roots = {name for name, run in runs.items() if run["is_root"]}
    assert matching(written.source, written.project, "eq(is_root, true)") == roots
    for name, run in runs.items():
        assert matching(written.source, written.project, f'eq(id, "{stored[run["id"]]}")') == {name}
    for root in roots:
        trace = {name for name, run in runs.items() if run["trace_id"] == runs[root]["id"]}
        assert matching(written.source, written.project, f'eq(trace_id, "{stored[runs[root]["id"]]}")') == trace


@pytest.mark.parametrize(
    ("attributes", "inputs"),
    [
        ({}, None),
        ({"input": {"value": None}, "output": None, "llm": [], "tag": {"tags": "one"}, "metadata": ["a"]}, None),
        ({"input": {"value": 7}, "metadata": "text", "session": "s", "tag": {"tags": [1, None]}}, {"input": 7}),
        ({"input": {"value": "[1", "mime_type": "application/json"}}, {"input": "[1"}),
        ({"input": {"value": '"x"', "mime_type": "application/json"}}, {"input": "x"}),
        ({"input": {"value": " {} ", "mime_type": "application/json"}}, {}),
        ({"llm": {"invocation_parameters": "{broken", "token_count": {"total": "many"}}}, None),
    ],
)
def test_odd_attributes_cost_no_row(written: Written, attributes: Any, inputs: Any) -> None:
    database = written.database
    (old,) = database.rows("SELECT attributes FROM spans WHERE name = 'search'")
    text = old["attributes"] if isinstance(old["attributes"], str) else json.dumps(old["attributes"])
    set_attributes = "UPDATE spans SET attributes = '{}' WHERE name = 'search'"
    database.rows(set_attributes.format(json.dumps(attributes).replace("'", "''")))
    try:
        run = written.runs()["search"]
        assert (run["inputs"] and json.loads(run["inputs"])) == inputs
        assert isinstance(json.loads(run["extra"])["metadata"], dict)
        assert run["total_tokens"] is None
    finally:
        database.rows(set_attributes.format(text.replace("'", "''")))

"""Traces that a real MLflow has stored in SQLite and in PostgreSQL, against plain SQL and its own API."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.sources.protocol import DayFingerprint, ProjectKey
from export_pipeline_tests.servers import MariadbServer
from export_pipeline_tests.sources.presets import mlflow_process
from export_pipeline_tests.sources.presets.known_stores import (
    DAY,
    NAMES,
    Database,
    Span,
    answer_of,
    exported,
    exported_and_rejected,
    matching,
    place_of,
    twelve_places,
    work_of_reading,
)

pytestmark = pytest.mark.slow

LLM = {"gpt"}
MIDNIGHT = datetime(2026, 3, 14, tzinfo=UTC)


class Written:
    """A database with the traces of `mlflow_process`, and what MLflow's API said of them."""

    def __init__(self, database: Database, told: dict[str, Any]) -> None:
        self.database, self.trace, self.api = database, told["trace"], told["spans"]
        self.source = database.source()
        self.projects = {each.name: each.key for each in self.source.projects()}

    @property
    def project(self) -> str:
        return self.projects[mlflow_process.PROJECT]

    def spans(self) -> dict[tuple[str, str], Span]:
        rows = self.database.rows("SELECT trace_id, span_id, parent_span_id, start_time_unix_nano AS start FROM spans")
        return {
            (row["trace_id"], row["span_id"]): Span(
                row["trace_id"], row["span_id"], row["parent_span_id"], instant(row["start"])
            )
            for row in rows
        }

    def runs(self) -> dict[str, dict[str, Any]]:
        """The day's runs by name."""
        return {row["name"]: row for row in exported(self.source, self.project)}

    def day(self) -> DayFingerprint:
        return self.source.days(ProjectKey(self.project))[DAY]

    @contextmanager
    def changed(self, *statements: str, back: tuple[str, ...]) -> Iterator[None]:
        """The store as plain SQL changes it, until the end of the block."""
        for statement in statements:
            self.database.rows(statement)
        try:
            yield
        finally:
            for statement in back:
                self.database.rows(statement)


def instant(nanoseconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanoseconds // 1_000)


def matches_the_walk(written: Written, project: str) -> int:
    """How many runs of the project there are, all of them in the place that walking up in plain SQL's rows gives."""
    spans = written.spans()
    by_id = {span.run_id: span for span in spans.values()}
    runs = exported(written.source, project)
    for run in runs:
        span = by_id[run["id"]]
        expected = place_of(span, spans, trace=uuid.UUID(span.trace.removeprefix("tr-")))
        assert {name: run[name] for name in expected} == expected, run["name"]
    return len(runs)


@pytest.fixture(scope="module", params=[*NAMES, "mysql"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    folder = tmp_path_factory.mktemp("mlflow")
    url = f"sqlite:///{folder}/mlflow.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    if request.param == "mysql":
        server: MariadbServer = request.getfixturevalue("mariadb")
        url = server.url(server.new_database()).replace("mysql://", "mysql+pymysql://")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        told = answer_of(mlflow_process.__file__, url, folder=folder)
    made = Written(Database(request.param, url.replace("+psycopg2", "").replace("+pymysql", "")), told)
    yield made
    made.source.close()


def test_mlflow_is_recognised_with_its_version(written: Written) -> None:
    report = written.source.check()
    assert report.problems == ()
    (version,) = written.database.rows("SELECT version_num FROM alembic_version")
    assert report.extra["kind"] == (
        f"mlflow, version {version['version_num']}, found by the tables experiments, trace_info, spans"
    )
    assert report.warnings == ()
    assert report.index == "those of MLflow 3.17"


def test_every_span_that_mlflow_s_own_search_finds_is_a_run_at_its_time(written: Written) -> None:
    runs = {
        run["id"]: run
        for project in (mlflow_process.PROJECT, mlflow_process.OTHER)
        for day in (DAY, DAY - timedelta(days=1))
        for run in exported(written.source, written.projects[project], day)
    }
    assert len(runs) == len(written.api) == 4 + 3 * 3
    for trace, own, parent, name, start, end, status in written.api:
        run = runs[Span(trace, own, parent, MIDNIGHT).run_id]
        assert (run["name"], run["start_time"], run["end_time"]) == (name, instant(start), instant(end))
        assert run["status"] == ("error" if "ERROR" in status else "success")
    assert {run["name"] for run in exported(written.source, written.project)} == {
        *("answer", "gpt", "look up", "search"),
        *("one after", "another after"),
    }


def test_ids_and_trees_are_those_of_walking_up_in_the_store(written: Written) -> None:
    assert matches_the_walk(written, written.project) == 6
    after = written.runs()["one after"]
    assert len(after["parent_run_ids"]) == 2, "both of its ancestors began the day before"


def test_unknown_parents_circles_and_several_roots_follow_the_same_walk(written: Written) -> None:
    parent = "UPDATE spans SET parent_span_id = {} WHERE name = '{}'"
    old = {row["name"]: row for row in written.database.rows("SELECT name, parent_span_id FROM spans")}

    def is_now(name: str, value: str) -> str:
        return parent.format(value, name)

    def was(*names: str) -> tuple[str, ...]:
        found = {name: old[name]["parent_span_id"] for name in names}
        return tuple(is_now(name, "NULL" if value is None else f"'{value}'") for name, value in found.items())

    with written.changed(is_now("look up", "'00000000000000ff'"), back=was("look up")):
        assert matches_the_walk(written, written.project) == 6
        assert written.runs()["look up"]["trace_id"] == str(uuid.UUID(written.trace.removeprefix("tr-")))
    (tool,) = written.database.rows("SELECT span_id FROM spans WHERE name = 'look up'")
    with written.changed(is_now("gpt", f"'{tool['span_id']}'"), back=was("gpt")):
        assert matches_the_walk(written, written.project) == 6
        assert [name for name, run in written.runs().items() if run["dotted_order"] is None] == ["gpt", "look up"]
    with written.changed(is_now("gpt", "''"), back=was("gpt")):
        runs = written.runs()
        assert runs["look up"]["trace_id"] == runs["gpt"]["id"] == runs["gpt"]["trace_id"]
        assert runs["search"]["trace_id"] == runs["answer"]["id"]
    assert matches_the_walk(written, written.project) == 6


def test_an_ancestor_in_another_experiment_is_found(written: Written) -> None:
    move = "UPDATE spans SET experiment_id = {} WHERE name = 'one root'"
    other, home = written.projects[mlflow_process.OTHER], written.project
    with written.changed(move.format(other), back=(move.format(home),)):
        assert matches_the_walk(written, written.project) == 6
        assert len(written.runs()["one after"]["parent_run_ids"]) == 2


def test_a_span_id_that_comes_in_two_traces_is_two_runs(written: Written) -> None:
    ids = {row["name"]: row["span_id"] for row in written.database.rows("SELECT name, span_id FROM spans")}
    rename = "UPDATE spans SET span_id = '{}' WHERE name = '{}'"
    reparent = "UPDATE spans SET parent_span_id = '{}' WHERE name = '{}'"
    same, old = ids["one before"], ids["another before"]
    with written.changed(
        rename.format(same, "another before"),
        reparent.format(same, "another after"),
        back=(rename.format(old, "another before"), reparent.format(old, "another after")),
    ):
        assert matches_the_walk(written, written.project) == 6
        runs = written.runs()
        assert runs["one after"]["parent_run_id"] != runs["another after"]["parent_run_id"]
        assert runs["one after"]["trace_id"] != runs["another after"]["trace_id"]


def test_types_tokens_and_costs_are_those_of_plain_sql(written: Written) -> None:
    types = {"CHAT_MODEL": "llm", "TOOL": "tool", "RETRIEVER": "retriever"}
    runs = {run["id"]: run for run in exported(written.source, written.project)}
    seen = 0
    for row in written.database.rows("SELECT * FROM spans"):
        if (run := runs.get(Span(row["trace_id"], row["span_id"], None, MIDNIGHT).run_id)) is None:
            continue
        seen += 1
        assert run["run_type"] == types.get(row["type"], "chain")
        costs = (run["prompt_cost"], run["completion_cost"], run["total_cost"])
        assert costs == tuple(twelve_places(row[name]) for name in ("input_cost", "output_cost", "total_cost"))
    assert seen == 6
    gpt = written.runs()["gpt"]
    (trace,) = written.database.rows(f"SELECT * FROM trace_info WHERE request_id = '{written.trace}'")
    assert (gpt["prompt_tokens"], gpt["completion_tokens"], gpt["total_tokens"]) == (
        trace["input_tokens"],
        trace["output_tokens"],
        trace["total_tokens"],
    )
    assert str(gpt["total_cost"]) == "0.123476700000"
    assert written.runs()["search"]["total_tokens"] is None


def test_inputs_outputs_errors_and_events_are_what_the_program_gave(written: Written) -> None:
    runs = written.runs()
    assert json.loads(runs["answer"]["inputs"]) == {"question": "Where is my parcel?"}
    assert json.loads(runs["answer"]["outputs"]) == {"answer": "On its way"}
    assert json.loads(runs["gpt"]["inputs"]) == {"messages": [{"role": "user", "content": "Où est mon colis ✈?"}]}
    assert json.loads(runs["gpt"]["outputs"]) == {"output": "On its way"}
    assert json.loads(runs["look up"]["inputs"]) == {"input": "parcel 7"}
    assert json.loads(runs["search"]["outputs"]) == {"output": [{"page_content": "a page"}]}
    assert (runs["one after"]["inputs"], runs["one after"]["error"]) == (None, None)
    assert runs["look up"]["error"] == "ValueError: boom\n\nTraceback: boom"
    (event,) = json.loads(runs["gpt"]["events"])
    assert (event["name"], event["kwargs"]) == ("chunk", {"size": 3})
    assert datetime.fromisoformat(event["time"]) == MIDNIGHT + timedelta(seconds=3601.5)
    extra = json.loads(runs["gpt"]["extra"])
    assert extra["attributes"]["temperature"] == 0.5
    assert extra["attributes"]["mlflow.llm.cost"]["output_cost"] == 0.00002
    assert "mlflow.spanInputs" not in extra["attributes"]


def test_metadata_threads_and_models_have_langsmith_s_names(written: Written) -> None:
    runs = written.runs()
    thread = {"thread_id": "thread-1", "user_id": "user-1"}
    assert json.loads(runs["gpt"]["extra"])["metadata"] == {
        "ls_model_name": "gpt-4o-mini",
        "ls_provider": "openai",
        **thread,
    }
    root = json.loads(runs["answer"]["extra"])["metadata"]
    assert root.items() >= {"env": "prod", **thread}.items()
    assert json.loads(runs["one after"]["extra"])["metadata"] == {}


def test_assessments_are_feedback_one_by_one_and_in_sum(written: Written) -> None:
    runs = written.runs()
    stored = written.database.rows(
        f"SELECT * FROM assessments WHERE trace_id = '{written.trace}' AND span_id IS NULL ORDER BY created_timestamp"
    )
    found = json.loads(runs["answer"]["feedbacks"])
    assert [(each["id"], each["key"], each["value"]) for each in found] == [
        (row["assessment_id"], row["name"], json.loads(row["value"])) for row in stored
    ]
    assert [each["score"] for each in found] == [1, 0, None, None]
    assert [each["type"] for each in found] == ["feedback", "feedback", "feedback", "expectation"]
    assert json.loads(runs["answer"]["feedback_stats"]) == {
        "helpful": {"n": 2, "avg": 0.5, "values": {}},
        "tone": {"n": 1, "avg": None, "values": {"friendly": 1}},
    }
    assert json.loads(runs["gpt"]["feedback_stats"]) == {"length": {"n": 1, "avg": 0.25, "values": {}}}
    assert (runs["search"]["feedback_stats"], runs["search"]["feedbacks"]) == (None, "[]")
    with written.changed("UPDATE assessments SET valid = '0'", back=("UPDATE assessments SET valid = '1'",)):
        assert written.runs()["answer"]["feedback_stats"] is None


@pytest.mark.parametrize(
    ("change", "back"),
    [
        pytest.param(
            "UPDATE trace_info SET db_payload_generation = db_payload_generation + 1",
            "UPDATE trace_info SET db_payload_generation = db_payload_generation - 1",
            id="a trace that is written once more",
        ),
        pytest.param(
            "UPDATE spans SET status = 'UNSET' WHERE name = 'search'",
            "UPDATE spans SET status = 'OK' WHERE name = 'search'",
            id="a span's status",
        ),
        pytest.param(
            "UPDATE trace_tags SET value = 'test' WHERE \"key\" = 'env'",
            "UPDATE trace_tags SET value = 'prod' WHERE \"key\" = 'env'",
            id="a tag of a trace",
        ),
        pytest.param(
            "UPDATE assessments SET last_updated_timestamp = last_updated_timestamp + 100000 WHERE name = 'length'",
            "UPDATE assessments SET last_updated_timestamp = last_updated_timestamp - 100000 WHERE name = 'length'",
            id="an assessment",
        ),
    ],
)
def test_what_changes_in_a_trace_changes_the_digest_of_its_day(written: Written, change: str, back: str) -> None:
    before = written.day()
    with written.changed(change, back=(back,)):
        changed = written.day()
        assert (changed.rows, changed.digest != before.digest) == (before.rows, True)
    assert written.day() == before


def test_a_span_that_has_not_ended_is_pending(written: Written) -> None:
    (end,) = written.database.rows("SELECT end_time_unix_nano AS at FROM spans WHERE name = 'search'")
    set_end = "UPDATE spans SET end_time_unix_nano = {} WHERE name = 'search'"
    with written.changed(set_end.format("NULL"), back=(set_end.format(end["at"]),)):
        run = written.runs()["search"]
        assert (run["status"], run["end_time"]) == ("pending", None)


def test_a_trace_whose_payload_was_archived_is_never_exported_without_it(written: Written) -> None:
    where = f"request_id = '{written.trace}' AND \"key\" = 'mlflow.trace.spansLocation'"
    for place in ("ARCHIVE_REPO", "ARTIFACT_REPO"):
        with written.changed(
            f"UPDATE trace_tags SET value = '{place}' WHERE {where}",
            back=(f"UPDATE trace_tags SET value = 'TRACKING_STORE' WHERE {where}",),
        ):
            assert written.runs().keys() == {"one after", "another after"}
            assert written.day().rows == 2, "fewer than before: a committed day is kept"
            (warning,) = [each for each in written.source.check().warnings if "not exported" in each]
            assert warning.startswith("1 traces whose spans lie in the artifact store")


def test_workspaces_are_workspaces_but_for_the_default_one(written: Written) -> None:
    assert {each.tenant_key for each in written.source.projects()} == {None}
    name = f"UPDATE experiments SET workspace = '{{}}' WHERE name = '{mlflow_process.OTHER}'"
    with written.changed(name.format("team-a"), back=(name.format("default"),)):
        assert {each.name: each.tenant_key for each in written.source.projects()}[mlflow_process.OTHER] == "team-a"


def test_what_a_day_costs_does_not_grow_with_the_other_days(written: Written) -> None:
    database, many = written.database, 20_000
    numbers = f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many}) SELECT i FROM n) AS n"
    added = (
        "INSERT INTO spans (trace_id, experiment_id, span_id, parent_span_id, name, type, status, "
        "start_time_unix_nano, end_time_unix_nano, content) "
        "SELECT s.trace_id, s.experiment_id, 'x' || n.i, 'x' || (n.i - 1), s.name, s.type, s.status, "
        "s.start_time_unix_nano - 5000000000000000, s.end_time_unix_nano - 5000000000000000, s.content "
        f"FROM {numbers} CROSS JOIN (SELECT * FROM spans WHERE name = 'search') AS s"
    )
    before = work_of_reading(database, written.project)
    database.rows(added)
    database.rows("ANALYZE TABLE spans" if database.name == "mysql" else "ANALYZE")
    try:
        assert len(database.rows("SELECT span_id FROM spans")) > many
        after = work_of_reading(database, written.project)
    finally:
        database.rows("DELETE FROM spans WHERE span_id LIKE 'x%'")
        database.rows("ANALYZE TABLE spans" if database.name == "mysql" else "ANALYZE")
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
        ('and(eq(feedback_key, "length"), lt(feedback_score, 0.5))', {"gpt"}),
        ('search("parcel")', {"answer", "look up"}),
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


ODD_CONTENT = {
    "attributes": {
        "mlflow.spanInputs": "{broken",
        "mlflow.spanOutputs": '{"a": NaN, "b": "\\u0000"}',
        "mlflow.chat.tokenUsage": '"none"',
        "raw": "no JSON: {",
        "big": "123456789012345678901234567890",
    },
    "events": [],
    "status": {"code": "STATUS_CODE_OK", "message": ""},
}


def test_odd_content_costs_no_row_and_content_that_is_no_json_costs_its_own(written: Written) -> None:
    quoted = {name: json.dumps(value).replace("'", "''") for name, value in {"odd": ODD_CONTENT, "none": {}}.items()}
    set_content = "UPDATE spans SET content = '{}' WHERE name = '{}'"
    (old,) = written.database.rows("SELECT content FROM spans WHERE name = 'search'")
    back = set_content.format(old["content"].replace("'", "''"), "search")
    with written.changed(set_content.format(quoted["odd"], "search"), back=(back,)):
        run = written.runs()["search"]
        assert json.loads(run["inputs"]) == {"input": "{broken"}
        assert run["total_tokens"] is None
        attributes = json.loads(run["extra"])["attributes"]
        assert (attributes["raw"], attributes["big"]) == ("no JSON: {", 123456789012345678901234567890)
        assert "NaN" in run["outputs"]
    with written.changed(set_content.format(quoted["none"], "search"), back=(back,)):
        run = written.runs()["search"]
        assert (run["inputs"], run["error"], run["events"]) == (None, None, "[]")
    with written.changed(set_content.format("", "search"), back=(back,)):
        kept, rejected = exported_and_rejected(written.source, written.project)
        assert len(kept) == 5
        assert [each.reason.rpartition(": ")[2] for each in rejected] == ["the mapping's expression fails"]


def test_odd_assessments_cost_no_row(written: Written) -> None:
    values = ("'NaN'", "'{broken'", "''", "'[1, 2]'", "'null'")
    (old,) = written.database.rows("SELECT value FROM assessments WHERE name = 'length'")
    for value in values:
        set_value = "UPDATE assessments SET value = {} WHERE name = 'length'"
        with written.changed(set_value.format(value), back=(set_value.format(f"'{old['value']}'"),)):
            (found,) = json.loads(written.runs()["gpt"]["feedbacks"])
            assert found["score"] is None
            stats = json.loads(written.runs()["gpt"]["feedback_stats"])
            assert (stats["length"]["n"], stats["length"]["avg"]) == (1, None)

"""The mapping file: the documented example, and what is said of a wrong one."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from export_pipeline.errors import SettingsError, SourceUnusableError
from export_pipeline.sources.mapping import (
    DEFAULT_MAPPING,
    FeedbacksMapping,
    Mapping,
    ProjectsMapping,
    RunsMapping,
    load_mapping,
)
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, PROJECT, Store, rows_of

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "mapping.md").read_text()
IN_THE_README = re.findall(r"<!-- mapping -->(.*)<!-- /mapping -->", (ROOT / "README.md").read_text(), re.DOTALL)[0]


def block(text: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    return str(found)


@pytest.mark.parametrize(
    ("text", "expressions"),
    [(DOCUMENT, {"run_type", "total_tokens"}), (IN_THE_README, {"run_type"})],
    ids=["docs/mapping.md", "README.md"],
)
def test_a_documented_example_gives_the_documented_rows(text: str, expressions: set[str], store: Store) -> None:
    sql, mapping, expected = (block(text, language) for language in ("sql", "yaml", "json"))
    for statement in sql.strip().split(";\n"):
        store.run(
            re.sub("(?i)text primary", "VARCHAR(80) PRIMARY", statement) if store.dialect == "mysql" else statement
        )
    source = store.source(mapping)
    (project,) = source.projects()
    assert (project.key, project.name, project.tenant_key) == ("support bot", "support bot", "acme")
    found = [
        {name: shown(name, row[name]) for name in json.loads(expected)[0]}
        for row in rows_of(source, project=project.key)
    ]
    assert found == json.loads(expected)
    report = source.check()
    assert report.problems == ()
    assert {column.field for column in report.columns if column.detail == "expression"} == expressions
    source.close()


def shown(name: str, value: bytes | int | None) -> object:
    if name == "start_time":
        assert isinstance(value, int)
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)).isoformat()
    text = value.decode() if isinstance(value, bytes) else value
    return int(text) if name == "total_tokens" and text is not None else text


def test_every_key_is_documented() -> None:
    for section, model in (
        ("", Mapping),
        ("runs.", RunsMapping),
        ("projects.", ProjectsMapping),
        ("feedbacks.", FeedbacksMapping),
    ):
        for name, field in model.model_fields.items():
            if name not in {"runs", "projects"}:
                assert f"`{section}{field.alias or name}" in DOCUMENT or f"`.{field.alias or name}`" in DOCUMENT, name


def test_without_a_file_the_default_is_used() -> None:
    assert load_mapping(None) is DEFAULT_MAPPING


WRONG = {
    "runs: [": ["not valid YAML"],
    "- a list": ["must hold keys"],
    "runs: {table: a, query: b}": ["runs: give a table or a query, not both"],
    "runs: {schema: a}": ["runs: schema needs a table"],
    "projects: {from_runs: true, table: b}": ["projects: from_runs excludes table and query"],
    "rums: {}\nepoch_unit: hours\nruns: {feilds: {}}": [
        "rums is not a key of a mapping",
        "epoch_unit: Input should be 's', 'ms', 'us' or 'ns'",
        "runs.feilds is not a key of a mapping",
    ],
    "runs: {fields: {nmae: title}}": ["runs.fields: 'nmae' is not a field of a run; did you mean 'name'?"],
    "runs: {fields: {id: null, inputs: null}}": ["runs.fields: id cannot be left out"],
    "runs: {fields: {id: {sqll: x}}}": ["runs.fields.id"],
    "runs: {modified_at: 3}": ["runs.modified_at"],
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_refused_with_every_key_that_is_wrong(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="EXPORT_PIPELINE_MAPPING") as caught:
        load_mapping(path)
    assert str(path) in str(caught.value)
    for part in WRONG[text]:
        assert part in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"EXPORT_PIPELINE_MAPPING: the file .*nowhere\.yaml cannot be read: No such"
    ):
        load_mapping(tmp_path / "nowhere.yaml")
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="it is not UTF-8 text"):
        load_mapping(tmp_path / "latin")


@EVERYWHERE
def test_what_the_mapping_names_must_exist_and_everything_missing_is_told_at_once(store: Store) -> None:
    store.runs({"inputs": "TEXT"})
    mapping = """
runs: {deleted: gone, fields: {inputs: input, outputs: {sql: nonsense(}, tags: {sql: no_such_column}}}
projects: {table: projekts}
feedbacks: {table: votes}
"""
    source = store.source(mapping)
    problems = source.check().problems
    assert [problem.split(":")[0] for problem in problems] == [
        "runs.fields.inputs", "runs.fields.outputs", "runs.fields.tags", "runs.deleted", "projects", "feedbacks",
    ]  # fmt: skip
    assert problems[0] == "runs.fields.inputs: table runs has no column input; did you mean inputs?"
    assert problems[1].startswith("runs.fields.outputs: the expression 'nonsense(' fails: ")
    assert problems[4:] == ("projects: table projekts does not exist", "feedbacks: table votes does not exist")
    with pytest.raises(SourceUnusableError) as caught:
        rows_of(source)
    for problem in problems:
        assert problem in str(caught.value)
    source.close()


@EVERYWHERE
def test_names_that_need_quotes_and_a_field_that_is_denied(store: Store) -> None:
    store.projects(PROJECT)
    columns = {
        "id": "{uuid}",
        "session_id": "{uuid}",
        '"the ""name"""': "TEXT",
        '"Run Type"': "TEXT",
        '"start"': "{time}",
    }
    store.table('"odd ; runs"', {**columns, "error": "TEXT"})
    values = {'"the ""name"""': "n", '"Run Type"': "llm", '"start"': "2026-03-14 10:00:00+00:00", "error": "no error"}
    store.insert('"odd ; runs"', id=PROJECT, session_id=PROJECT, **values)
    fields = """{name: 'the "name"', run_type: Run Type, start_time: start, error: null}"""
    source = store.source(f"runs: {{table: odd ; runs, fields: {fields}}}")
    (row,) = rows_of(source)
    assert (row["name"], row["run_type"], row["error"]) == (b"n", b"llm", None)
    assert source.days(ProjectKey(PROJECT))[DAY].rows == 1
    source.close()


@EVERYWHERE
def test_projects_from_runs_have_the_name_of_a_column_and_come_oldest_first(store: Store) -> None:
    store.table(
        "runs",
        {"id": "TEXT", "session_id": "TEXT", "name": "TEXT", "run_type": "TEXT", "start_time": "{time}", "app": "TEXT"},
    )
    store.add("1", "2026-03-15 10:00:00+00:00", session_id="young", app="Young")
    store.add("2", "2026-03-14 10:00:00+00:00", session_id="old", app="Old")
    store.add("3", "2026-03-16 10:00:00+00:00", session_id="old", app="Old")
    store.add("4", "2026-03-16 10:00:00+00:00", session_id=None, app="None")
    source = store.source("projects: {from_runs: true, name: app}")
    assert [(project.key, project.name) for project in source.projects()] == [("old", "Old"), ("young", "Young")]
    source.close()


def test_a_table_in_another_schema(postgres_store: Store) -> None:
    postgres_store.projects(PROJECT)
    name = postgres_store.url.rpartition("%3D")[2]
    postgres_store.run(f"CREATE SCHEMA {name}_other")
    columns = {"id": "{uuid}", "session_id": "{uuid}", "name": "TEXT", "run_type": "TEXT", "start_time": "{time}"}
    postgres_store.table(f"{name}_other.runs", columns)
    source = postgres_store.source(f"runs: {{table: runs, schema: {name}_other}}")
    assert source.check().problems == ()
    source.close()


def test_sqlite_has_no_schemas(sqlite_store: Store) -> None:
    sqlite_store.runs()
    source = sqlite_store.source("runs: {table: runs, schema: main}")
    assert source.check().problems == ("runs: table main.runs: SQLite has no schemas; name the table alone",)
    source.close()


FEEDBACK = {"id": "TEXT", "run_id": "TEXT", "key": "TEXT", "score": "REAL", "value": "{json}", "created_at": "{time}"}


def test_feedback_records_come_as_a_json_list_in_the_order_of_their_creation(store: Store) -> None:
    store.runs({"feedback_stats": "{json}"})
    store.table("feedbacks", FEEDBACK)
    for number in (1, 2):
        store.add(number, "2026-03-14 10:00:00+00:00")
    (first,) = {row["id"].decode() for row in rows_of(store.source())[:1]}
    for number, (created, score, value) in enumerate([("02", 0.5, '{"a": [1]}'), ("01", None, None)]):
        created_at = f"2026-04-{created} 00:00:00+00:00"
        store.insert(
            "feedbacks", id=f"f{number}", run_id=first, key="k", score=score, value=value, created_at=created_at
        )
    source = store.source()
    with_feedback, without = (row["feedbacks"] for row in rows_of(source, fields=["id", "feedbacks"]))
    records = json.loads(with_feedback)
    assert [record["id"] for record in records] == ["f1", "f0"]
    assert (records[0]["score"], records[0]["value"]) == (None, None)
    assert (records[1]["score"], records[1]["value"], records[1]["run_id"]) == (0.5, {"a": [1]}, first)
    assert without == b"[]"
    assert rows_of(source)[0]["feedbacks"] is None
    source.close()

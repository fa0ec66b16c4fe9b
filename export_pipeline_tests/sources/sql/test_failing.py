"""An expression of the mapping that fails on some rows: these are rejected with a reason, all others are exported."""

from datetime import datetime
from uuid import UUID

import pyarrow as pa
import pytest

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.rejected import RejectedRow
from export_pipeline.runs.schema import select_fields
from export_pipeline.runs.transform import RunTransform
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.sources.sql.expressions import DIVIDE, EXTRACT, expected
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, PROJECT, Store, uuid

START = "2026-03-14 10:00:00+00:00"
REASON = "the mapping's expression fails"
RELATIONS = {"table": "", "view": "table: shown, ", "query": "query: SELECT * FROM runs, "}


def exported(source: RunSource, fields: list[str] | None = None) -> tuple[dict[int, str | None], list[RejectedRow]]:
    """What the day's file would hold as inputs, by id, and the rows that were set aside."""
    transform = RunTransform(
        tenant_id=UUID(int=1), session_id=UUID(PROJECT), fields=select_fields(fields), format_version="v2_beta"
    )
    rows: dict[int, str | None] = {}
    rejected: list[RejectedRow] = []
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY), fields) as snapshot:
        last: datetime | None = None
        for batch in transform.stream(snapshot.batches()):
            assert batch.rows_source == batch.rows.num_rows + len(batch.rejected)
            table = pa.Table.from_batches([batch.rows])
            ids = table.column("id").to_pylist()
            inputs = table.column("inputs").to_pylist() if fields is None else [None] * len(ids)
            rows |= {UUID(str(id_)).int: text for id_, text in zip(ids, inputs, strict=True)}
            starts = table.column("start_time").to_pylist()
            assert starts == sorted(starts)
            assert not starts or last is None or starts[0] >= last
            last = starts[-1] if starts else last
            rejected += batch.rejected
        assert snapshot.fingerprint.rows == len(rows) + len(rejected)
    assert source.days(ProjectKey(PROJECT))[DAY].rows == len(rows) + len(rejected)
    return rows, rejected


@EVERYWHERE
@pytest.mark.parametrize("relation", RELATIONS.values(), ids=RELATIONS)
@pytest.mark.parametrize("bad", [[0], [19], [7], [3, 4, 5, 11], []], ids=["first", "last", "middle", "several", "none"])
def test_rows_on_which_an_expression_fails_are_rejected_and_all_others_exported(
    store: Store, relation: str, bad: list[int]
) -> None:
    store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(20):
        text = '{"q":' if number in bad else f'{{"q": "question-{number}"}}'
        store.add(number, START, inputs=text)
    store.run("CREATE VIEW shown AS SELECT * FROM runs")
    source = store.source(f'runs: {{{relation}fields: {{inputs: {{sql: "{EXTRACT[store.dialect]}"}}}}}}')
    rows, rejected = exported(source)
    assert rows == expected(store, "inputs LIKE '%}'")
    assert len(rows) == 20 - len(bad)
    start = "2026-03-14T10:00:00+00:00"
    assert rejected == [RejectedRow(uuid(number), start, f"inputs: {REASON}") for number in bad]
    source.close()


@EVERYWHERE
def test_every_expression_that_fails_on_a_row_is_named(store: Store) -> None:
    store.runs({"inputs": "TEXT", "tokens": "INTEGER"}, unique=store.dialect == "mysql")
    store.add(1, START, inputs="{}", tokens=2)
    store.add(2, START, inputs="[", tokens=0)
    store.add(3, START, inputs="{}", tokens=0)
    inputs, tokens = (f'{{sql: "{by_dialect[store.dialect]}"}}' for by_dialect in (EXTRACT, DIVIDE))
    source = store.source(f"runs: {{fields: {{inputs: {inputs}, total_tokens: {tokens}}}}}")
    rows, rejected = exported(source)
    assert list(rows) == [1]
    assert [(row.id, row.reason) for row in rejected] == [
        (uuid(2), f"inputs, total_tokens: {REASON}"),
        (uuid(3), f"total_tokens: {REASON}"),
    ]
    source.close()


@EVERYWHERE
def test_bad_rows_between_batches_of_large_ones_neither_lose_nor_double_any(store: Store) -> None:
    store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(12):
        store.add(number, f"2026-03-14 10:00:{59 - number:02}+00:00", inputs=f'{{"q": "{number}')
    large = "hex(zeroblob(1000000))" if store.dialect == "sqlite" else "repeat('00', 1000000)"
    store.run(f"UPDATE runs SET inputs = inputs || {large} || '\"}}' WHERE id NOT IN (?, ?)", uuid(2), uuid(9))
    source = store.source(f'runs: {{fields: {{inputs: {{sql: "{EXTRACT[store.dialect]}"}}}}}}')
    rows, rejected = exported(source)
    assert rows == expected(store, "inputs LIKE '%}'")
    assert [row.id for row in rejected] == [uuid(9), uuid(2)]
    source.close()


@EVERYWHERE
def test_versions_of_a_run_are_told_apart_before_its_expressions_are_asked(store: Store) -> None:
    store.runs({"inputs": "TEXT", "modified_at": "{time}"})
    store.add(1, START, inputs="[", modified_at=START)
    store.add(1, START, inputs='{"q": "newer"}', modified_at="2026-03-15 10:00:00+00:00")
    store.add(2, START, inputs='{"q": "older"}', modified_at=START)
    store.add(2, START, inputs="[", modified_at="2026-03-15 10:00:00+00:00")
    source = store.source(f'runs: {{fields: {{inputs: {{sql: "{EXTRACT[store.dialect]}"}}}}}}')
    rows, rejected = exported(source)
    assert rows == {1: "newer"}
    assert [row.id for row in rejected] == [uuid(2)]
    source.close()


@EVERYWHERE
def test_an_expression_that_fails_on_too_many_rows_fails_the_day_and_is_named_with_a_row(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export_pipeline.sources.sql.failing.MOST_FAILING", 5)
    store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(6):
        store.add(number, START, inputs="[")
    source = store.source(f'runs: {{fields: {{inputs: {{sql: "{EXTRACT[store.dialect]}"}}}}}}')
    words = (
        rf"cannot be read: .*(?i:json|out of range).*; runs.fields.inputs of the mapping fails on more than 5 rows of "
        rf"a day, such as the run {uuid(0)[:-1]}[0-5] at 2026-03-14T10:00:00\+00:00"
    )
    with pytest.raises(SourceUnusableError, match=words):
        exported(source)
    source.close()


def test_the_check_names_the_expression_and_a_row_and_shows_the_rest(store: Store) -> None:
    store.runs({"inputs": "TEXT", "outputs": "TEXT"}, unique=True)
    for number in range(20):
        store.add(number, START, inputs="[" if number in {13, 17} else '{"q": 1}', outputs="{}")
    source = store.source(f'runs: {{fields: {{inputs: {{sql: "{EXTRACT[store.dialect]}"}}}}}}')
    found = source.check()
    assert found.problems == ()
    (told,) = (text for text in found.warnings if "expression" in text)
    assert told.startswith(f"the expression of inputs in the mapping fails on row 14, the run '{uuid(13)}': ")
    assert told.endswith("; such rows are rejected")
    assert found.sample is not None
    assert (found.sample["inputs"], found.sample["outputs"], found.sample["id"]) == (None, "{}", uuid(0))
    source.close()


@pytest.mark.parametrize("field", ["start_time", "deleted"])
def test_an_expression_that_chooses_rows_is_a_problem_where_it_fails(store: Store, field: str) -> None:
    store.runs({"inputs": "TEXT"}, unique=True)
    for number in range(5):
        store.add(number, START, inputs="[" if number == 3 else '{"q": "2026-03-14"}')
    inside = f'{field}: {{sql: "{EXTRACT[store.dialect]}"}}'
    source = store.source(f"runs: {{{inside if field == 'deleted' else f'fields: {{{inside}}}'}}}")
    (told,) = source.check().problems
    assert told.startswith(f"the expression of {field} in the mapping fails on row 4, the run '{uuid(3)}': ")
    assert "no day can be read" in told
    with pytest.raises(SourceUnusableError, match=r"cannot be read: .*; export-pipeline source check tries"):
        source.days(ProjectKey(PROJECT))
    source.close()


@EVERYWHERE
def test_an_expression_of_a_field_that_is_not_exported_rejects_no_row(store: Store) -> None:
    store.runs({"tokens": "TEXT"}, unique=True)
    for number in range(3):
        store.add(number, START, tokens="[" if number == 1 else '{"q": 1}')
    expression = EXTRACT[store.dialect].replace("inputs", "tokens")
    source = store.source(f'runs: {{fields: {{total_tokens: {{sql: "{expression}"}}}}}}')
    assert exported(source, ["id", "start_time", "name"]) == (dict.fromkeys(range(3)), [])
    _, (row,) = exported(source, ["id", "start_time", "total_tokens"])
    assert (row.id, row.reason) == (uuid(1), f"total_tokens: {REASON}")
    source.close()


def test_the_check_names_expressions_of_projects_and_feedback_too(store: Store) -> None:
    store.runs({"inputs": "TEXT"})
    store.add(1, START, inputs="{}")
    store.run("ALTER TABLE sessions ADD COLUMN inputs TEXT")
    store.run("UPDATE sessions SET inputs = '['")
    store.table("feedbacks", {"run_id": "{uuid}", "inputs": "TEXT"})
    store.insert("feedbacks", run_id=uuid(1), inputs="{}")
    store.insert("feedbacks", run_id=uuid(1), inputs="[")
    sql = f'{{sql: "{EXTRACT[store.dialect]}"}}'
    source = store.source(f"projects: {{name: {sql}}}\nfeedbacks: {{table: feedbacks, key: {sql}}}")
    projects, feedbacks = source.check().problems
    assert projects.startswith("the expression of projects.name in the mapping fails on row 1: ")
    assert feedbacks.startswith("the expression of feedbacks.key in the mapping fails on row 2: ")
    source.close()

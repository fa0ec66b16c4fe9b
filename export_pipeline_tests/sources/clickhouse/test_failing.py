"""Rows on which an expression fails are left out of a day whose other rows come from one SELECT all the same."""

from collections.abc import Generator
from typing import Any

import pyarrow as pa
import pytest

from export_pipeline.errors import SourceUnusableError
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.raw import failed_fields
from export_pipeline.runs.window import Window
from export_pipeline.sources.clickhouse.errors import RefusedValueError
from export_pipeline.sources.clickhouse.failing import Failing, FailingPlaces
from export_pipeline.sources.clickhouse.session import ClickhouseSession
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import ProjectKey, RunSource
from export_pipeline_tests.servers import ClickhouseServer
from export_pipeline_tests.sources.stores import DAY, PROJECT, START, Store, settings_for, uuid

pytestmark = pytest.mark.slow

MAPPING = "runs: {identity: [id], fields: {total_tokens: {sql: toInt64(tokens)}}}"
LATER = "2026-03-15 10:00:00+00:00"


@pytest.fixture
def filled(clickhouse_store: Store) -> Store:
    """Runs of which the second has a number of tokens that is none."""
    store = clickhouse_store
    store.runs({"tokens": "String NOT NULL", "modified_at": "{time}"})
    for number, tokens in enumerate(["12", "twelve", "3"], 1):
        store.add(number, START, tokens=tokens, modified_at=START)
    return store


def read(source: RunSource, **asked: Any) -> tuple[dict[str, int | None], list[str]]:
    """The tokens of the rows that can be read, and the ids of those on which the expression fails."""
    good: dict[str, int | None] = {}
    bad: list[str] = []
    with source.open(ProjectKey(PROJECT), Window.of_day(DAY), **asked) as snapshot:
        for batch in snapshot.batches():
            rows = batch.select(["id", "total_tokens"]).to_pylist()
            assert failed_fields(batch) in ([], ["total_tokens"])
            if failed_fields(batch):
                bad += [row["id"] for row in rows]
            else:
                good |= {row["id"]: row["total_tokens"] for row in rows}
        assert snapshot.fingerprint.rows == len(good) + len(bad)
    return good, bad


def test_all_rows_come_from_the_last_select_that_reads_the_day(filled: Store, clickhouse: ClickhouseServer) -> None:
    filled.add(2, START, tokens="twelve", modified_at=START)  # the same once more, as after a retry
    source = filled.source(MAPPING)
    clickhouse.queries()
    assert read(source) == ({uuid(1): 12, uuid(3): 3}, [uuid(2)])
    answered = [each for each in clickhouse.queries() if "`start_time out`" in each["sql"]]
    assert len(answered) == 1  # the first has failed
    source.close()


def at_the_end_of(monkeypatch: pytest.MonkeyPatch, store: Store, **row: Any) -> None:
    """Adds a row after the first search for failing ones."""
    find, rows = FailingPlaces.find, [row]

    def found(self: FailingPlaces, fields: list[str]) -> Failing:
        answer = find(self, fields)
        if rows:
            store.add(**rows.pop())
        return answer

    monkeypatch.setattr(FailingPlaces, "find", found)


def test_a_row_that_is_mended_meanwhile_is_exported(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = filled.source(MAPPING)
    at_the_end_of(monkeypatch, filled, number=2, start=START, tokens="7", modified_at=LATER)
    assert read(source) == ({uuid(1): 12, uuid(2): 7, uuid(3): 3}, [])
    source.close()


def test_a_row_that_breaks_meanwhile_is_rejected_too(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = filled.source(MAPPING)
    at_the_end_of(monkeypatch, filled, number=3, start=START, tokens="three", modified_at=LATER)
    assert read(source) == ({uuid(1): 12}, [uuid(2), uuid(3)])
    source.close()


def test_a_user_who_may_change_nothing_reads_around_them(filled: Store, clickhouse: ClickhouseServer) -> None:
    clickhouse.user("fixed", readonly="1")
    database = filled.url.rpartition("/")[2]
    filled.source(MAPPING).close()
    source = open_source(settings_for(clickhouse.url(database, user="fixed"), mapping=filled.folder / "mapping.yaml"))
    assert read(source) == ({uuid(1): 12, uuid(3): 3}, [uuid(2)])
    source.close()


def test_a_filter_on_the_field_fails_the_day(filled: Store) -> None:
    source = filled.source(MAPPING)
    assert read(source, filter=parse_filter('eq(run_type, "llm")')) == ({uuid(1): 12, uuid(3): 3}, [uuid(2)])
    with pytest.raises(SourceUnusableError, match=r"Cannot parse string 'twelve' as Int64.*source check tries the"):
        read(source, filter=parse_filter("gt(total_tokens, 5)"))
    source.close()


def test_an_expression_that_rows_are_chosen_by_fails_the_day(filled: Store) -> None:
    source = filled.source(MAPPING.replace("fields", "deleted: {sql: toInt64(tokens) = 0}, fields"))
    with pytest.raises(SourceUnusableError, match=r"Cannot parse string 'twelve' as Int64.*source check tries the"):
        read(source)
    source.close()


def test_a_value_that_fails_after_the_first_rows_fails_the_day_and_names_the_row(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a user may not have the expressions computed first, and the table is read in the order of its key."""
    filled.run("ALTER TABLE runs DELETE WHERE id = ? SETTINGS mutations_sync = 1", uuid(2))
    source, stream = filled.source(MAPPING), ClickhouseSession.stream

    def broken(self: ClickhouseSession, sql: str, *, fails_early: bool = False) -> Generator[pa.RecordBatch]:
        yield from stream(self, sql, fails_early=fails_early)
        if fails_early:
            filled.add(9, START, tokens="nine", modified_at=START)
            raise RefusedValueError("the trace store cannot be read: no number", code=6)

    monkeypatch.setattr(ClickhouseSession, "stream", broken)
    told = (
        r"cannot be read: no number; runs\.fields\.total_tokens of the mapping fails on rows such as the run "
        rf"{uuid(9)} at 2026-03-14T10:00:00\+00:00: write an expression that takes every value"
    )
    with pytest.raises(SourceUnusableError, match=told):
        read(source)
    source.close()

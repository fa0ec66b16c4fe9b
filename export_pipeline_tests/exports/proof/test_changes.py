"""Following an export: every commit once, in order, from a cursor on."""

import hashlib
import io
import uuid
from dataclasses import replace
from datetime import date, timedelta

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from export_pipeline.errors import InputError
from export_pipeline.exports.commit.transitions import FinishedCommit, append_commits
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import commits
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.exports.proof.changes import all_changes_since, changes_since, days_in_bucket
from export_pipeline.exports.proof.verify.export import NO_KEYS
from export_pipeline.runs.times import instant
from export_pipeline.settings import Settings
from export_pipeline_tests.exports.conftest import project
from export_pipeline_tests.exports.memory_source import MemorySource, rows_of_day
from export_pipeline_tests.exports.world import EMPTY, FIRST, LAST, PROJECT, ROWS, World

D = date(2026, 3, 1)


@pytest.fixture
def exports(control: ControlDatabase, settings: Settings, source: MemorySource) -> list[TableRecord]:
    """Two exports."""
    source.listed.append(project("other", 2))
    sync_projects(control, source, settings)
    return [standing_table(control, find_project(control, name), settings) for name in ("chatbot", "other")]


def commit(control: ControlDatabase, table: TableRecord, *offsets: int, rows: int = 3) -> None:
    with control.begin() as connection:
        found = {
            D + timedelta(days=offset): FinishedCommit(
                commit_id=uuid.uuid4(),
                epoch=1,
                rows=rows,
                bytes=rows * 10,
                key="a/file.parquet" if rows else None,
                manifest_key="a/manifest.json",
                manifest={},
                snapshot_at=1,
                fingerprint=None,
            )
            for offset in offsets
        }
        append_commits(connection, table.export_id, found, now=77)


def test_changes_come_in_order_and_only_once(control: ControlDatabase, exports: list[TableRecord]) -> None:
    one, other = exports
    assert changes_since(control, one.export_id) == ([], None)
    commit(control, one, 0, 1)
    commit(control, other, 5)
    commit(control, one, 0, rows=0)
    first, cursor = changes_since(control, one.export_id, limit=2)
    assert [(change.sequence, change.day) for change in first] == [(1, D), (2, D + timedelta(days=1))]
    assert [(change.superseded, change.uri) for change in first] == [
        (True, None),
        (False, "s3://traces/a/file.parquet"),
    ]
    assert first[0].manifest_uri == "s3://traces/a/manifest.json"
    assert (first[0].rows, first[0].bytes, first[0].committed_at) == (3, 30, instant(77))
    (last,), after = changes_since(control, one.export_id, cursor)
    assert (last.sequence, last.day, last.rows, last.uri) == (4, D, 0, None)
    assert changes_since(control, one.export_id, after) == ([], after)
    commit(control, one, 7)
    (newest,), _ = changes_since(control, one.export_id, after)
    assert newest.sequence == 5
    assert [change.sequence for change in changes_since(control, other.export_id)[0]] == [3]


@pytest.mark.parametrize("cursor", ["", "1", "x", "1-zzzzzzzz", "-1-00000000", "9" * 40 + "-00000000", "1-00000000 "])
def test_what_is_no_cursor_is_refused(control: ControlDatabase, exports: list[TableRecord], cursor: str) -> None:
    with pytest.raises(InputError, match="is not a cursor"):
        changes_since(control, exports[0].export_id, cursor)


def test_a_cursor_of_another_database_is_refused(control: ControlDatabase, exports: list[TableRecord]) -> None:
    commit(control, exports[0], 0, 1)
    _, cursor = changes_since(control, exports[0].export_id)
    with control.begin() as connection:
        connection.execute(sa.update(commits).values(commit_id=str(uuid.UUID(int=0))))
    with pytest.raises(InputError, match="begin anew without a cursor"):
        changes_since(control, exports[0].export_id, cursor)
    with pytest.raises(InputError, match="begin anew without a cursor"):
        changes_since(control, exports[0].export_id, "99-00000000")


def test_unknown_exports_and_limits_are_refused(control: ControlDatabase, exports: list[TableRecord]) -> None:
    with pytest.raises(InputError, match="unknown export 0000"):
        changes_since(control, uuid.UUID(int=0))
    for limit in (0, 10_001):
        with pytest.raises(InputError, match=f"a limit lies between 1 and 10000, not {limit}"):
            changes_since(control, exports[0].export_id, limit=limit)


@pytest.mark.slow
def test_a_day_that_was_exported_again_is_current_once_with_what_its_file_is(world: World) -> None:
    world.source.rows += rows_of_day(PROJECT, FIRST, 5)
    world.publish(FIRST)
    listed, cursor = changes_since(world.control, world.export.export_id)
    assert [change.sequence for change in listed] == [1, 2, 3, 4]
    first = {change.day: change for change in listed[:3]}  # small days are published side by side, in any order
    assert {day: (change.rows, change.superseded) for day, change in first.items()} == {
        FIRST: (ROWS, True),
        EMPTY: (0, False),
        LAST: (ROWS, False),
    }
    again = listed[3]
    assert (again.day, again.rows, again.superseded) == (FIRST, ROWS + 5, False)
    assert {day for day, change in first.items() if change.uri and change.sha256} == {LAST}
    current, after = changes_since(world.control, world.export.export_id, current=True)
    assert current == [change for change in listed if not change.superseded]
    assert after == cursor
    for change in (first[LAST], again):
        data = world.get(str(change.uri).removeprefix(f"s3://{world.settings.bucket}/"))
        assert (change.sha256, change.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        footer = pq.read_metadata(io.BytesIO(data)).metadata
        assert footer[b"export_pipeline.commit_id"].decode() == str(change.commit_id)
    one, after = changes_since(world.control, world.export.export_id, current=True, limit=1)
    assert one == current[:1]
    assert changes_since(world.control, world.export.export_id, after, current=True)[0] == current[1:]


@pytest.mark.slow
def test_the_bucket_alone_tells_the_same_days(world: World) -> None:
    world.source.rows = rows_of_day(PROJECT, FIRST, ROWS + 1)
    world.publish(FIRST)
    current, _ = changes_since(world.control, world.export.export_id, current=True)
    told = days_in_bucket(world.store, world.settings.prefix, keys=NO_KEYS)
    expected = sorted(current, key=lambda change: change.day)
    assert told == [
        replace(change, sequence=None, project=None, committed_at=decided.committed_at)
        for change, decided in zip(expected, told, strict=True)
    ]
    assert all(decided.committed_at <= change.committed_at for change, decided in zip(expected, told, strict=True))
    for wanted, days in ((world.export.export_id, told), (world.export.session_id, told), (uuid.UUID(int=9), [])):
        assert days_in_bucket(world.store, world.settings.prefix, keys=NO_KEYS, wanted=wanted) == days


def test_all_projects_are_followed_under_one_cursor(
    control: ControlDatabase, exports: list[TableRecord], settings: Settings
) -> None:
    one, other = exports
    commit(control, one, 0)
    commit(control, other, 0)
    first, cursor = all_changes_since(control, limit=1)
    commit(control, one, 1)
    rest, after = all_changes_since(control, cursor)
    assert [(change.project, change.sequence) for change in first + rest] == [
        ("chatbot", 1),
        ("other", 2),
        ("chatbot", 3),
    ]
    moved = settings.model_copy(update={"prefix": "elsewhere"})
    begun = standing_table(control, find_project(control, "other"), moved)
    commit(control, begun, 0)
    assert [change.export_id for change in all_changes_since(control, after)[0]] == [begun.export_id]
    assert other.export_id not in {change.export_id for change in all_changes_since(control)[0]}

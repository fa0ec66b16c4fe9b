"""Following an export: every commit once, in order, from a cursor on."""

import uuid
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from export_pipeline.errors import InputError
from export_pipeline.exports.commit.record import FinishedCommit, append_commits
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ExportRecord
from export_pipeline.exports.control.tables import commits
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.standing import standing_export
from export_pipeline.exports.proof.changes import changes_since
from export_pipeline.settings import Settings
from export_pipeline_tests.exports.outer.conftest import project
from export_pipeline_tests.exports.outer.stores import MemorySource

D = date(2026, 3, 1)


@pytest.fixture
def exports(control: ControlDatabase, settings: Settings, source: MemorySource) -> list[ExportRecord]:
    """Two exports."""
    source.listed.append(project("other", 2))
    sync_projects(control, source, settings)
    return [standing_export(control, find_project(control, name), settings) for name in ("chatbot", "other")]


def commit(control: ControlDatabase, export: ExportRecord, *offsets: int, rows: int = 3) -> None:
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
        append_commits(connection, export.export_id, found, now=77)


def test_changes_come_in_order_and_only_once(control: ControlDatabase, exports: list[ExportRecord]) -> None:
    one, other = exports
    assert changes_since(control, one.export_id) == ([], None)
    commit(control, one, 0, 1)
    commit(control, other, 5)
    commit(control, one, 0, rows=0)
    first, cursor = changes_since(control, one.export_id, limit=2)
    assert [(change.sequence, change.day) for change in first] == [(1, D), (2, D + timedelta(days=1))]
    assert first[0].uri == "s3://traces/a/file.parquet"
    assert first[0].manifest_uri == "s3://traces/a/manifest.json"
    assert (first[0].rows, first[0].bytes, first[0].committed_at) == (3, 30, 77)
    (last,), after = changes_since(control, one.export_id, cursor)
    assert (last.sequence, last.day, last.rows, last.uri) == (4, D, 0, None)
    assert changes_since(control, one.export_id, after) == ([], after)
    commit(control, one, 7)
    (newest,), _ = changes_since(control, one.export_id, after)
    assert newest.sequence == 5
    assert [change.sequence for change in changes_since(control, other.export_id)[0]] == [3]


@pytest.mark.parametrize("cursor", ["", "1", "x", "1-zzzzzzzz", "-1-00000000", "9" * 40 + "-00000000", "1-00000000 "])
def test_what_is_no_cursor_is_refused(control: ControlDatabase, exports: list[ExportRecord], cursor: str) -> None:
    with pytest.raises(InputError, match="is no cursor"):
        changes_since(control, exports[0].export_id, cursor)


def test_a_cursor_of_another_database_is_refused(control: ControlDatabase, exports: list[ExportRecord]) -> None:
    commit(control, exports[0], 0, 1)
    _, cursor = changes_since(control, exports[0].export_id)
    with control.begin() as connection:
        connection.execute(sa.update(commits).values(commit_id=str(uuid.UUID(int=0))))
    with pytest.raises(InputError, match="begin anew without a cursor"):
        changes_since(control, exports[0].export_id, cursor)
    with pytest.raises(InputError, match="begin anew without a cursor"):
        changes_since(control, exports[0].export_id, "99-00000000")


def test_unknown_exports_and_limits_are_refused(control: ControlDatabase, exports: list[ExportRecord]) -> None:
    with pytest.raises(InputError, match="unknown export 0000"):
        changes_since(control, uuid.UUID(int=0))
    for limit in (0, 10_001):
        with pytest.raises(InputError, match=f"a limit lies between 1 and 10000, not {limit}"):
            changes_since(control, exports[0].export_id, limit=limit)

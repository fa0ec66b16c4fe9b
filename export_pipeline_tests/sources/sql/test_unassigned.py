"""Rows that belong to no project: counted, named, and exported where a setting says so."""

from pathlib import Path

import pytest

from export_pipeline.runs.window import Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import UNASSIGNED, ProjectKey, UnassignedRows
from export_pipeline_tests.sources.stores import DAY, EVERYWHERE, OTHER, PROJECT, Store, ids_of

AT = "2026-03-14 10:00:00+00:00"
DELETED = "0190aaaa-0000-7000-8000-00000000000d"


def fill(store: Store) -> None:
    """3 rows of the project, 7 of none: 2 without an id, 4 of a deleted project, 1 of another, 1 is marked deleted."""
    store.runs({"is_deleted": "{flag}"})
    for number in (1, 2, 3):
        store.add(number, AT)
    for number in (4, 5):
        store.add(number, AT, session_id=None)
    for number in (6, 7, 8, 9):
        store.add(number, AT, session_id=DELETED)
    store.add(10, "2026-03-15 10:00:00+00:00", session_id=OTHER)
    store.add(11, AT, session_id=OTHER, is_deleted=True)


@EVERYWHERE
def test_they_are_counted_by_what_is_wrong_with_them(store: Store) -> None:
    fill(store)
    source = store.source()
    found = source.unassigned()
    assert found == UnassignedRows(7, without_id=2, unknown_ids=2, ids=((DELETED, 4), (OTHER, 1)))
    told = (
        "7 rows belong to no project: 2 without a project id; "
        f"5 of projects that the store does not list: '{DELETED}' (4), '{OTHER}' (1); they are not exported "
        "(EXPORT_PIPELINE_UNASSIGNED_PROJECT=name exports them as a project)"
    )
    assert told in source.check().warnings
    assert [project.key for project in source.projects()] == [PROJECT]
    source.close()


@EVERYWHERE
def test_they_are_a_project_of_their_own_where_the_settings_name_one(store: Store) -> None:
    fill(store)
    settings = load_settings(
        source_url=store.url, control_url="sqlite:///control.db", bucket="bucket", unassigned_project="orphans"
    )
    source = open_source(settings)
    assert [(project.key, project.name) for project in source.projects()][1:] == [(UNASSIGNED, "orphans")]
    assert ids_of(source, project=UNASSIGNED) == [4, 5, 6, 7, 8, 9]
    assert {day.day: each.rows for day, each in source.days(ProjectKey(UNASSIGNED)).items()} == {14: 6, 15: 1}
    assert source.outside(ProjectKey(UNASSIGNED), Window.of_day(DAY)).after == 1
    assert ids_of(source) == [1, 2, 3]
    assert any("they are exported as project 'orphans'" in warning for warning in source.check().warnings)
    source.close()


@EVERYWHERE
def test_versions_of_them_are_told_apart_by_their_unknown_projects(store: Store) -> None:
    store.runs({"modified_at": "{time}"})
    for project in (None, DELETED, OTHER):
        store.add(1, AT, session_id=project, modified_at="2026-03-20 00:00:00+00:00")
        store.add(1, AT, session_id=project, modified_at="2026-03-21 00:00:00+00:00")
    source = store.source()
    with source.open(ProjectKey(UNASSIGNED), Window.of_day(DAY)) as snapshot:
        assert (snapshot.fingerprint.rows, snapshot.fingerprint.superseded) == (3, 3)
    source.close()


@EVERYWHERE
@pytest.mark.parametrize("empty", [None, ""])
def test_rows_without_an_id_belong_to_no_project_that_is_taken_from_the_runs(store: Store, empty: str | None) -> None:
    store.table("runs", {"id": "TEXT", "session_id": "TEXT", "name": "TEXT", "run_type": "TEXT", "start_time": "TEXT"})
    store.add(1, AT, session_id="bot")
    store.add(2, AT, session_id=empty)
    source = store.source("projects: {from_runs: true}")
    assert [project.key for project in source.projects()] == ["bot"]
    assert source.unassigned() == UnassignedRows(1, without_id=1)
    assert ids_of(source, project=UNASSIGNED) == [2]
    source.close()


def test_of_many_unknown_projects_the_largest_are_named(sqlite_store: Store, tmp_path: Path) -> None:
    sqlite_store.runs()
    for project in range(20):
        for row in range(project + 1):
            sqlite_store.add(f"{project}/{row}", AT, session_id=f"p{project}")
    source = sqlite_store.source()
    found = source.unassigned()
    assert (found.rows, found.unknown_ids, found.without_id) == (210, 20, 0)
    assert found.ids == (("p19", 20), ("p18", 19), ("p17", 18), ("p16", 17), ("p15", 16))
    source.close()

"""What lies in the bucket compared with plain SQL, for trace stores in which rows used to be lost without a word."""

from datetime import date

import dagster as dg
import pytest

from export_pipeline.exports.projects.unassigned import unassigned_rows
from export_pipeline.exports.watch.notices import due_notices
from export_pipeline.orchestration.asset_checks import UNASSIGNED_CHECK
from export_pipeline.sources.factory import open_source
from export_pipeline.sources.protocol import UnassignedRows
from export_pipeline_tests.orchestration.house import House, materialize
from export_pipeline_tests.orchestration.ways import WAYS, Way, asked, house_over, synced
from export_pipeline_tests.sources.stores import OTHER, PROJECT, Store

pytestmark = pytest.mark.slow

FIRST = date(2026, 3, 13)
DAYS = 3
OLD, NEW = "2026-03-20 00:00:00+00:00", "2026-03-21 00:00:00+00:00"
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@ways
def test_rows_of_another_project_with_the_same_ids_take_nothing_away(
    house: House,
    store: Store,
    instance: dg.DagsterInstance,
    way: Way,
) -> None:
    store.projects(PROJECT, OTHER)
    columns = {"id": "{uuid}", "session_id": "{uuid}", "name": "TEXT", "run_type": "TEXT", "start_time": "{time}"}
    store.table("runs", {**columns, "modified_at": "{time}"}, extra=", PRIMARY KEY (session_id, id)")
    for number in range(5):
        store.add(number, f"2026-03-1{3 + number % 3} 10:00:00+00:00", modified_at=OLD)
    for number in (0, 1, 2):
        store.add(number, "2026-03-14 10:00:00+00:00", modified_at=NEW, session_id=OTHER)
    house_over(house, store)
    synced(house)
    exported = way(house, instance, "project 0", FIRST, DAYS)
    assert exported.ids == sorted(asked(store, f"SELECT id FROM runs WHERE session_id = '{PROJECT}'"))
    assert [manifest.superseded for manifest in exported.manifests] == [0, 0, 0]


@ways
def test_rows_in_are_those_written_rejected_and_superseded(
    house: House,
    store: Store,
    instance: dg.DagsterInstance,
    way: Way,
) -> None:
    store.runs({"modified_at": "{time}", "total_cost": "TEXT"})
    for number in range(6):
        store.add(number, "2026-03-14 10:00:00+00:00", modified_at=OLD, total_cost="1.5")
    for number in (0, 1):
        store.add(number, "2026-03-14 11:00:00+00:00", modified_at=NEW, total_cost="1.5")
    store.add(2, "2026-03-15 10:00:00+00:00", modified_at=NEW, total_cost="NaN")
    store.add(0, "2026-03-13 10:00:00+00:00", modified_at=OLD, total_cost="1.5")
    house_over(house, store)
    synced(house)
    exported = way(house, instance, "project 0", FIRST, DAYS)
    found = {
        str(each.day): (each.rows_source, each.rows, each.rejected.count, each.superseded)
        for each in exported.manifests
    }
    assert found == {"2026-03-13": (1, 0, 0, 1), "2026-03-14": (8, 5, 0, 3), "2026-03-15": (1, 0, 1, 0)}
    for day, (rows, *_) in found.items():
        assert asked(store, f"SELECT count(*) FROM runs WHERE CAST(start_time AS TEXT) LIKE '{day}%'") == [str(rows)]
    newest = "SELECT max(CAST(modified_at AS TEXT)) FROM runs AS v WHERE v.id = r.id"
    kept = f"SELECT r.id FROM runs AS r WHERE CAST(r.modified_at AS TEXT) = ({newest}) AND r.total_cost <> 'NaN'"
    assert exported.ids == sorted(asked(store, kept))


def add_rows_of_no_project(store: Store) -> None:
    """3 rows of a project, 7 of none."""
    store.runs()
    for number in (1, 2, 3):
        store.add(number, "2026-03-14 10:00:00+00:00")
    for number in range(4, 11):
        store.add(number, f"2026-03-1{3 + number % 3} 10:00:00+00:00", session_id=None if number % 2 else OTHER)


@ways
def test_rows_of_no_project_are_exported_as_the_project_that_a_setting_names(
    house: House,
    store: Store,
    instance: dg.DagsterInstance,
    way: Way,
) -> None:
    add_rows_of_no_project(store)
    house_over(house, store, unassigned_project="orphans")
    synced(house)
    exported = way(house, instance, "orphans", FIRST, DAYS)
    nobodys = f"SELECT id FROM runs WHERE session_id IS NULL OR session_id <> '{PROJECT}'"
    assert exported.ids == sorted(asked(store, nobodys))
    assert len(exported.ids) == 7


def test_rows_of_no_project_are_told_of_by_the_sync_a_notice_and_an_asset_check(
    house: House,
    store: Store,
    instance: dg.DagsterInstance,
) -> None:
    add_rows_of_no_project(store)
    house_over(house, store)
    report = synced(house)
    counted = UnassignedRows(7, without_id=3, unknown_ids=1, ids=((OTHER, 4),))
    assert report.unassigned == counted
    (notice,) = [found for found in due_notices(house.control, limit=10, oldest=0) if found.kind == "rows.unassigned"]
    assert notice.text.startswith("7 rows belong to no project: 3 without a project id; 4 of projects that the store")
    synced(house)
    assert len(due_notices(house.control, limit=10, oldest=0)) == 1
    result = materialize(house.definitions(), instance, "project_0", first=FIRST, last=FIRST)
    (check,) = [found for found in result.get_asset_check_evaluations() if found.check_name == UNASSIGNED_CHECK]
    assert not check.passed
    assert check.description is not None
    assert check.description.startswith("7 rows belong to no project")
    store.run("DELETE FROM runs")
    source = open_source(house.settings)
    assert unassigned_rows(house.control, source, house.settings) == counted
    source.close()

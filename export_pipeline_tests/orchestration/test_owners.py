"""A tenant who writes into the trace store tries to get at a neighbour's rows: played from the store to the bucket."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.projects.registry import list_projects
from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.orchestration.ways import WAYS, Way, house_over, synced
from export_pipeline_tests.sources.stores import BASIC, PROJECT, Store

pytestmark = pytest.mark.slow

A = "aaaaaaaa-0000-4000-8000-00000000000a"
B = "bbbbbbbb-0000-4000-8000-00000000000b"
FIRST = date(2026, 3, 13)
DAYS = 2
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def known(house: House) -> dict[str, ProjectRecord]:
    """The projects by their workspace."""
    return {
        str(each.tenant_id): each for each in list_projects(house.control, only_assets=False, settings=house.settings)
    }


def exported(house: House, instance: dg.DagsterInstance, way: Way, tenant: str) -> dict[str, list[int]]:
    """Exports the workspace's project; the numbers of the runs in the bucket, by the workspace of their path."""
    house_over_tenant(house, tenant)
    found = way(house, instance, known(house)[tenant].asset_name, FIRST, DAYS).rows
    numbers: dict[str, list[int]] = {}
    if found.is_empty():
        return numbers
    for id_, owner in sorted(zip(found["id"].to_list(), found["tenant_id"].to_list(), strict=True)):
        numbers.setdefault(owner, []).append(int(id_[-12:], 16))
    return numbers


def house_over_tenant(house: House, tenant: str) -> None:
    """Bulk exports are asked for in this workspace."""
    house.variables["EXPORT_PIPELINE_TENANT_ID"] = tenant


def victims_tables(store: Store, **columns: str) -> None:
    """A's project in a table of projects; `columns` are the runs' beside the usual ones, or of another type."""
    kinds = {**BASIC, **columns}
    store.table("sessions", {"id": kinds["session_id"], "name": "TEXT", "tenant_id": "TEXT"})
    store.insert("sessions", id=PROJECT, name="chatbot", tenant_id=A)
    store.table("runs", kinds)


def victims_rows(store: Store) -> None:
    """Three rows of A's project, on two days."""
    for number in (1, 2, 3):
        store.add(number, f"2026-03-1{3 + number % 2} 10:00:00+00:00", tenant_id=A)


@ways
def test_one_row_moves_no_project_that_is_taken_from_the_runs(
    house: House, store: Store, instance: dg.DagsterInstance, way: Way, tmp_path: Path
) -> None:
    mapping = tmp_path / "from_runs.yaml"
    mapping.write_text("projects: {from_runs: true}\n")
    store.table("runs", {**BASIC, "tenant_id": "TEXT"})
    victims_rows(store)
    house_over(house, store, mapping=str(mapping), tenant_id=A)
    synced(house)
    store.add(4, "2026-03-14 11:00:00+00:00", tenant_id=B)
    synced(house)
    assert exported(house, instance, way, B) == {B: [4]}
    assert exported(house, instance, way, A) == {A: [1, 2, 3], B: [4]}


@ways
def test_a_session_that_names_another_workspace_now_takes_no_row_along(
    house: House, store: Store, instance: dg.DagsterInstance, way: Way
) -> None:
    victims_tables(store, tenant_id="TEXT")
    victims_rows(store)
    store.add(5, "2026-03-14 10:00:00+00:00", tenant_id=None)
    house_over(house, store, tenant_id=A)
    synced(house)
    store.run(f"UPDATE sessions SET tenant_id = '{B}'")
    store.add(4, "2026-03-14 11:00:00+00:00", tenant_id=B)
    report = synced(house)
    assert [warning.startswith(f"workspace {B} claims 'chatbot'") for warning in report.warnings] == [True]
    assert exported(house, instance, way, B) == {B: [4]}
    assert exported(house, instance, way, A) == {A: [1, 2, 3, 5], B: [4]}


@ways
def test_a_second_session_of_the_same_id_has_no_rows_where_runs_name_no_workspace(
    house: House, store: Store, instance: dg.DagsterInstance, way: Way
) -> None:
    victims_tables(store)
    for number in (1, 2, 3):
        store.add(number, f"2026-03-1{3 + number % 2} 10:00:00+00:00")
    house_over(house, store, tenant_id=A)
    synced(house)
    store.insert("sessions", id=PROJECT, name="chatbot", tenant_id=B)
    synced(house)
    assert exported(house, instance, way, B) == {}
    assert exported(house, instance, way, A) == {A: [1, 2, 3]}


@ways
def test_an_id_in_another_spelling_is_a_project_of_its_own(
    house: House, store: Store, instance: dg.DagsterInstance, way: Way
) -> None:
    victims_tables(store, session_id="TEXT")
    for number in (1, 2, 3):
        store.add(number, f"2026-03-1{3 + number % 2} 10:00:00+00:00")
    house_over(house, store, tenant_id=A)
    synced(house)
    store.insert("sessions", id=PROJECT.upper(), name="chatbot", tenant_id=B)
    store.add(4, "2026-03-14 11:00:00+00:00", session_id=PROJECT.upper())
    synced(house)
    assert exported(house, instance, way, B) == {B: [4]}
    assert exported(house, instance, way, A) == {A: [1, 2, 3], B: [4]}

"""Rows that cannot be exported are told of, with reason and count, wherever their day is shown."""

import json
from datetime import date
from typing import Any

import dagster as dg
import pytest

from export_pipeline.api.export_answers import export_answer, run_answer
from export_pipeline.cli import exports_output
from export_pipeline.cli.status import _rejected
from export_pipeline.exports.bulk.read import progress_of, run_details
from export_pipeline.exports.projects.registry import find_project
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.exports.proof.verify.export import verify_export
from export_pipeline.exports.watch.notices import due_notices
from export_pipeline.exports.watch.rejected import note_rejected
from export_pipeline.orchestration.asset_checks import REJECTED_CHECK
from export_pipeline.orchestration.resources import Connections
from export_pipeline.settings import PREFIX
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.house import House, materialize, materialized
from export_pipeline_tests.orchestration.ways import house_over, synced
from export_pipeline_tests.sources.stores import PROJECT, Store

pytestmark = pytest.mark.slow

FIRST, LAST = date(2026, 3, 13), date(2026, 3, 14)
REASON = "total_cost: not a number"


@pytest.fixture
def spoilt(house: House, store: Store) -> House:
    """Two days of 30 rows each; 3 of the first day have a cost of NaN, and 12 of the second."""
    store.projects(PROJECT)
    columns = {"id": "{uuid}", "session_id": "{uuid}", "name": "TEXT", "run_type": "TEXT", "start_time": "{time}"}
    store.table("runs", {**columns, "total_cost": "TEXT"}, extra=", PRIMARY KEY (session_id, id)")
    for number in range(60):
        bad = number < 3 or number >= 48
        at = f"2026-03-1{3 + number // 30} 10:00:{number % 30:02}+00:00"
        store.add(number, at, total_cost="NaN" if bad else "0.5")
    house_over(house, store)
    synced(house)
    return house


def status_of(house: House) -> tuple[Any, ...]:
    return tuple(_rejected(house.settings))


def test_rejected_rows_of_an_asset_are_in_its_metadata_its_check_the_status_and_a_notice(
    spoilt: House, instance: dg.DagsterInstance
) -> None:
    name = find_project(spoilt.control, "project 0").asset_name
    assert status_of(spoilt) == (True, "none", False)
    result = materialize(spoilt.definitions(), instance, name, first=FIRST, last=LAST)
    assert result.success

    days = materialized(instance, name)
    assert [(found["dagster/partition_row_count"], found["rejected_rows"]) for _, found in sorted(days.items())] == [
        (27, 3),
        (18, 12),
    ]
    assert days[str(LAST)]["rejected_rows_by_reason"] == {REASON: 12}
    tables = [[record.data for record in found["first_rejected_rows"].records] for _, found in sorted(days.items())]
    assert [len(table) for table in tables] == [3, 10]
    assert {row["reason"] for table in tables for row in table} == {REASON}
    assert [str(row["start_time"])[11:19] for row in tables[0]] == ["10:00:00", "10:00:01", "10:00:02"]

    (check,) = (found for found in result.get_asset_check_evaluations() if found.check_name == REJECTED_CHECK)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert check.description == f"2 days: 15 rows rejected: {REASON} (15)"
    assert check.metadata["rows_rejected"].value == 15
    assert status_of(spoilt) == (True, f"project 0: 15 rows rejected: {REASON} (15); newest day {LAST}", True)

    assert [note_rejected(spoilt.control, spoilt.settings) for _ in range(2)] == [[name], [name]]
    (notice,) = (each for each in due_notices(spoilt.control, limit=9, oldest=0) if each.kind == "rows.rejected")
    assert notice.text == f"2 days of runs/{name}, the newest {LAST}: 15 rows rejected: {REASON} (15)"
    assert notice.detail["days"] == {str(FIRST): {REASON: 3}, str(LAST): {REASON: 12}}


def test_rejected_rows_below_the_limit_are_shown_and_no_alarm(spoilt: House, instance: dg.DagsterInstance) -> None:
    spoilt.variables[PREFIX + "MAX_REJECTED_ROWS"] = "12"
    name = find_project(spoilt.control, "project 0").asset_name
    result = materialize(spoilt.definitions(), instance, name, first=FIRST, last=LAST)
    (check,) = (found for found in result.get_asset_check_evaluations() if found.check_name == REJECTED_CHECK)
    assert (check.passed, check.metadata["rows_rejected"].value) == (True, 15)
    assert (status_of(spoilt), note_rejected(spoilt.control, spoilt.settings)) == ((True, "none", False), [])


def test_verify_names_rejected_rows_by_day_and_finds_nothing_wrong(spoilt: House, instance: dg.DagsterInstance) -> None:
    project = find_project(spoilt.control, "project 0")
    materialize(spoilt.definitions(), instance, project.asset_name, first=FIRST, last=LAST)
    connections = Connections(settings=spoilt.settings)
    export = standing_table(connections.control, project, connections.settings)
    report = verify_export(
        export, store=connections.store, control=connections.control, source=connections.source, deep=True
    )
    assert (report.problems, report.counts.rows, report.counts.rejected) == ((), 45, 15)
    assert report.rejected == {str(FIRST): {REASON: 3}, str(LAST): {REASON: 12}}


def test_a_bulk_export_that_lacks_rows_says_so_wherever_it_is_shown(
    spoilt: House, instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
) -> None:
    bulk = BulkHouse(spoilt)
    asked = bulk.ask(str(find_project(spoilt.control, "project 0").session_id), first=FIRST, days=2)
    bulk.work_off(instance)
    export, units = bulk.export(asked.id), bulk.units(asked.id)
    told = f"15 rows rejected: {REASON} (15)"
    assert (export.status, export.warning) == ("Completed", told)
    assert [(unit.rows, unit.rows_rejected, unit.rejected) for unit in units] == [
        (27, 3, {REASON: 3}),
        (18, 12, {REASON: 12}),
    ]
    (notice,) = (each for each in due_notices(bulk.control, limit=9, oldest=0) if each.kind == "export.completed")
    assert notice.text == f"export {export.id} is complete: {told}"
    assert (notice.detail["rows_rejected"], notice.detail["warning"]) == (15, told)

    progress = progress_of(bulk.control, export.id, tenant_id=bulk.tenant)
    answer = export_answer(export, progress)
    assert answer.progress is not None
    assert (answer.status, answer.warning) == ("Completed", told)
    far = answer.progress
    assert (far.rows_planned, far.rows_written, far.rows_rejected, far.rejected) == (60, 45, 15, {REASON: 15})
    results = [run_answer(each).metadata.result for each in run_details(bulk.control, units)]
    assert [result and (result.rows_written, result.rows_rejected, result.rejected) for result in results] == [
        (27, 3, {REASON: 3}),
        (18, 12, {REASON: 12}),
    ]

    exports_output.export(export, progress, as_json=False)
    exports_output.units_table(units)
    exports_output.exports_table([export])
    shown = capsys.readouterr().out
    assert [shown.count(text) for text in ("45 of 60 that were counted", told, f"12 rows rejected: {REASON}")] == [
        1,
        3,
        1,
    ]
    exports_output.export(export, progress, as_json=True)
    assert json.loads(capsys.readouterr().out)["progress"]["rejected"] == {REASON: 15}

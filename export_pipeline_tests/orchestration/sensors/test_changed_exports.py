"""Exports of schedules that follow late changes, through the sensors and the job on an instance in memory."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from export_pipeline.errors import PermanentError, SourceSlowError, SourceUnusableError
from export_pipeline.exports.access.audit import read_audit
from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.changed import follow_changes
from export_pipeline.exports.bulk.read import list_bulk_exports
from export_pipeline.exports.bulk.records import BulkExport
from export_pipeline.exports.bulk.retry import retry_failed
from export_pipeline.exports.bulk.worker import Retries, record_results
from export_pipeline.exports.control.tables import bulk_exports, exports
from export_pipeline.exports.watch.notices import Notice, due_notices
from export_pipeline.settings import PREFIX
from export_pipeline_tests.clock import today
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.house import House

pytestmark = pytest.mark.slow

DAY = today() - timedelta(days=2)
HOUR = 3600 * 1_000_000


@pytest.fixture
def bulk(house: House, monkeypatch: pytest.MonkeyPatch) -> BulkHouse:
    """A house with a destination, in which the child of `DAY` is due since six hours ago, the next one in eighteen."""
    made = BulkHouse(house)
    end = datetime.combine(DAY + timedelta(days=1), time(), UTC)
    since_then = made.control.now() - int(end.timestamp()) * 1_000_000
    monkeypatch.setattr("export_pipeline.exports.bulk.schedules.DELAY", since_then - 6 * HOUR)
    return made


def schedule(bulk: BulkHouse, project: str, **changes: Any) -> BulkExport:
    """A daily schedule from two days ago on, whose one child is due."""
    values = {"start": datetime.combine(DAY, time(), UTC), "end": None, "interval_hours": 24, "reexport_late": True}
    return bulk.ask(project, **{**values, **changes})


def children(bulk: BulkHouse) -> list[BulkExport]:
    """What schedules have spawned, oldest window first."""
    found = list_bulk_exports(bulk.control, tenant_id=bulk.tenant)
    return sorted((each for each in found if each.source_id), key=lambda each: each.start_at)


def exported(bulk: BulkHouse, instance: dg.DagsterInstance, **changes: Any) -> tuple[str, BulkExport, BulkExport]:
    """A project, its schedule and the child of the day, Completed."""
    project = bulk.house.add_project("chatbot", days=[DAY], runs=4)
    bulk.house.sync()
    made = schedule(bulk, project, **changes)
    bulk.work_off(instance)
    (child,) = children(bulk)
    assert child.status == "Completed"
    return project, made, child


def look(bulk: BulkHouse) -> list[str]:
    """Why days were put back to work."""
    return follow_changes(bulk.control, bulk.connections.source, late_days=14).reopened


def told_of(bulk: BulkHouse, export: BulkExport) -> list[Notice]:
    """The notices about an export, oldest first."""
    notices = due_notices(bulk.control, limit=99, oldest=0)
    return [notice for notice in notices if notice.detail.get("export_id") == str(export.id)]


def test_an_export_that_was_retried_by_hand_after_late_days_failed_is_complete_and_not_complete_again(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project, _, child = exported(bulk, instance)
    bulk.house.add_runs(project, DAY, runs=2)
    assert len(look(bulk)) == 1
    (unit,) = bulk.units(child.id)
    record_results(bulk.control, child.id, [(unit, PermanentError("no"))], retries=Retries(most=0, seconds=0))
    retry_failed(bulk.control, child.id, tenant_id=bulk.tenant, settings=bulk.connections.settings, actor="cli")
    assert bulk.work_off(instance) == 1
    _, failed, done = told_of(bulk, child)
    assert (failed.kind, failed.detail["late_days"]) == ("export.failed", [str(DAY)])
    assert done.text == f"export {child.id} is complete"


def test_a_late_row_puts_its_day_back_to_work_and_nothing_else(bulk: BulkHouse, instance: dg.DagsterInstance) -> None:
    project, _, child = exported(bulk, instance)
    assert look(bulk) == []
    bulk.house.add_runs(project, DAY, runs=2)
    (said,) = look(bulk)
    assert said.startswith(f"1 day of export {child.id}: 2 rows more since ")
    assert look(bulk) == [], "it is under way"
    assert bulk.export(child.id).status == "Created"
    assert bulk.work_off(instance) == 1
    done = bulk.export(child.id)
    assert (done.status, [unit.rows for unit in bulk.units(child.id)]) == ("Completed", [6])
    assert look(bulk) == []
    first, again = told_of(bulk, child)
    assert first.text == f"export {child.id} is complete"
    assert again.text.startswith(f"export {child.id} is complete again: 1 day changed (2 rows more since ")
    assert (first.detail.get("late_days"), again.detail["late_days"]) == (None, [str(DAY)])
    record = read_audit(bulk.control, tenant_id=bulk.tenant, subject=child.id)
    assert [each.action for each in record] == ["export.late", "export.create"]


def test_an_export_whose_filter_cannot_be_read_is_told_of_and_keeps_no_other_one_from_being_looked_at(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project, _, child = exported(bulk, instance)
    schedule(bulk, project, filter='eq(name, "a")')
    bulk.work_off(instance)
    poisoned = next(each for each in children(bulk) if each.id != child.id)
    with bulk.control.begin() as connection:
        table = sa.update(exports).where(exports.c.bulk_id == str(poisoned.id))
        connection.execute(table.values(filter="eq(no_such_field, 1)"))
    bulk.house.add_runs(project, DAY, runs=2)
    found = follow_changes(bulk.control, bulk.connections.source, late_days=14)
    (failed,), (reopened,) = found.failed, found.reopened
    assert failed.startswith(f"export {poisoned.id} could not be looked at: filter, character 4: no_such_field")
    assert reopened.startswith(f"1 day of export {child.id}: 2 rows more since ")
    assert (found.looked_at, found.cursor) == (1, "")


def test_an_export_whose_filter_is_slow_keeps_no_other_one_from_being_looked_at(
    bulk: BulkHouse, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, _, child = exported(bulk, instance)
    schedule(bulk, project, filter='eq(name, "run 1")')
    bulk.work_off(instance)
    slow = next(each for each in children(bulk) if each.id != child.id)
    source = bulk.connections.source
    ask = source.days

    def days(*arguments: Any, **options: Any) -> Any:
        if options["filter"] is None:
            return ask(*arguments, **options)
        raise SourceSlowError(f"took more than {options['seconds']:g} seconds")

    monkeypatch.setattr(source, "days", days)
    bulk.house.add_runs(project, DAY, runs=2)
    found = follow_changes(bulk.control, source, late_days=14)
    (reopened,) = found.reopened
    assert found.failed == [f"export {slow.id} could not be looked at: took more than 10 seconds"]
    assert reopened.startswith(f"1 day of export {child.id}: 2 rows more since ")
    assert (found.looked_at, found.cursor) == (1, "")


def test_rows_that_are_gone_are_told_of_and_the_file_is_kept(bulk: BulkHouse, instance: dg.DagsterInstance) -> None:
    project, _, child = exported(bulk, instance)
    files = bulk.house.data_files()
    bulk.house.delete_runs(project, DAY)
    assert look(bulk) == look(bulk) == []
    assert bulk.work_off(instance) == 0
    assert bulk.house.data_files() == files
    told = [notice for notice in due_notices(bulk.control, limit=99, oldest=0) if notice.kind == "days.shrunk"]
    assert [notice.text for notice in told] == [
        f"the trace store lacks 4 rows of {DAY} of export {child.id} that are committed; the files are kept"
    ]


def test_schedules_that_did_not_ask_for_it_and_cancelled_ones_are_left_alone(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project, made, _ = exported(bulk, instance, reexport_late=False)
    bulk.house.add_runs(project, DAY)
    assert look(bulk) == []
    with bulk.control.begin() as connection:
        connection.execute(sa.update(bulk_exports).values(reexport_late=True))
    cancel_bulk_export(bulk.control, made.id, tenant_id=bulk.tenant, actor="cli")
    assert look(bulk) == []


def test_the_ends_of_exports_are_told_of(bulk: BulkHouse, instance: dg.DagsterInstance) -> None:
    _, made, child = exported(bulk, instance)
    (told,) = due_notices(bulk.control, limit=9, oldest=0)
    detail = told.detail
    assert (told.kind, detail["export_id"], detail["source_id"]) == ("export.completed", str(child.id), str(made.id))
    assert (detail["days"], detail["failed_days"]) == (1, 0)


def test_a_window_whose_export_began_late_was_missed_unless_the_schedule_is_younger(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project = bulk.house.add_project("chatbot", days=[DAY])
    bulk.house.sync()
    made = schedule(bulk, project)
    long_ago = made.created_at - 7 * 24 * 3600 * 1_000_000
    with bulk.control.begin() as connection:
        connection.execute(sa.update(bulk_exports).values(created_at=long_ago))
    bulk.work_off(instance)
    missed = [each for each in due_notices(bulk.control, limit=9, oldest=0) if each.kind == "schedule.missed"]
    assert missed[0].detail["start"] == f"{DAY}T00:00:00+00:00"
    assert "hours late: the Dagster daemon was not running" in missed[0].text


def test_the_sensor_says_what_it_found_and_fails_where_the_store_cannot_be_read(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project, _, _ = exported(bulk, instance)

    def tick() -> str:
        definitions = bulk.house.definitions(projects=[], start=None)
        sensor = definitions.resolve_sensor_def("late_exports")
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        resources = dict(definitions.resources or {})
        with dg.build_sensor_context(instance=instance, resources=resources) as context:
            return sensor.evaluate_tick(context).skip_message or ""

    assert tick() == "nothing new in 1 projects of schedules' exports"
    bulk.house.add_runs(project, DAY)
    assert "3 rows more since" in tick()
    bulk.work_off(instance)
    bulk.house.lose_the_trace_store()
    with pytest.raises(SourceUnusableError):
        tick()
    bulk.house.variables[PREFIX + "LATE_DAYS"] = "0"
    assert tick() == "EXPORT_PIPELINE_LATE_DAYS is 0: late rows are not looked for"

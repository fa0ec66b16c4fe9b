"""Bulk exports through the sensor and the job, on an instance in memory."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.test_utils import create_run_for_test

from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.read import progress_of
from export_pipeline.exports.bulk.retry import retry_failed
from export_pipeline.exports.control.tables import days
from export_pipeline.orchestration.jobs import BULK_EXPORT
from export_pipeline.settings import PREFIX
from export_pipeline_tests.exports.bulk.workers import killed_at
from export_pipeline_tests.orchestration.bulk_house import BulkHouse, tags_of
from export_pipeline_tests.orchestration.house import START, House

pytestmark = pytest.mark.slow

DAYS = [START + timedelta(days=offset) for offset in range(3)]


@pytest.fixture
def bulk(house: House) -> BulkHouse:
    """A house with a destination."""
    return BulkHouse(house)


def test_an_export_is_published_in_one_run_and_completed_by_its_worker(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project = bulk.house.add_project("chatbot", days=[DAYS[0], DAYS[2]], runs=4)
    bulk.house.sync()
    export = bulk.ask(project, days=3)
    (request,) = bulk.tick(instance)
    assert bulk.work(instance, request).success
    done = bulk.export(export.id)
    assert (done.status, done.error) == ("Completed", None)
    assert done.started_at is not None
    assert done.finished_at is not None
    units = bulk.units(export.id)
    assert [(unit.status, unit.rows, unit.planned_rows) for unit in units] == [
        ("Completed", 4, 4),
        ("Completed", 0, 0),
        ("Completed", 4, 4),
    ]
    files = [key for key in bulk.house.data_files() if key.startswith(f"lake/export_id={export.id}/")]
    assert files == [unit.key for unit in units if unit.key is not None]
    assert len(files) == 2
    progress = progress_of(bulk.control, export.id, tenant_id=bulk.tenant)
    assert (progress.percent, progress.days_done, progress.rows_written, progress.rows_planned) == (100.0, 3, 8, 8)
    assert bulk.skip_reason(instance) == "no export waits"


def test_a_cancelled_export_starts_nothing_and_its_queued_run_does_nothing(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project = bulk.house.add_project("chatbot", days=DAYS)
    bulk.house.sync()
    export = bulk.ask(project, days=3)
    (request,) = bulk.tick(instance)
    cancel_bulk_export(bulk.control, export.id, tenant_id=bulk.tenant, actor="cli")
    assert bulk.work(instance, request).success
    assert bulk.house.data_files() == []
    assert {unit.status for unit in bulk.units(export.id)} == {"Cancelled"}
    assert bulk.skip_reason(instance) == "no export waits"


@pytest.mark.parametrize(
    ("filter_", "planned"),
    [('like(name, "run 1%")', [1, 0, 3]), ('and(like(name, "run 1%"), neq(input_key, "a"))', [-4, 0, -12])],
)
def test_rows_are_counted_with_a_quick_filter_and_days_without_a_match_are_completed(
    bulk: BulkHouse, instance: dg.DagsterInstance, filter_: str, planned: list[int]
) -> None:
    project = bulk.house.add_project("chatbot", days=[DAYS[0]], runs=4)
    bulk.house.add_runs(project, DAYS[2], runs=12)
    bulk.house.sync()
    export = bulk.ask(project, days=3, filter=filter_)
    bulk.tick(instance)
    assert [unit.planned_rows for unit in bulk.units(export.id)] == planned
    assert bulk.work_off(instance) == 1
    assert [(unit.status, unit.rows) for unit in bulk.units(export.id)] == [
        ("Completed", 1),
        ("Completed", 0),
        ("Completed", 3),
    ]


def test_a_source_that_is_down_keeps_an_export_waiting_and_says_so(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project = bulk.house.add_project("chatbot", days=DAYS)
    bulk.house.sync()
    bulk.house.lose_the_trace_store()
    export = bulk.ask(project, days=3)
    assert "rows cannot be counted" in bulk.skip_reason(instance)
    assert bulk.export(export.id).status == "Created"
    bulk.house.bring_the_trace_store_back()
    assert bulk.work_off(instance) == 1
    assert bulk.export(export.id).status == "Completed"


def test_a_bucket_that_is_gone_fails_the_export_at_once_and_a_retry_by_hand_finishes_it(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project = bulk.house.add_project("chatbot", days=DAYS)
    bulk.house.sync()
    export = bulk.ask(project, days=3)
    client = bulk.house.server.client()
    keys = bulk.house.keys()
    for key in keys:
        client.delete_object(Bucket=bulk.house.bucket, Key=key)
    client.delete_bucket(Bucket=bulk.house.bucket)
    assert bulk.work_off(instance) == 1
    failed = bulk.export(export.id)
    assert failed.status == "Failed"
    assert failed.error is not None
    assert "3 of 3 days are not exported" in failed.error
    assert [list(unit.errors) for unit in bulk.units(export.id)] == [["retry_0"]] * 3
    client.create_bucket(Bucket=bulk.house.bucket)
    retry_failed(bulk.control, export.id, tenant_id=bulk.tenant, settings=bulk.connections.settings, actor="cli")
    assert bulk.work_off(instance) == 1
    assert bulk.export(export.id).status == "Completed"
    assert len(bulk.house.data_files()) == 3


def test_a_window_of_a_schedule_is_spawned_and_exported_as_it_is(bulk: BulkHouse, instance: dg.DagsterInstance) -> None:
    project = bulk.house.add_project("chatbot", days=DAYS)
    bulk.house.sync()
    begun = datetime.now(UTC) - timedelta(hours=24, minutes=11)
    schedule = bulk.ask(project, start=begun, end=None, interval_hours=24)
    assert bulk.work_off(instance) == 1
    (child,) = [export for export in bulk.exports() if export.source_id == schedule.id]
    assert (child.status, child.start_at, child.created_by) == ("Completed", schedule.start_at, "schedule")
    assert bulk.export(schedule.id).status == "IntervalScheduled"
    assert bulk.work_off(instance) == 0


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_days_of_a_run_that_ended_before_it_began_are_started_anew(
    bulk: BulkHouse, instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    project = bulk.house.add_project("chatbot", days=DAYS)
    bulk.house.sync()
    export = bulk.ask(project, days=3)
    (request,) = bulk.tick(instance)
    job = bulk.definitions.get_job_def(BULK_EXPORT)
    run = instance.create_run_for_job(job, run_config=request.run_config, tags=tags_of(request), status=status)
    for _ in range(250):  # however many runs of the export have ended since
        create_run_for_test(instance, job_name=BULK_EXPORT, status=status, tags=dict(request.tags))
    assert bulk.tick(instance) == []
    assert {(unit.attempt, *unit.errors.values()) for unit in bulk.units(export.id)} == {
        (1, f"the Dagster run {run.run_id} ended as {status.value} before this day was done")
    }
    (again,) = bulk.tick(instance)
    assert again.run_key != request.run_key
    assert bulk.work(instance, again).success
    assert bulk.export(export.id).status == "Completed"


@pytest.mark.slow
def test_what_a_dead_worker_left_of_a_cancelled_export_is_cleaned_up_by_a_run_of_its_own(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project = bulk.house.add_project("chatbot", days=DAYS[:1])
    bulk.house.sync()
    export = bulk.ask(project)
    settings = {name.removeprefix(PREFIX).lower(): value for name, value in bulk.house.variables.items()}
    killed_at(settings, export.id, {unit.id: 0 for unit in bulk.units(export.id)}, "upload recorded")
    cancel_bulk_export(bulk.control, export.id, tenant_id=bulk.tenant, actor="cli")
    with bulk.control.begin() as connection:
        connection.execute(sa.update(days).values(lease_until=0))
    (request,) = bulk.tick(instance)
    assert request.tags["export_pipeline/clean"] == "true"
    assert request.tags["export_pipeline/workspace"] == str(bulk.tenant)  # whose places in the queue it takes
    assert bulk.work(instance, request).success
    assert bulk.house.server.open_uploads(bulk.house.bucket) == []
    assert [unit.status for unit in bulk.units(export.id)] == ["Cancelled"]
    assert bulk.skip_reason(instance) == "no export waits"

"""Bulk exports through the sensor and the job, on an instance in memory."""

from datetime import timedelta

import dagster as dg
import pytest

from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.read import progress_of
from export_pipeline.exports.bulk.retry import retry_failed
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.house import START, House

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


def test_a_source_that_is_down_keeps_an_export_waiting_and_says_so(
    bulk: BulkHouse, instance: dg.DagsterInstance
) -> None:
    project = bulk.house.add_project("chatbot", days=DAYS)
    bulk.house.sync()
    bulk.house.lose_the_trace_store()
    export = bulk.ask(project, days=3)
    assert "nothing can be counted" in bulk.skip_reason(instance)
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
    retry_failed(bulk.control, export.id, tenant_id=bulk.tenant, actor="cli")
    assert bulk.work_off(instance) == 1
    assert bulk.export(export.id).status == "Completed"
    assert len(bulk.house.data_files()) == 3

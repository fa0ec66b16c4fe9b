"""Bulk exports with the real daemon as a process, on SeaweedFS."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.exports.bulk.cancel import cancel_bulk_export
from export_pipeline.exports.bulk.planning_round import leftovers
from export_pipeline.orchestration.jobs import BULK_EXPORT
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.daemon import Daemon
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.servers import Weed, wait_for

pytestmark = pytest.mark.slow

SECONDS = 300.0


@pytest.fixture
def bulk(tmp_path: Path, seaweedfs: Weed) -> BulkHouse:
    """A house with a destination."""
    return BulkHouse(House(tmp_path, seaweedfs))


@pytest.fixture
def daemon(bulk: BulkHouse, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon, not yet started, whose records exist already."""
    made = Daemon(bulk.house, tmp_path / "dagster")
    with made.instance():
        pass
    yield made
    made.stop()


def ended(bulk: BulkHouse, *exports: uuid.UUID) -> bool:
    return all(bulk.export(bulk_id).finished_at is not None for bulk_id in exports)


def bulk_job_runs(daemon: Daemon) -> list[dg.RunRecord]:
    with daemon.instance() as instance:
        return list(instance.get_run_records(dg.RunsFilter(job_name=BULK_EXPORT)))


def test_a_small_export_is_completed_within_one_run(bulk: BulkHouse, daemon: Daemon) -> None:
    project = bulk.house.add_project("chatbot", days=[START], runs=600)
    bulk.house.sync()
    daemon.start()
    export = bulk.ask(project)
    wait_for(lambda: ended(bulk, export.id), what="the end of the export", seconds=SECONDS)
    assert bulk.export(export.id).status == "Completed"
    (unit,) = bulk.units(export.id)
    assert (unit.rows, [unit.key]) == (600, bulk.house.data_files())
    (record,) = bulk_job_runs(daemon)
    assert record.dagster_run.run_id == unit.dagster_run_id
    assert record.dagster_run.tags["export_pipeline/bulk_export"] == str(export.id)


def test_twelve_exports_of_six_projects_complete_within_the_limits_though_the_daemon_is_killed_twice(
    tmp_path: Path, seaweedfs: Weed
) -> None:
    bulk = BulkHouse(House(tmp_path, seaweedfs), max_exports="3")
    daemon = Daemon(bulk.house, tmp_path / "dagster")
    days = [START + timedelta(days=offset) for offset in range(3)]
    projects = [bulk.house.add_project(f"project {number}", days=days, runs=5) for number in range(6)]
    bulk.house.sync()
    exports = [bulk.ask(project, days=3).id for project in projects * 2]

    def so_many_ended(number: int) -> bool:
        return sum(export.finished_at is not None for export in bulk.exports()) >= number

    try:
        for number in (2, 6):
            daemon.start()
            wait_for(lambda number=number: so_many_ended(number), what=f"the end of {number} exports", seconds=600)  # type: ignore[misc]
            daemon.kill()
        daemon.start()
        wait_for(lambda: so_many_ended(12), what="the end of all exports", seconds=900)
        records = bulk_job_runs(daemon)
    finally:
        daemon.stop()
    assert [bulk.export(bulk_id).status for bulk_id in exports] == ["Completed"] * 12
    assert [unit.rows for bulk_id in exports for unit in bulk.units(bulk_id)] == [5] * 36
    assert len(bulk.house.data_files()) == 36
    assert most_at_once(records) <= 3


def most_at_once(records: Iterable[dg.RunRecord]) -> int:
    """The most runs of the job that were under way at one time, by Dagster's own times."""
    changes = []
    for record in records:
        if record.start_time is not None and record.end_time is not None:
            changes += [(record.start_time, 1), (record.end_time, -1)]
    found = running = 0
    for _, change in sorted(changes):
        running += change
        found = max(found, running)
    return found


def test_a_cancel_ends_queued_and_running_runs_and_leaves_whole_days_only(bulk: BulkHouse, daemon: Daemon) -> None:
    days = [START + timedelta(days=offset) for offset in range(20)]
    project = bulk.house.add_project("chatbot", days=days, runs=30_000)
    bulk.house.sync()
    export = bulk.ask(project, days=20)
    daemon.start()

    def some_are_done() -> bool:
        return any(unit.status == "Completed" for unit in bulk.units(export.id))

    def all_runs_ended() -> bool:
        return all(record.dagster_run.is_finished for record in bulk_job_runs(daemon))

    wait_for(some_are_done, what="the first finished day", seconds=SECONDS)
    cancel_bulk_export(bulk.control, export.id, tenant_id=bulk.tenant, actor="cli")
    wait_for(all_runs_ended, what="the end of all runs", seconds=SECONDS)
    wait_for(lambda: leftovers(bulk.control) == [], what="the end of cleaning up", seconds=SECONDS)
    wait_for(all_runs_ended, what="the end of the runs that clean up", seconds=SECONDS)
    assert bulk.export(export.id).status == "Cancelled"
    units = bulk.units(export.id)
    assert {unit.status for unit in units} == {"Completed", "Cancelled"}
    assert bulk.house.data_files() == [unit.key for unit in units if unit.status == "Completed"]
    assert bulk.house.server.open_uploads(bulk.house.bucket) == []
    statuses = {record.dagster_run.status for record in bulk_job_runs(daemon)}
    assert dg.DagsterRunStatus.CANCELED in statuses

"""Bulk exports with the real daemon as a process, on SeaweedFS."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.orchestration.bulk_job import BULK_EXPORT
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

"""The queue's limits in the shipped dagster.yaml files, by Dagster's own coordinator."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from export_pipeline.exports.bulk.dagster_runs import EXPORT_TAG
from export_pipeline.orchestration.jobs import BULK_EXPORT, bulk_runs, run_config
from export_pipeline.orchestration.sensors.bulk_exports import give_places, places_of

pytestmark = pytest.mark.slow  # Dagster instances with their storage on a disk

DEPLOY = Path(__file__).parents[3] / "export_pipeline" / "deploy"
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(
        ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="nowhere"), "nowhere"), "nowhere"
    ),
    "nowhere",
)
DAILY, LATE = {"dagster/priority": "10"}, {"dagster/priority": "5"}


def backfill(name: str) -> dict[str, str]:
    return {"dagster/backfill": name}


def bulk(name: str, workspace: str = "w") -> dict[str, str]:
    return {"export_pipeline/bulk_export": name, "export_pipeline/workspace": workspace}


@pytest.fixture(params=["one-machine", "postgres"])
def configuration(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a file says about the queue."""
    content = yaml.safe_load((DEPLOY / request.param / "dagster.yaml").read_text())
    return {name: content[name] for name in ("concurrency", "run_queue", "run_monitoring", "run_retries")}


@pytest.fixture
def queue(configuration: dict[str, Any], tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with that queue."""
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=configuration) as made:
        yield made


def started(instance: dg.DagsterInstance, *queued: dict[str, str]) -> list[str]:
    """Of each run that would be taken off the queue, in that order, its tag; `queued` lists them oldest first."""
    for tags in queued:
        create_run_for_test(instance, status=dg.DagsterRunStatus.QUEUED, tags=tags, remote_job_origin=ORIGIN)
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), fixed_iteration_time=None)
    names = ("dagster/priority", "dagster/backfill", "export_pipeline/bulk_export")
    return [next(run.tags[name] for name in names if name in run.tags) for run in runs]


def test_scheduled_and_late_days_find_a_place_and_go_first(queue: dg.DagsterInstance) -> None:
    waiting = [*[backfill("b")] * 15, *[bulk("x")] * 15, LATE, DAILY]
    assert started(queue, *waiting)[:2] == ["10", "5"]


def test_backfills_and_exports_leave_a_place_free(queue: dg.DagsterInstance, configuration: dict[str, Any]) -> None:
    waiting = [*[backfill("b")] * 9, *[bulk("x")] * 9, *[backfill("c")] * 9, *[bulk("y")] * 9]
    found = started(queue, *waiting)
    assert len(found) < configuration["concurrency"]["runs"]["max_concurrent_runs"]
    assert {"b", "x", "y"} <= set(found)


def test_one_workspace_with_many_exports_does_not_keep_another_one_out(queue: dg.DagsterInstance) -> None:
    found = started(queue, *[bulk(f"x{number}") for number in range(20)], bulk("y", "v"))
    assert found[-1] == "y"
    assert len(found) >= 4


def bulk_run(
    instance: dg.DagsterInstance, workspace: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.QUEUED
) -> str:
    """A run of an export of its own; its id."""
    export = uuid.uuid4()
    made = create_run_for_test(
        instance,
        job_name=BULK_EXPORT,
        status=status,
        tags=bulk(str(export), workspace),
        run_config=run_config(export, {}),
        remote_job_origin=ORIGIN,
    )
    return str(made.run_id)


def next_runs(instance: dg.DagsterInstance) -> list[str]:
    """The runs that would be taken off the queue now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    runs = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), fixed_iteration_time=None)
    return [run.run_id for run in runs]


def test_a_workspace_gets_a_place_although_two_others_have_taken_all_and_queue_for_more(
    queue: dg.DagsterInstance, configuration: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = configuration["concurrency"]["runs"]["tag_concurrency_limits"]
    places = next(each["limit"] for each in limits if each["key"] == EXPORT_TAG and "value" not in each)
    assert places_of(queue) == places
    taken = [bulk_run(queue, "hostile", dg.DagsterRunStatus.STARTED) for _ in range(places - 1)]
    other = bulk_run(queue, "hostile too", dg.DagsterRunStatus.STARTED)
    for _ in range(10):
        bulk_run(queue, "hostile")
        bulk_run(queue, "hostile too")
    mine = bulk_run(queue, "mine")
    assert give_places(queue, bulk_runs(queue)) == [], "a place may become free by itself"
    assert next_runs(queue) == []
    later = SimpleNamespace(time=lambda: time.time() + 30)
    monkeypatch.setattr("export_pipeline.orchestration.jobs.time", later)
    (ended,) = give_places(queue, bulk_runs(queue))
    assert ended == taken[-1], "the youngest run of the workspace that has most"
    run = queue.get_run_by_id(ended)
    assert run is not None
    queue.report_run_canceling(run)
    assert give_places(queue, bulk_runs(queue)) == [], "one run is being ended already"
    queue.report_run_canceled(run)
    assert next_runs(queue) == [mine]
    told = [entry.message for entry in queue.all_logs(ended, of_type=dg.DagsterEventType.ENGINE_EVENT)]
    assert any("to give its place to a workspace" in message for message in told)
    assert other not in [run.run_id for run in bulk_runs(queue) if run.status != "STARTED"]


def test_one_export_does_not_keep_another_one_out(queue: dg.DagsterInstance) -> None:
    found = started(queue, *[bulk("x")] * 20, bulk("y"))
    assert "y" in found
    assert found.count("x") >= 2

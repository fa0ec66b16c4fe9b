"""The queue's limits in the shipped dagster.yaml files, by Dagster's own coordinator."""

from collections.abc import Iterator
from pathlib import Path
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

pytestmark = pytest.mark.slow  # Dagster instances with their storage on a disk

DEPLOY = Path(__file__).parents[2] / "export_pipeline" / "deploy"
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


def test_one_export_does_not_keep_another_one_out(queue: dg.DagsterInstance) -> None:
    found = started(queue, *[bulk("x")] * 20, bulk("y"))
    assert "y" in found
    assert found.count("x") >= 2

"""The run launcher for one machine sees whether a run's process is there."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.test_utils import create_run_for_test

from export_pipeline.orchestration.instance import launcher
from export_pipeline.orchestration.instance.event_log import KeptEventLogStorage
from export_pipeline.orchestration.instance.launcher import WatchedRunLauncher

pytestmark = pytest.mark.slow  # Dagster instances with their storage on a disk

HERE = {".dagster/grpc_info": '{"host": "localhost", "socket": "/tmp/a"}'}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with that launcher, as `dagster.yaml` names it."""
    named = {"module": WatchedRunLauncher.__module__, "class": WatchedRunLauncher.__name__}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides={"run_launcher": named}) as made:
        yield made


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as made:
        yield made
        made.kill()


def started(instance: dg.DagsterInstance, pid: int | None, *, tags: dict[str, str] = HERE) -> dg.DagsterRun:
    """A run whose worker has said what Dagster's workers say first."""
    run: dg.DagsterRun = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags)
    if pid is not None:
        text = f"Started process for run (pid: {pid})."
        instance.report_engine_event(text, run, EngineEventData.in_process(pid))
    return run


def test_a_dagster_yaml_that_names_the_modules_where_they_were_before_loads_the_same_classes(tmp_path: Path) -> None:
    before = {
        "run_launcher": {"module": "export_pipeline.orchestration.launcher", "class": "WatchedRunLauncher"},
        "event_log_storage": {
            "module": "export_pipeline.orchestration.event_log",
            "class": "KeptEventLogStorage",
            "config": {"home": str(tmp_path)},
        },
    }
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides=before) as instance:
        assert type(instance.run_launcher) is WatchedRunLauncher
        assert type(instance.event_log_storage) is KeptEventLogStorage


def health(instance: dg.DagsterInstance, run: dg.DagsterRun) -> CheckRunHealthResult:
    assert instance.run_launcher.supports_check_run_worker_health
    return instance.run_launcher.check_run_worker_health(run)


def test_a_worker_counts_as_running_until_its_process_has_been_away_for_a_while(
    watched: dg.DagsterInstance, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(watched, process.pid)
    assert health(watched, run).status == WorkerStatus.RUNNING
    process.kill()
    process.wait()
    assert health(watched, run).status == WorkerStatus.RUNNING
    monkeypatch.setattr(launcher, "PATIENCE", 0.0)
    assert str(health(watched, run)) == f"FAILED: 'its process {process.pid} has ended without a word'"


def test_a_worker_whose_id_another_process_has_now_counts_as_lost(
    watched: dg.DagsterInstance, process: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    an_hour_ago = time.time() - 3600
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: an_hour_ago)
        run = started(watched, process.pid)
    monkeypatch.setattr(launcher, "PATIENCE", 0.0)
    assert health(watched, run).status == WorkerStatus.FAILED


def test_a_worker_that_has_not_said_its_process_id_counts_as_running(
    watched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "PATIENCE", 0.0)
    assert health(watched, started(watched, None)).status == WorkerStatus.RUNNING


@pytest.mark.parametrize("tags", [{}, {".dagster/grpc_info": '{"host": "code.example", "port": 4000}'}])
def test_a_worker_of_a_code_server_elsewhere_counts_as_running(
    watched: dg.DagsterInstance,
    process: subprocess.Popen[bytes],
    tags: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(launcher, "PATIENCE", 0.0)
    process.kill()
    process.wait()
    assert health(watched, started(watched, process.pid, tags=tags)).status == WorkerStatus.RUNNING

"""What the daemon does by itself: the schedule after an outage, a run whose worker was lost."""

import os
import signal
import time
from datetime import date

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

from export_pipeline.exports.control.records import DayRecord, read_days
from export_pipeline.exports.projects.standing import current_table
from export_pipeline_tests.clock import days_over
from export_pipeline_tests.live.conftest import DAYS, PROJECTS
from export_pipeline_tests.live.dagster import PATIENCE, Live
from export_pipeline_tests.servers import wait_for

pytestmark = pytest.mark.slow

MANY = 40_000
"""Rows whose day takes seconds to export, so that its worker can be met in the middle of it."""


def test_after_an_outage_of_ten_days_the_schedule_has_exported_every_day(live: Live) -> None:
    by_schedule = live.runs({"dagster/schedule_name": "daily_export"})
    first, *_ = sorted(run.tags["dagster/asset_partition_range_start"] for run in by_schedule)
    assert first == str(DAYS[0])
    for run in by_schedule:
        wait_for(lambda run_id=run.run_id: live.status(run_id) == "SUCCESS", what="its end", seconds=PATIENCE)  # type: ignore[misc]
    files = live.house.data_files()
    assert len(files) == len(DAYS) * len(PROJECTS)
    # Where the day has turned since `DAYS` was made there is one day more, which is exported at once.
    wait_for(lambda: every_day_is_shown(live), what="the days of every project in the UI", seconds=PATIENCE)


def test_a_run_whose_worker_was_killed_is_run_again_and_the_day_is_committed_once(live: Live) -> None:
    day = DAYS[7]
    rows = live.add_runs("chat", day, runs=MANY)
    before = record(live, "chat", day)
    run_id = launch(live, "chat", day)
    wait_for(lambda: record(live, "chat", day).owner is not None, what="a claim of the day", seconds=PATIENCE)
    os.kill(worker(live, run_id), signal.SIGKILL)
    wait_for(lambda: live.status(run_id) == "FAILURE", what="the end of the run", seconds=PATIENCE)
    wait_for(lambda: retries(live, run_id) == ["SUCCESS"], what="the end of the retry", seconds=PATIENCE)
    assert live.rows("chat", day) == rows
    after = record(live, "chat", day)
    assert (after.rows, after.owner) == (rows, None)
    assert after.epoch == before.epoch + 2  # one for the worker that was lost, one for the retry
    assert len([key for key in live.house.data_files() if f"month={day:%m}/day={day:%d}/" in key]) == len(PROJECTS)


def test_a_run_whose_worker_and_code_server_were_killed_is_run_again(live: Live) -> None:
    day = DAYS[6]
    rows = live.add_runs("agent", day, runs=MANY)
    run_id = launch(live, "agent", day)
    wait_for(lambda: record(live, "agent", day).owner is not None, what="a claim of the day", seconds=PATIENCE)
    pid = worker(live, run_id)
    os.kill(pid, signal.SIGSTOP)
    for process in live.code_servers():  # first, so that nobody sees the end of the worker
        process.kill()
    since = time.time()
    wait_for(lambda: was_evaluated(live, since), what="another code server", seconds=PATIENCE)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: live.status(run_id) == "FAILURE", what="the end of the run", seconds=PATIENCE)
    wait_for(lambda: retries(live, run_id) == ["SUCCESS"], what="the end of the retry", seconds=PATIENCE)
    after = record(live, "agent", day)
    assert (live.rows("agent", day), after.rows, after.owner) == (rows, rows, None)


def was_evaluated(live: Live, since: float) -> bool:
    """Whether the daemon has had a code server evaluate a sensor since then."""
    done = [TickStatus.SKIPPED, TickStatus.SUCCESS]
    return any(
        live.instance.get_ticks(state.instigator_origin_id, state.selector_id, after=since, statuses=done)
        for state in live.instance.all_instigator_state()
    )


def every_day_is_shown(live: Live) -> bool:
    """Whether the UI has each project's days that are over by now, all of them as exported."""
    nodes = live.ask("{assetNodes {assetKey {path} partitionStats {numMaterialized numPartitions numFailed}}}")
    found = {node["assetKey"]["path"][-1]: node["partitionStats"] for node in nodes["assetNodes"]}
    days = days_over(DAYS[0])
    return all(found[name] == {"numMaterialized": days, "numPartitions": days, "numFailed": 0} for name in PROJECTS)


def launch(live: Live, name: str, day: date) -> str:
    """Has the web server launch a run of one day, as the UI does; its id."""
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "export_pipeline",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": ["runs", name]}],
    }
    tags = [{"key": "dagster/partition", "value": str(day)}]
    launched = live.ask(
        "mutation($of: ExecutionParams!) {launchPipelineExecution(executionParams: $of) "
        "{__typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}",
        of={"selector": selector, "runConfigData": {}, "mode": "default", "executionMetadata": {"tags": tags}},
    )["launchPipelineExecution"]
    return str(launched["run"]["runId"])


def worker(live: Live, run_id: str) -> int:
    """The process id of a run that has started."""
    (pid,) = {
        str(event.engine_event_data.metadata["pid"].value)
        for entry in live.instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
        if (event := entry.dagster_event) and "Executing steps in process" in (event.message or "")
    }
    return int(pid)


def retries(live: Live, run_id: str) -> list[str]:
    return [run.status.value for run in live.runs({"dagster/root_run_id": run_id})]


def record(live: Live, name: str, day: date) -> DayRecord:
    (project,) = [one for one in live.house.projects() if one.name == name]
    export = current_table(live.control, project, live.house.settings)
    assert export is not None
    with live.control.read() as connection:
        (found,) = read_days(connection, export.export_id, first=day, last=day)
    return found

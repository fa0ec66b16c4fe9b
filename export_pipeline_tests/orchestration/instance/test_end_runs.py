"""Ending the Dagster runs of a cancelled export: by the sensor, and at once over Dagster's own web server."""

import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.testclient import TestClient

from export_pipeline.exports.bulk import dagster_runs
from export_pipeline.exports.bulk.dagster_runs import CLEAN_TAG, EXPORT_TAG, end_dagster_runs
from export_pipeline.orchestration.jobs import BULK_EXPORT
from export_pipeline.orchestration.sensors.bulk_exports import end_runs

MINE, ANOTHER = uuid.UUID(int=1), uuid.UUID(int=2)
STATUS = dg.DagsterRunStatus


@pytest.fixture
def queueing(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with a queue."""
    queue = {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"}
    with dg.instance_for_test(temp_dir=str(tmp_path), overrides={"run_coordinator": queue}) as made:
        yield made


def run(instance: dg.DagsterInstance, status: dg.DagsterRunStatus, *, of: uuid.UUID = MINE, clean: bool = False) -> str:
    """A run of an export in this status; its id."""
    tags = {EXPORT_TAG: str(of)} | ({CLEAN_TAG: "true"} if clean else {})
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "repository"), BULK_EXPORT)
    made = create_run_for_test(instance, job_name=BULK_EXPORT, status=status, tags=tags, remote_job_origin=origin)
    return str(made.run_id)


def status(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run_id)
    assert found is not None
    return found.status


def test_the_sensor_ends_queued_runs_and_leaves_those_that_are_starting_to_find_nothing(
    queueing: dg.DagsterInstance,
) -> None:
    queued, starting = run(queueing, STATUS.QUEUED), run(queueing, STATUS.STARTING)
    end_runs(queueing, [queued, starting, str(uuid.uuid4())])
    assert (status(queueing, queued), status(queueing, starting)) == (STATUS.CANCELED, STATUS.STARTING)


def test_a_cancel_has_the_web_server_end_the_export_s_runs(
    queueing: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued, started, starting = (run(queueing, each) for each in (STATUS.QUEUED, STATUS.STARTED, STATUS.STARTING))
    other, cleaning = run(queueing, STATUS.QUEUED, of=ANOTHER), run(queueing, STATUS.QUEUED, clean=True)
    asked: list[Mapping[str, Any]] = []
    with WorkspaceProcessContext(queueing, EmptyWorkspaceTarget()) as workspace:
        client = TestClient(create_app_from_workspace_process_context(workspace))

        def ask(url: str, query: str, variables: Mapping[str, Any], **_: Any) -> Any:
            asked.append(variables)
            answer = client.post("/graphql", json={"query": query, "variables": variables}).json()
            assert "errors" not in answer
            return answer["data"]

        monkeypatch.setattr(dagster_runs, "ask", ask)
        end_dagster_runs("http://dagster", MINE)
        end_dagster_runs("http://dagster", uuid.UUID(int=3))
    assert sorted(asked[1]["runs"]) == sorted([queued, started])
    assert len(asked) == 3, "nothing is to be ended of an export without runs"
    assert status(queueing, queued) is STATUS.CANCELED
    assert {status(queueing, each) for each in (other, cleaning)} == {STATUS.QUEUED}
    assert status(queueing, starting) is STATUS.STARTING


@pytest.mark.parametrize("answer", [{}, {"runsOrError": {"message": "no"}}, {"runsOrError": None}])
def test_a_web_server_that_does_not_answer_or_refuses_keeps_no_cancel_from_ending(
    answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def ask(url: str, *_: Any, **__: Any) -> Any:
        asked.append(url)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(dagster_runs, "ask", ask)
        end_dagster_runs("http://dagster", MINE)
    assert asked == ["http://dagster"], "and it is not asked to end anything"
    end_dagster_runs("http://127.0.0.1:9", MINE)

"""When a launch was created, and whether an owner has ended."""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.test_utils import create_run_for_test

from export_pipeline.orchestration.instance.run_records import launched_at, owner_has_ended, owner_of

NOW = 1_900_000_000_000_000
"""A control database whose clock is years ahead of this host's."""
HOUR = 3600 * 1_000_000


def age(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int:
    return NOW - launched_at(instance, run, now=NOW)


def add_old_run(instance: dg.DagsterInstance, hours: int, **about: str) -> dg.DagsterRun:
    run = dg.DagsterRun(job_name="export_runs", run_id=dg.DagsterRun(job_name="x").run_id, **about)  # type: ignore[arg-type]
    return instance.run_storage.add_historical_run(run, datetime.now(UTC) - timedelta(hours=hours))


def test_a_run_is_as_old_as_its_record(instance: dg.DagsterInstance) -> None:
    run = add_old_run(instance, 2)
    assert 2 * HOUR <= age(instance, run) < 3 * HOUR


def test_a_retried_run_belongs_to_the_first_of_its_chain(instance: dg.DagsterInstance) -> None:
    first = add_old_run(instance, 5)
    second = add_old_run(instance, 1, root_run_id=first.run_id, parent_run_id=first.run_id)
    assert 5 * HOUR <= age(instance, second) < 6 * HOUR


def test_a_run_of_a_backfill_belongs_to_the_backfill(instance: dg.DagsterInstance) -> None:
    instance.add_backfill(
        PartitionBackfill(
            backfill_id="abcdefgh",
            status=BulkActionStatus.REQUESTED,
            from_failure=False,
            tags={},
            backfill_timestamp=time.time() - 7 * 3600,
        )
    )
    run = create_run_for_test(instance, tags={"dagster/backfill": "abcdefgh"})
    assert 7 * HOUR <= age(instance, run) < 8 * HOUR


def test_a_run_whose_backfill_is_not_recorded_yet_counts_by_itself(instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, tags={"dagster/backfill": "unknown0"})
    assert 0 <= age(instance, run) < HOUR


def test_a_run_without_a_record_counts_as_launched_now(instance: dg.DagsterInstance) -> None:
    assert age(instance, dg.DagsterRun(job_name="x")) == 0


@pytest.mark.parametrize(
    ("status", "ended"),
    [
        (dg.DagsterRunStatus.STARTED, False),
        (dg.DagsterRunStatus.CANCELING, False),
        (dg.DagsterRunStatus.FAILURE, True),
        (dg.DagsterRunStatus.CANCELED, True),
        (dg.DagsterRunStatus.SUCCESS, True),
    ],
)
def test_an_owner_has_ended_when_its_run_has(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, ended: bool
) -> None:
    run = create_run_for_test(instance, status=status)
    assert owner_has_ended(instance, me="dagster:me")(owner_of(run.run_id)) is ended


@pytest.mark.parametrize("owner", ["dagster:00000000-0000-0000-0000-000000000000", "process:host:17", ""])
def test_an_owner_that_is_not_known_here_counts_as_running(instance: dg.DagsterInstance, owner: str) -> None:
    assert owner_has_ended(instance, me="dagster:me")(owner) is False


def test_what_this_run_held_in_an_earlier_attempt_is_free(instance: dg.DagsterInstance) -> None:
    assert owner_has_ended(instance, me="dagster:me")("dagster:me") is True

"""The daily schedule: every past day that is not Completed."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from export_pipeline.orchestration.resources import Connections
from export_pipeline.orchestration.schedules import plan_tick
from export_pipeline_tests.clock import today
from export_pipeline_tests.orchestration.house import House, materialize
from export_pipeline_tests.servers import Rclone

pytestmark = pytest.mark.slow  # ticks of real schedules over whole trace stores

TODAY = today()


def back(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.fixture
def house(tmp_path: Path, rclone: Rclone) -> House:
    """Partitions begin ten days ago."""
    return House(tmp_path, rclone, start=back(10))


def tick(house: House, instance: dg.DagsterInstance) -> list[dg.RunRequest] | dg.SkipReason:
    return plan_tick(
        Connections(settings=house.settings), instance, projects=house.projects(), start=house.start, today=TODAY
    )


def planned(house: House, instance: dg.DagsterInstance) -> list[tuple[str, str, list[str]]]:
    requests = tick(house, instance)
    assert isinstance(requests, list)
    return [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
            [key.to_user_string() for key in request.asset_selection or ()],
        )
        for request in requests
    ]


def why_nothing(house: House, instance: dg.DagsterInstance) -> str | None:
    answer = tick(house, instance)
    assert isinstance(answer, dg.SkipReason)
    return answer.skip_message


def test_every_missing_day_is_planned_not_only_yesterday(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[back(10)])
    house.add_project("agent", days=[back(10)])
    house.sync()
    assert planned(house, instance) == [(str(back(10)), str(back(1)), ["runs/agent", "runs/chat"])]


def test_completed_days_are_left_out(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[back(10)])
    house.sync()
    assert materialize(house.definitions(), instance, "chat", first=back(10), last=back(3)).success
    assert planned(house, instance) == [(str(back(2)), str(back(1)), ["runs/chat"])]


def test_nothing_is_planned_and_the_tick_says_why_when_all_is_there(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[back(10)])
    house.sync()
    assert materialize(house.definitions(), instance, "chat", first=back(10), last=back(1)).success
    assert why_nothing(house, instance) == "every past day of all 1 projects is Completed"


def test_days_that_queued_or_running_runs_hold_are_not_planned_again(
    house: House, instance: dg.DagsterInstance
) -> None:
    house.add_project("chat", days=[back(10)])
    house.sync()
    create_run_for_test(
        instance,
        status=dg.DagsterRunStatus.NOT_STARTED,
        asset_selection=frozenset({dg.AssetKey(["runs", "chat"])}),
        tags={
            "dagster/asset_partition_range_start": str(back(10)),
            "dagster/asset_partition_range_end": str(back(5)),
        },
    )
    create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags={"dagster/partition": str(back(3))})
    create_run_for_test(instance, status=dg.DagsterRunStatus.FAILURE, tags={"dagster/partition": str(back(1))})
    assert planned(house, instance) == [
        (str(back(4)), str(back(4)), ["runs/chat"]),
        (str(back(2)), str(back(1)), ["runs/chat"]),
    ]


def test_a_tick_says_when_all_that_is_missing_is_under_way(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[back(10)])
    house.sync()
    span = {"dagster/asset_partition_range_start": str(back(10)), "dagster/asset_partition_range_end": str(back(1))}
    create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=span)
    assert (
        why_nothing(house, instance)
        == "10 days of 1 projects are not Completed, and all of them are queued or under way"
    )


def test_a_tick_evaluated_twice_asks_for_the_same_runs_and_tomorrow_s_for_others(
    house: House, instance: dg.DagsterInstance
) -> None:
    house.add_project("chat", days=[back(10)])
    house.sync()
    keys = []
    for day in (TODAY, TODAY, TODAY + timedelta(days=1)):
        requests = plan_tick(
            Connections(settings=house.settings), instance, projects=house.projects(), start=house.start, today=day
        )
        assert isinstance(requests, list)
        keys.append([request.run_key for request in requests])
    assert keys[0] == keys[1] != keys[2]


def test_dagster_evaluates_the_schedule(house: House, stored_instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[back(10)])
    house.sync()
    definitions = house.definitions()
    schedule = definitions.resolve_schedule_def("daily_export")
    assert isinstance(schedule, dg.ScheduleDefinition)
    with dg.build_schedule_context(
        instance=stored_instance,
        scheduled_execution_time=datetime.combine(TODAY, time(0, 30), UTC),
        repository_def=definitions.get_repository_def(),
        resources=dict(definitions.resources or {}),
    ) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.tags["dagster/asset_partition_range_end"] == str(back(1))


def test_the_trace_store_is_not_needed_for_planning(house: House, instance: dg.DagsterInstance) -> None:
    house.add_project("chat", days=[back(10)])
    house.sync()
    house.lose_the_trace_store()
    assert len(planned(house, instance)) == 1

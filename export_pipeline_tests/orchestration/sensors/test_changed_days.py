"""The sensor that reads days again whose rows have changed since."""

from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.test_utils import create_run_for_test

from export_pipeline.errors import SourceUnusableError
from export_pipeline.exports.control.tables import notices
from export_pipeline.orchestration.resources import Connections
from export_pipeline.orchestration.sensors.changed_days import ChangesRound
from export_pipeline.settings import PREFIX
from export_pipeline_tests.clock import today
from export_pipeline_tests.orchestration.house import House, materialize, materialized
from export_pipeline_tests.servers import Rclone

pytestmark = pytest.mark.slow

TODAY = today()


def back(days: int) -> date:
    return TODAY - timedelta(days=days)


@pytest.fixture
def house(tmp_path: Path, rclone: Rclone) -> House:
    """Partitions begin twenty days ago; the project chat has rows on three days, all of them exported."""
    return House(tmp_path, rclone, start=back(20))


@pytest.fixture
def chat(house: House, instance: dg.DagsterInstance) -> str:
    """The id of a project with rows three and two days ago and fifteen days ago, exported since then."""
    project = house.add_project("chat", days=[back(15), back(3), back(2)])
    house.sync()
    assert materialize(house.definitions(), instance, "chat", first=back(15), last=back(1)).success
    return project


def tick(house: House, instance: dg.DagsterInstance, *, seconds: float = 60, cursor: str = "") -> ChangesRound:
    round_ = ChangesRound(
        Connections(settings=house.settings), instance, projects=house.projects(), start=house.start, today=TODAY
    )
    round_.go_on(cursor, log=print, seconds=seconds)
    return round_


def run(house: House, instance: dg.DagsterInstance, request: dg.RunRequest) -> bool:
    """What the daemon makes of a request, in this process."""
    return materialize(
        house.definitions(),
        instance,
        "chat",
        first=date.fromisoformat(request.tags["dagster/asset_partition_range_start"]),
        last=date.fromisoformat(request.tags["dagster/asset_partition_range_end"]),
        tags=dict(request.tags),
    ).success


def kept(house: House) -> list[tuple[str, str]]:
    """Kind and text of the notices in the outbox."""
    with house.control.read() as connection:
        rows = connection.execute(sa.select(notices.c.kind, notices.c.body)).all()
    return [(row.kind, row.body["text"]) for row in rows]


def test_only_days_that_changed_are_exported_again_each_range_in_a_run_that_says_why(
    house: House, instance: dg.DagsterInstance, chat: str
) -> None:
    assert tick(house, instance).why_nothing() == "nothing new in the last 14 days of 1 projects"
    house.add_runs(chat, back(3), runs=2)
    house.add_runs(chat, back(1), runs=1)
    house.add_runs(chat, back(15), runs=1)
    old, new = tick(house, instance).requests
    assert old.asset_selection == new.asset_selection == [dg.AssetKey(["runs", "chat"])]
    assert old.tags["dagster/asset_partition_range_start"] == old.tags["dagster/asset_partition_range_end"]
    assert old.tags["dagster/asset_partition_range_end"] == str(back(3))
    assert new.tags["dagster/asset_partition_range_start"] == str(back(1))
    assert old.tags["export_pipeline/reason"].startswith("2 rows more since 20")
    assert old.tags["dagster/priority"] == "5"
    assert run(house, instance, old)
    assert run(house, instance, new)
    days = materialized(instance, "chat")
    assert (days[str(back(3))]["dagster/partition_row_count"], days[str(back(1))]["dagster/partition_row_count"]) == (
        5,
        1,
    )
    assert tick(house, instance).requests == []


def test_the_same_change_has_the_same_run_key_and_the_next_one_another(
    house: House, instance: dg.DagsterInstance, chat: str
) -> None:
    house.add_runs(chat, back(2), runs=1)
    first, again = (tick(house, instance).requests[0].run_key for _ in range(2))
    house.add_runs(chat, back(2), runs=1)
    assert first == again
    assert tick(house, instance).requests[0].run_key != first


def test_days_that_a_run_holds_already_are_left_alone(house: House, instance: dg.DagsterInstance, chat: str) -> None:
    house.add_runs(chat, back(2), runs=1)
    create_run_for_test(
        instance,
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset({dg.AssetKey(["runs", "chat"])}),
        tags={"dagster/partition": str(back(2))},
    )
    assert tick(house, instance).requests == []


def test_a_change_whose_run_failed_is_tried_again_later_and_after_five_times_told_of_once(
    house: House, instance: dg.DagsterInstance, chat: str
) -> None:
    house.add_runs(chat, back(2), runs=1)
    (request,) = tick(house, instance).requests
    for _ in range(4):
        create_run_for_test(instance, status=dg.DagsterRunStatus.FAILURE, tags=dict(request.tags))
    waiting = tick(house, instance)
    assert waiting.requests == []
    assert "1 changes wait to be tried again" in waiting.why_nothing()
    assert kept(house) == []
    create_run_for_test(instance, status=dg.DagsterRunStatus.FAILURE, tags=dict(request.tags))
    for _ in range(2):
        assert tick(house, instance).requests == []
    ((kind, text),) = kept(house)
    assert kind == "days.late_failed"
    assert text.startswith(f"{back(2)} of runs/chat changed in the trace store (1 row more since ")
    house.add_runs(chat, back(2), runs=1)
    assert len(tick(house, instance).requests) == 1


def test_a_day_with_fewer_rows_is_told_of_once_and_never_run(
    house: House, instance: dg.DagsterInstance, chat: str
) -> None:
    house.delete_runs(chat, back(2))
    for _ in range(2):
        found = tick(house, instance)
        assert found.requests == []
        assert "1 days have fewer rows in the trace store than are committed" in found.why_nothing()
    assert kept(house) == [
        (
            "days.shrunk",
            f"the trace store lacks 3 rows of {back(2)} of runs/chat that are committed; the files are kept",
        )
    ]


def test_a_trace_store_that_cannot_be_read_fails_the_tick(
    house: House, instance: dg.DagsterInstance, chat: str
) -> None:
    house.lose_the_trace_store()
    with pytest.raises(SourceUnusableError, match="does not exist"):
        tick(house, instance)
    assert kept(house) == []


def test_a_tick_that_runs_out_of_time_goes_on_where_it_was(
    house: House, instance: dg.DagsterInstance, chat: str
) -> None:
    house.add_project("agent", days=[back(2)])
    house.sync()
    connections, projects = Connections(settings=house.settings), house.projects()

    def go_on(cursor: str, seconds: float) -> tuple[str, int]:
        round_ = ChangesRound(connections, instance, projects=projects, start=house.start, today=TODAY)
        return round_.go_on(cursor, log=print, seconds=seconds), round_.looked_at

    assert go_on("", 0) == ("", 0)
    assert go_on("", 60) == ("", 2)
    assert go_on("agent", 60) == ("", 1)
    assert go_on("agent", 0) == ("agent", 0)


def test_it_can_be_turned_off(house: House, instance: dg.DagsterInstance, chat: str) -> None:
    house.add_runs(chat, back(2), runs=1)
    house.variables[PREFIX + "LATE_DAYS"] = "0"
    off = tick(house, instance)
    assert off.requests == []
    assert off.why_nothing() == "EXPORT_PIPELINE_LATE_DAYS is 0: late rows are not looked for"


def test_dagster_evaluates_the_sensor_which_runs_by_itself(
    house: House, instance: dg.DagsterInstance, chat: str
) -> None:
    house.add_runs(chat, back(2), runs=1)
    definitions = house.definitions()
    sensor = definitions.resolve_sensor_def("late_days")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    with dg.build_sensor_context(
        instance=instance, repository_def=definitions.get_repository_def(), resources=dict(definitions.resources or {})
    ) as context:
        (request,) = sensor.evaluate_tick(context).run_requests or []
    assert request.tags["dagster/asset_partition_range_start"] == str(back(2))
    assert request.run_key is not None

"""One instance with its servers for all tests of a session."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from dagster._core.scheduler.instigation import ScheduleInstigatorData

from export_pipeline.settings import PREFIX
from export_pipeline_tests.live.dagster import SCHEDULE, Live
from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.servers import Weed

TODAY = datetime.now(UTC).date()
OUTAGE = 10
"""Days that the daemon was away."""

DAYS = [TODAY - timedelta(days=back) for back in range(OUTAGE, 0, -1)]
PROJECTS = ("chat", "agent", "search")


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed) -> Iterator[Live]:
    """Web server and daemon over three projects, after an outage: for ten days neither ran, and no day was exported.

    By now every day is; each test works on rows that it adds.
    """
    folder = tmp_path_factory.mktemp("live")
    house = House(folder, seaweedfs, start=DAYS[0])
    house.variables[PREFIX + "DAILY_AT"] = "00:00"
    house.use_wal()  # rows are added while the daemon's runs read
    for name in PROJECTS:
        house.add_project(name, days=DAYS, runs=3)
    house.sync()
    made = Live(house, folder)
    try:
        made.start_web()
        _put_back(made, days=OUTAGE)
        made.start_daemon()
        for name in PROJECTS:
            for day in DAYS:
                made.wait_for_rows(name, day, 3)
        yield made
    finally:
        made.stop()


def _put_back(live: Live, *, days: int) -> None:
    """Makes the schedule one that was last looked at so many days ago."""
    # Until it is stopped and started by hand there is no record of it that could be set back.
    schedule = live.ask(
        "query($of: ScheduleSelector!) {it: scheduleOrError(scheduleSelector: $of) {... on Schedule {id}}}", of=SCHEDULE
    )
    live.ask("mutation($id: String!) {stopRunningSchedule(id: $id) {__typename}}", id=schedule["it"]["id"])
    live.ask("mutation($of: ScheduleSelector!) {startSchedule(scheduleSelector: $of) {__typename}}", of=SCHEDULE)
    (state,) = [one for one in live.instance.all_instigator_state() if one.instigator_name == "daily_export"]
    data = state.instigator_data
    assert isinstance(data, ScheduleInstigatorData)
    live.instance.update_instigator_state(
        state.with_data(ScheduleInstigatorData(data.cron_schedule, time.time() - days * 86_400))
    )

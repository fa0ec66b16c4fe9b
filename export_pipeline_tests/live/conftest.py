"""The instance with its servers that all tests of a session share."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from export_pipeline.settings import PREFIX
from export_pipeline_tests.clock import today
from export_pipeline_tests.live.dagster import Live
from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.servers import Weed

OUTAGE = 10
"""Days that the daemon was away."""

DAYS = [today() - timedelta(days=back) for back in range(OUTAGE, 0, -1)]
PROJECTS = ("chat", "agent", "search")


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Weed) -> Iterator[Live]:
    """Web server and daemon over three projects, after an outage: for ten days neither ran, and no day was exported.

    By now every day is, and a day that ends is exported at once. Each test works on rows that it adds.
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
        made.put_the_schedule_back(days=OUTAGE)
        made.start_daemon()
        for name in PROJECTS:
            for day in DAYS:
                made.wait_for_rows(name, day, 3)
        yield made
    finally:
        made.stop()

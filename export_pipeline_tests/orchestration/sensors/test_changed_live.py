"""Late days and notices with the real daemon as a process."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.exports.watch.overdue import last_due
from export_pipeline.settings import PREFIX
from export_pipeline_tests.clock import today
from export_pipeline_tests.control_rows import known_for_years
from export_pipeline_tests.orchestration.daemon import Daemon
from export_pipeline_tests.orchestration.house import House, materialize, materialized
from export_pipeline_tests.servers import Rclone, wait_for
from export_pipeline_tests.servers.http import Answer, HttpServer, http_server

pytestmark = pytest.mark.slow

SECONDS = 300.0
FIRST, LAST = today() - timedelta(days=5), today() - timedelta(days=3)


@pytest.fixture
def posted() -> Iterator[HttpServer]:
    with http_server(lambda _: Answer(204)) as server:
        yield server


def test_the_daemon_exports_late_days_again_and_posts_notices(
    tmp_path: Path, rclone: Rclone, posted: HttpServer
) -> None:
    house = House(tmp_path, rclone, start=FIRST)
    house.variables |= {PREFIX + "WEBHOOK_URL": f"{posted.url}/hook", PREFIX + "WEBHOOK_SECRET": "a key"}
    project = house.add_project("chat", days=[FIRST, LAST])
    house.sync()
    known_for_years(house.control)
    daemon = Daemon(house, tmp_path / "dagster")
    with daemon.instance() as instance:
        assert materialize(house.definitions(), instance, "chat", first=FIRST, last=LAST).success
        house.add_runs(project, LAST, runs=2)
        daemon.start()
        try:
            wait_for(
                lambda: materialized(instance, "chat")[str(LAST)]["dagster/partition_row_count"] == 5,
                what="the late rows",
                seconds=SECONDS,
            )
            wait_for(lambda: bool(posted.asked), what="a notice", seconds=SECONDS)
        finally:
            daemon.stop()
        (run,) = instance.get_runs(dg.RunsFilter(job_name="export_runs"))
        assert run.tags["export_pipeline/reason"].startswith("2 rows more since ")
        assert run.tags["dagster/asset_partition_range_start"] == run.tags["dagster/asset_partition_range_end"]
        assert run.tags["dagster/run_key"].startswith("late:chat:")
    got = [json.loads(asked.body) for asked in posted.asked]
    assert [(notice["kind"], notice["text"]) for notice in got] == [
        ("day.overdue", f"{last_due(datetime.now(UTC), house.settings)} is overdue: runs/chat")
    ]

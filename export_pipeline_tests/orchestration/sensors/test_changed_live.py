"""Late days and notices with the real daemon as a process."""

import http.server
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from export_pipeline.exports.watch.overdue import last_due
from export_pipeline.settings import PREFIX
from export_pipeline_tests.clock import half_a_day_away, today
from export_pipeline_tests.control_rows import known_for_years
from export_pipeline_tests.orchestration.daemon import Daemon
from export_pipeline_tests.orchestration.house import House, materialize, materialized
from export_pipeline_tests.servers import Rclone, wait_for

pytestmark = pytest.mark.slow

SECONDS = 300.0
FIRST, LAST = today() - timedelta(days=5), today() - timedelta(days=3)


@pytest.fixture
def posted() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """The address of an HTTP server, and what was posted there."""
    got: list[dict[str, str]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_daemon_exports_late_days_again_and_posts_notices(
    tmp_path: Path, rclone: Rclone, posted: tuple[str, list[dict[str, str]]]
) -> None:
    address, got = posted
    house = House(tmp_path, rclone, start=FIRST)
    house.variables |= {PREFIX + "WEBHOOK_URL": address, PREFIX + "WEBHOOK_SECRET": "a key"}
    house.variables[PREFIX + "DAILY_AT"] = half_a_day_away()
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
            wait_for(lambda: bool(got), what="a notice", seconds=SECONDS)
        finally:
            daemon.stop()
        (run,) = instance.get_runs(dg.RunsFilter(job_name="export_runs"))
        assert run.tags["export_pipeline/reason"].startswith("2 rows more since ")
        assert run.tags["dagster/asset_partition_range_start"] == run.tags["dagster/asset_partition_range_end"]
        assert run.tags["dagster/run_key"].startswith("late:chat:")
    assert [(notice["kind"], notice["text"]) for notice in got] == [
        ("day.overdue", f"{last_due(datetime.now(UTC), house.settings)} is overdue: runs/chat")
    ]

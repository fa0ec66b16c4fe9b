"""How long one backfill of many projects takes, queued as the UI queues it, with the real web server and daemon."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from benchmarks.servers import Servers
from export_pipeline.cli.dagster_backfill import launch, state_of
from export_pipeline.cli.dagster_server import DagsterUnreachableError, ask_health
from export_pipeline.home import free_ports
from export_pipeline.local.dagster_home import DagsterHome
from export_pipeline.local.processes import Child
from export_pipeline_tests.orchestration.daemon import Daemon
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.servers import Weed, wait_for

PROJECTS, DAYS, RUNS, AIM = 40, 90, 5, 300
POLL = 2.0


def large_backfill(servers: Servers) -> None:
    """Prints the seconds from the click to the last day."""
    print("\nOne backfill in the UI, with web server and daemon running\n")
    print("| projects | days of each | runs a day | seconds | at most | |\n|--:|--:|--:|--:|--:|---|", flush=True)
    days = [START + timedelta(days=number) for number in range(DAYS)]
    with tempfile.TemporaryDirectory(dir=servers.folder) as name, _running(Path(name)) as (house, url):
        assets = [project.asset_name for project in house.projects()]
        begun = time.monotonic()
        backfill = launch(url, assets, [day.isoformat() for day in days], title="benchmark")
        while not (state := state_of(url, backfill)).ended:
            time.sleep(POLL)
        seconds = time.monotonic() - begun
        if not state.ok or state.total != PROJECTS * DAYS:
            raise RuntimeError(
                f"the backfill ended as {state.status}, {state.done} of {state.total} days: {state.error}"
            )
        verdict = "met" if seconds <= AIM else "**missed**"
        print(f"| {PROJECTS} | {DAYS} | {RUNS} | {seconds:.0f} | {AIM} | {verdict} |", flush=True)


@contextmanager
def _running(folder: Path) -> Iterator[tuple[House, str]]:
    weed = Weed(folder / "weed")
    weed.start()
    try:
        house = House(folder, weed)
        days = [START + timedelta(days=number) for number in range(DAYS)]
        for number in range(PROJECTS):
            house.add_project(f"project {number}", days=days, runs=RUNS)
        house.sync()
        house.variables["PYTHONDONTWRITEBYTECODE"] = ""  # modules are compiled once, not in every process
        daemon = Daemon(house, folder / "dagster")
        daemon.start()
        try:
            with _web_server(house, daemon.folder) as url:
                yield house, url
        finally:
            daemon.stop()
    finally:
        weed.stop()


@contextmanager
def _web_server(house: House, folder: Path) -> Iterator[str]:
    home, port = DagsterHome(house.settings, folder=folder), free_ports(1)
    command = home.command(
        "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(home.workspace), "--log-level", "warning"
    )
    environment = {**os.environ, **home.environment(), **house.variables}
    url = f"http://127.0.0.1:{port}"
    with Child(command, environment=environment, log=home.logs / "web.log"):
        wait_for(lambda: _is_well(url), what="web server and daemon", seconds=180)
        yield url


def _is_well(url: str) -> bool:
    try:
        return ask_health(url).ok
    except DagsterUnreachableError:
        return False

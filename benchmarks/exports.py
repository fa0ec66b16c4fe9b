"""How long small bulk exports take from being asked for to Completed, with the real Dagster daemon."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from benchmarks.servers import Servers
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.daemon import Daemon
from export_pipeline_tests.orchestration.house import START, House
from export_pipeline_tests.servers import Weed, wait_for

SMALL_ROWS, SMALL_AIM = 600, 15
DAYS, DAYS_AIM = 365, 45
PAUSE = 3.7
"""Between exports, so that they are asked for at other moments of the sensor's round."""


def small_exports(servers: Servers, *, rounds: int) -> None:
    """Prints the seconds until the worker began and until the export was Completed."""
    print("\nBulk exports with the daemon running, seconds after being asked for (medians)\n")
    print("| | rounds | first row read | Completed | at most | |\n|---|--:|--:|--:|--:|---|")
    with tempfile.TemporaryDirectory(dir=servers.folder) as name, _running(Path(name)) as bulk:
        small = bulk.house.project("small")
        _once(bulk, small, days=1)  # the daemon's first round loads the location
        _tell(f"{SMALL_ROWS} runs of one day", [_once(bulk, small, days=1) for _ in range(rounds)], aim=SMALL_AIM)
        _tell(f"{DAYS} days of 5 runs", [_once(bulk, bulk.house.project("year"), days=DAYS)], aim=DAYS_AIM)


@contextmanager
def _running(folder: Path) -> Iterator[BulkHouse]:
    weed = Weed(folder / "weed")
    weed.start()
    try:
        house = House(folder, weed)
        house.add_project("small", days=[START], runs=SMALL_ROWS)
        house.add_project("year", days=[START + timedelta(days=number) for number in range(DAYS)], runs=5)
        house.sync()
        house.variables["PYTHONDONTWRITEBYTECODE"] = ""  # modules are compiled once, not in every process
        daemon = Daemon(house, folder / "dagster")
        bulk = BulkHouse(house)
        daemon.start()
        try:
            yield bulk
        finally:
            daemon.stop()
    finally:
        weed.stop()


def _once(bulk: BulkHouse, project: str, *, days: int) -> tuple[float, float]:
    time.sleep(PAUSE)
    asked = bulk.ask(project, days=days)
    wait_for(lambda: bulk.export(asked.id).finished_at is not None, what="the export's end", seconds=600)
    ended = bulk.export(asked.id)
    if ended.status != "Completed" or ended.started_at is None or ended.finished_at is None:
        raise RuntimeError(f"the export is {ended.status}: {ended.error}")
    return (ended.started_at - ended.created_at) / 1e6, (ended.finished_at - ended.created_at) / 1e6


def _tell(what: str, found: list[tuple[float, float]], *, aim: int) -> None:
    begun, done = (statistics.median(each) for each in zip(*found, strict=True))
    verdict = "met" if done <= aim else "**missed**"
    print(f"| {what} | {len(found)} | {begun:.1f} | {done:.1f} | {aim} | {verdict} |", flush=True)

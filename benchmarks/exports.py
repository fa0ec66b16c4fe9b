"""How long small bulk exports take from being asked for to Completed, with the real Dagster daemon."""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from benchmarks.servers import Servers
from export_pipeline.exports.bulk.dagster_runs import EXPORT_TAG
from export_pipeline_tests.orchestration.bulk_house import BulkHouse
from export_pipeline_tests.orchestration.daemon import Daemon
from export_pipeline_tests.orchestration.house import House
from export_pipeline_tests.servers import Weed, wait_for

SMALL_ROWS, SMALL_AIM = 600, 15
DAYS, DAYS_AIM = 365, 45
FIRST = date(2025, 3, 1)
"""Of a year that is over: a window does not end in the future."""
PAUSE = 3.7
"""Between exports, so that they are asked for at other moments of the sensor's round."""


def small_exports(servers: Servers, *, rounds: int) -> None:
    """Prints the seconds until the first Dagster run was queued, began to read, and until the export was Completed."""
    print("\nBulk exports with the daemon running, seconds after being asked for (medians)\n")
    print("| | rounds | run queued | first row read | Completed | at most | |\n|---|--:|--:|--:|--:|--:|---|")
    with tempfile.TemporaryDirectory(dir=servers.folder) as name, _running(Path(name)) as running:
        small, year = map(running.bulk.house.project, ("small", "year"))
        running.once(small, days=1)  # the daemon's first round loads the location
        _tell(f"{SMALL_ROWS} runs of one day", [running.once(small, days=1) for _ in range(rounds)], aim=SMALL_AIM)
        _tell(f"{DAYS} days of 5 runs", [running.once(year, days=DAYS)], aim=DAYS_AIM)


@dataclass(frozen=True)
class _Running:
    """A house with the daemon at work in it."""

    bulk: BulkHouse
    daemon: Daemon

    def once(self, project: str, *, days: int) -> tuple[float, float, float]:
        """Seconds until the first run was queued, until it had begun a day, and until all was done."""
        time.sleep(PAUSE)
        asked = self.bulk.ask(project, first=FIRST, days=days)
        wait_for(lambda: self.bulk.export(asked.id).finished_at is not None, what="the export's end", seconds=600)
        ended = self.bulk.export(asked.id)
        if ended.status != "Completed" or ended.started_at is None or ended.finished_at is None:
            raise RuntimeError(f"the export is {ended.status}: {ended.error}")
        with self.daemon.instance() as instance:
            runs = instance.get_run_records(dg.RunsFilter(tags={EXPORT_TAG: str(asked.id)}))
        queued = min(run.create_timestamp.timestamp() for run in runs)
        begun, done = ((at - ended.created_at) / 1e6 for at in (ended.started_at, ended.finished_at))
        return queued - ended.created_at / 1e6, begun, done


@contextmanager
def _running(folder: Path) -> Iterator[_Running]:
    weed = Weed(folder / "weed")
    weed.start()
    try:
        house = House(folder, weed, start=FIRST)
        house.add_project("small", days=[FIRST], runs=SMALL_ROWS)
        house.add_project("year", days=[FIRST + timedelta(days=number) for number in range(DAYS)], runs=5)
        house.sync()
        house.variables["PYTHONDONTWRITEBYTECODE"] = ""  # modules are compiled once, not in every process
        daemon = Daemon(house, folder / "dagster")
        bulk = BulkHouse(house)
        daemon.start()
        try:
            yield _Running(bulk, daemon)
        finally:
            daemon.stop()
    finally:
        weed.stop()


def _tell(what: str, found: list[tuple[float, float, float]], *, aim: int) -> None:
    queued, begun, done = (statistics.median(each) for each in zip(*found, strict=True))
    verdict = "met" if done <= aim else "**missed**"
    print(f"| {what} | {len(found)} | {queued:.1f} | {begun:.1f} | {done:.1f} | {aim} | {verdict} |", flush=True)

"""Large days and small ones through Dagster: memory, and what Dagster adds."""

import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from benchmarks.program import run_program
from benchmarks.servers import SCRIPTS, Servers
from benchmarks.store import DAY, Day, write_postgres, write_sqlite
from benchmarks.stores import Store
from benchmarks.worker import Cost, measure

PARTITION = DAY.date().isoformat()
WORKER_LIMIT_MB = 500
FAT_LIMIT_MB = 600
"""Where rows have 10 MB."""
SMALL_DAY_LIMIT = 3.0
"""CPU seconds above an empty asset in a bare code location."""


def through_dagster(
    servers: Servers, *, rows: int, fat_rows: int, fat_characters: int, rounds: int, sources: Sequence[str]
) -> None:
    """Prints what a day of many rows, one of large rows and a small one cost, Dagster included."""
    days = [
        Day("many_rows", rows=rows, characters=1_500),
        Day("fat_rows", rows=fat_rows, characters=fat_characters, spread=0),
    ]
    small = [Day(f"small_{number}", rows=100, characters=6_000) for number in range(rounds)]
    print("\nOne day through `dagster asset materialize` (worker: one process, Dagster included)\n")
    print("| source | day | rows | wall s | CPU s | peak RSS MB |\n|---|---|--:|--:|--:|--:|")
    for source in sources:
        with tempfile.TemporaryDirectory(dir=servers.folder) as name:
            bench = Bench(Path(name), servers)
            environment = bench.prepare(source, days + small)
            for day in days:
                cost = bench.materialize(day, environment)
                limit = FAT_LIMIT_MB if day.project == "fat_rows" else WORKER_LIMIT_MB
                verdict = "" if cost.peak_mb <= limit else f" **above {limit}**"
                print(
                    f"| {source} | {day.project} | {day.rows} | {cost.wall:.1f} | {cost.cpu:.1f} "
                    f"| {cost.peak_mb:.0f}{verdict} |",
                    flush=True,
                )
            _small_days(bench, environment, small, source=source)


def week_through_dagster(servers: Servers, store: Store) -> None:
    """Prints what the worker needs for one day, and for all days in one run."""
    print("\nDays in one run of the job `export_runs`, Dagster included\n")
    print("| days | runs a day | wall s | CPU s of the worker | peak RSS MB | |\n|--:|--:|--:|--:|--:|---|")
    first, one = store.sample.first_day, None
    with tempfile.TemporaryDirectory(dir=servers.folder) as name:
        (Path(name) / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        for days in (1, store.sample.days):
            prefix = f"{Path(name).name}/{days}"
            settings = servers.settings(source_url=store.url, control=store.control, prefix=prefix)
            options = {
                "asset": store.projects[0][0].replace("-", "_"),
                "first": first.isoformat(),
                "last": (first + timedelta(days=days - 1)).isoformat(),
            }
            run = run_program(
                [sys.executable, str(Path(__file__).with_name("dagster_run.py"))],
                options,
                servers=servers,
                prefix=prefix,
                environment=settings | {"DAGSTER_HOME": name},
            )
            one = one or run.peak_mb
            verdict = "met" if run.peak_mb <= min(WORKER_LIMIT_MB, 1.1 * one) else "**missed**"
            print(
                f"| {days} | {store.sample.rows:,} | {run.wall:.1f} | {run.client:.1f} | {run.peak_mb:.0f} "
                f"| {run.peak_mb / one:.2f} x one day; at most {WORKER_LIMIT_MB} MB and 1.1 x: {verdict} |",
                flush=True,
            )


def _small_days(bench: "Bench", environment: dict[str, str], days: list[Day], *, source: str) -> None:
    bare, ours = [], []
    for day in days:
        bare.append(bench.bare(environment))
        ours.append(bench.materialize(day, environment))
    least, most = (statistics.median(cost.cpu for cost in costs) for costs in (bare, ours))
    verdict = "met" if most - least <= SMALL_DAY_LIMIT else "**missed**"
    print(
        f"| {source} | small | {days[0].rows} | {statistics.median(cost.wall for cost in ours):.1f} | {most:.1f} |"
        f" {statistics.median(cost.peak_mb for cost in ours):.0f} |\n\n{source}: the small day takes {most - least:.1f}"
        f" CPU s above an empty asset in a bare location ({least:.1f}); at most {SMALL_DAY_LIMIT:g}: {verdict}\n",
        flush=True,
    )


class Bench:
    """A trace store, a Dagster home and a control database for one source."""

    def __init__(self, folder: Path, servers: Servers) -> None:
        self._folder, self._servers = folder, servers

    def prepare(self, source: str, days: list[Day]) -> dict[str, str]:
        """Writes the trace store and lists its projects; the environment of the workers."""
        (self._folder / "dagster").mkdir()
        (self._folder / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        if source == "sqlite":
            url = write_sqlite(self._folder / "traces.db", days)
        else:
            url = write_postgres(self._servers.postgres.new_database(), days)
        environment = self._servers.settings(
            source_url=url, control=self._folder / "control.db", prefix=self._folder.name
        ) | {"DAGSTER_HOME": str(self._folder / "dagster")}
        measure([str(SCRIPTS / "export-pipeline"), "projects", "sync"], environment=environment, folder=self._folder)
        return environment

    def materialize(self, day: Day, environment: dict[str, str]) -> Cost:
        """What it costs to export the day, and its rows are in the bucket."""
        return self._dagster(["-m", "export_pipeline.definitions", "--select", f"runs/{day.project}"], environment)

    def bare(self, environment: dict[str, str]) -> Cost:
        """What an empty asset costs."""
        return self._dagster(["-f", str(Path(__file__).with_name("bare.py")), "--select", "empty"], environment)

    def _dagster(self, target: list[str], environment: dict[str, str]) -> Cost:
        command = [str(SCRIPTS / "dagster"), "asset", "materialize", *target, "--partition", PARTITION]
        return measure(command, environment=environment, folder=self._folder)

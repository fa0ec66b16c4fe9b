"""What Dagster costs before the first row: loading the location, starting a run, and the daemon that waits."""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.program import quick_environment
from benchmarks.servers import SCRIPTS, Servers
from benchmarks.stores import Store
from benchmarks.worker import measure
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.projects.sync import sync_projects
from export_pipeline.settings import Settings
from export_pipeline.sources.protocol import Project

COUNTS = (10, 100, 1_000, 5_000)
LOAD_LIMIT = 4.0
"""Seconds of CPU for the location of 1,000 projects, the import of Dagster included."""

LOAD = "from export_pipeline.definitions import defs; defs.get_repository_def()"
IDLE_SECONDS = 60


def location(servers: Servers, store: Store, *, rounds: int) -> None:
    """Prints all of it."""
    with tempfile.TemporaryDirectory(dir=servers.folder) as name:
        folder = Path(name)
        (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        _loading(servers, store, folder, rounds=rounds)
        settings = servers.settings(source_url=store.url, control=store.control, prefix=folder.name)
        environment = settings | {"DAGSTER_HOME": name}
        _imports(environment, folder)
        _idle(environment, folder)


def _loading(servers: Servers, store: Store, folder: Path, *, rounds: int) -> None:
    print("\nLoading the location, a new process each time\n")
    print("| projects | wall s | CPU s | peak RSS MB |\n|--:|--:|--:|--:|")
    for count in (0, *COUNTS):
        control = folder / f"{count}.db"
        settings = servers.settings(source_url=store.url, control=control, prefix="load")
        _know(control, count, settings)
        environment = settings | {"DAGSTER_HOME": str(folder)}
        costs = [measure([sys.executable, "-c", LOAD], environment=environment, folder=folder) for _ in range(rounds)]
        wall, cpu, peak = (
            statistics.median(getattr(cost, each) for cost in costs) for each in ("wall", "cpu", "peak_mb")
        )
        verdict = "" if count != 1_000 else f" at most {LOAD_LIMIT:g}: {'met' if cpu <= LOAD_LIMIT else '**missed**'}"
        print(f"| {count:,} | {wall:.1f} | {cpu:.1f}{verdict} | {peak:.0f} |", flush=True)


class _Projects:
    """As much of a trace store as a sync reads."""

    def __init__(self, count: int) -> None:
        self._count = count

    def projects(self) -> list[Project]:
        """Projects with made-up names."""
        return [Project(key=f"project-{number:05}", name=f"project {number:05}") for number in range(self._count)]


def _know(control: Path, count: int, settings: dict[str, str]) -> None:
    database = ControlDatabase(f"sqlite:///{control}")
    database.migrate()
    if count:
        given = {name.removeprefix("EXPORT_PIPELINE_").lower(): value for name, value in settings.items()}
        sync_projects(database, _Projects(count), Settings(**given, start_date="2026-01-01"), count=False)  # type: ignore[arg-type]
    database.close()


def _imports(environment: dict[str, str], folder: Path) -> None:
    """What a run worker imports, by package, and that pandas is not among it."""
    command = [sys.executable, "-X", "importtime", "-c", LOAD]
    done = subprocess.run(
        command, env=quick_environment() | environment, cwd=folder, capture_output=True, text=True, check=True
    )
    own: dict[str, int] = {}
    for line in done.stderr.splitlines():
        if found := re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", line):
            package = found[2].split(".")[0]
            own[package] = own.get(package, 0) + int(found[1])
    most = sorted(own.items(), key=lambda item: -item[1])[:12]
    pandas = "**and pandas**" if "pandas" in own else "no pandas"
    print(f"\nImports of the location: {sum(own.values()) / 1e6:.2f} s, {pandas}")
    print(", ".join(f"{name} {micros / 1e6:.2f}" for name, micros in most), flush=True)


def _idle(environment: dict[str, str], folder: Path) -> None:
    """The daemon with its code server, with nothing to do."""
    command = [str(SCRIPTS / "dagster-daemon"), "run", "-m", "export_pipeline.definitions"]
    with (folder / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(
            command, env=quick_environment() | environment, cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
        try:
            time.sleep(IDLE_SECONDS / 2)
            before = _tree_cpu(daemon.pid)
            time.sleep(IDLE_SECONDS)
            used = _tree_cpu(daemon.pid) - before
            memory = sum(process.memory_info().rss for process in _tree(daemon.pid)) / 1e6
        finally:
            for process in reversed(_tree(daemon.pid)):
                process.kill()
            daemon.wait()
    print(f"\nThe idle daemon and its code server: {used / IDLE_SECONDS:.1%} of a core, {memory:.0f} MB\n", flush=True)


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _tree_cpu(pid: int) -> float:
    return float(sum(sum(process.cpu_times()[:4]) for process in _tree(pid)))

"""The trace stores of sample traces that the benchmarks read, each written once."""

import subprocess
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from benchmarks.servers import SCRIPTS, Servers
from export_pipeline_sample.write import write_sample

LAST_DAY = date(2026, 3, 8)


@dataclass(frozen=True)
class Sample:
    """A trace store: `projects` with `days` days up to LAST_DAY, each of exactly `rows` runs."""

    name: str
    days: int
    rows: int
    projects: int = 1
    row_bytes: int | None = None

    @property
    def first_day(self) -> date:
        """The first day with rows."""
        return LAST_DAY - timedelta(days=self.days - 1)


@dataclass(frozen=True)
class Store:
    """A sample in a database, and a control database that knows its projects."""

    sample: Sample
    url: str
    control: Path
    projects: tuple[tuple[str, str], ...]
    """Name and id of each."""


def open_sample(sample: Sample, servers: Servers, *, sqlite: bool = False) -> Store:
    """The store, written where it is not there yet."""
    folder = servers.folder / "stores"
    folder.mkdir(exist_ok=True)
    kind = "sqlite" if sqlite else "postgres"
    marker = folder / f"{sample.name}.{kind}.txt"
    url = f"sqlite:///{folder / sample.name}.db" if sqlite else servers.postgres.url(sample.name)
    if not marker.exists():
        print(f"writing {sample.projects} x {sample.days} days of {sample.rows:,} runs to {kind} ...", flush=True)
        if not sqlite:
            servers.postgres.execute(f"DROP DATABASE IF EXISTS {sample.name}")
            servers.postgres.execute(f"CREATE DATABASE {sample.name}")
        report = write_sample(
            url,
            projects=sample.projects,
            experiments=0,
            days=sample.days,
            runs_per_day=sample.rows,
            row_bytes=sample.row_bytes,
            last_day=LAST_DAY,
            steady=True,
            existing="replace",
        )
        if not sqlite:
            servers.postgres.execute("VACUUM ANALYZE", database=sample.name)
        marker.write_text("".join(f"{project.id}\t{project.name}\n" for project in report.projects))
    lines = [line.split("\t") for line in marker.read_text().splitlines()]
    control = folder / f"{sample.name}.{kind}.control.db"
    settings = servers.settings(source_url=url, control=control, prefix="setup")
    command = ["migrate"] if control.exists() else ["projects", "sync"]  # it may be of an older version
    subprocess.run(
        [SCRIPTS / "export-pipeline", *command], env=settings, cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    return Store(sample, url, control, tuple((name, key) for key, name in lines))

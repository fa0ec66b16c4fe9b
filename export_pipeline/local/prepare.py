"""What demo and dev begin with: a trace store with rows, and the projects read from it."""

import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

from export_pipeline.errors import EmbeddedError, SettingsError
from export_pipeline.local.real_store import spans_of
from export_pipeline.local.screen import Screen, shown
from export_pipeline.settings import PREFIX, Settings

SEED = 7
PROJECTS = 3
DAYS = 14
RUNS_PER_DAY = 300


def refuse_own_settings(settings: Settings, command: str) -> None:
    """Raises `SettingsError` where the settings name a store and a bucket of one's own."""
    if not settings.embedded:
        raise SettingsError(
            f"`export-pipeline {command}` works on the embedded trace store and bucket only; it would not touch yours: "
            f"unset {PREFIX}SOURCE_URL, {PREFIX}CONTROL_URL and {PREFIX}BUCKET for it"
        )


def write_traces(resolved: Settings, screen: Screen) -> None:
    """Writes the embedded trace store where there is none; one with runs is left as it is."""
    from export_pipeline_sample.write import write_sample

    path = resolved.home / "traces.db"
    if _holds_runs(path) or spans_of(path):
        screen.say(f"Trace store: {shown(path)} is there already and is used as it is.")
        return
    with screen.progress("writing traces") as on_progress:
        report = write_sample(
            f"sqlite:///{path}", seed=SEED, projects=PROJECTS, days=DAYS, runs_per_day=RUNS_PER_DAY,
            existing="append", on_progress=on_progress,
        )  # fmt: skip
    screen.say(
        f"Trace store: wrote {report.runs:,} runs of {PROJECTS} projects and an experiment, "
        f"{report.first_day} to {report.last_day}, {report.characters / 1e6:.0f} MB of text, to {shown(path)}."
    )


def sync(resolved: Settings) -> date:
    """Reads the projects into the control database; the first day with rows.

    Raises `EmbeddedError` where no project has rows.
    """
    from export_pipeline.exports.control.database import open_control
    from export_pipeline.exports.projects.sync import sync_projects
    from export_pipeline.sources.factory import open_source

    with closing(open_control(resolved)) as control, closing(open_source(resolved)) as source:
        report = sync_projects(control, source, resolved, count=False)
    if report.partitions_start is None:
        raise EmbeddedError(f"the trace store in {resolved.home} has no rows; remove the folder to begin anew")
    return report.partitions_start


def _holds_runs(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as transaction:
            return bool(transaction.execute("SELECT EXISTS (SELECT 1 FROM runs)").fetchone()[0])
    except sqlite3.Error:
        return False

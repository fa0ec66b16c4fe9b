"""The demo: sample traces, through Dagster, into the embedded bucket; then a look at what is there.

Everything lies in `HOME`, is kept, and is used again by the next demo and by dev.
"""

import json
import sys
import time
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from export_pipeline.errors import EmbeddedError
from export_pipeline.home import private_files
from export_pipeline.local.dagster_home import DEFINITIONS, DagsterHome
from export_pipeline.local.embedded import EmbeddedStore
from export_pipeline.local.prepare import refuse_own_settings, sync, write_traces
from export_pipeline.local.processes import Child, interruptible
from export_pipeline.local.real_store import Name, write_real_traces
from export_pipeline.local.screen import Screen, shown
from export_pipeline.settings import PREFIX, Settings

if TYPE_CHECKING:
    from export_pipeline.exports.control.database import ControlDatabase

JOB = "export_runs"
_POLL_SECONDS = 0.25


def run_demo(settings: Settings, screen: Screen, *, store: Name | None = None, python: str = sys.executable) -> None:
    """Runs the whole demo; comes back when it is done and nothing of it runs any more.

    With a `store` the traces are those of a real one, which `python` can run, in a `HOME` of its own below the other.
    Raises `SettingsError` where the settings are not embedded, `EmbeddedError` where a part cannot run, the export
    failed or its check found something wrong.
    """
    refuse_own_settings(settings, "demo")
    if find_spec("duckdb") is None:
        raise EmbeddedError("the demo needs DuckDB: pip install 'export-pipeline[demo]'")
    if store is not None:
        settings = settings.model_copy(update={"home": settings.home / store})
    with interruptible(), private_files(), EmbeddedStore(settings) as embedded:
        resolved = embedded.resolved
        if store is None:
            write_traces(resolved, screen)
        else:
            write_real_traces(store, resolved, python, screen)
        start = sync(resolved)
        embedded.wait_ready()
        screen.say(f"S3: SeaweedFS at {resolved.endpoint_url}, bucket {resolved.bucket}.")
        _materialize(resolved, start, screen)
        from export_pipeline.local.demo_results import show_bucket, show_check, show_query

        show_bucket(resolved, screen)
        show_check(resolved, screen)
        show_query(resolved, screen)
    command = "`export-pipeline dev` (or `make dev`)"
    if store is not None:
        command = f"`{PREFIX}HOME={shown(settings.home)} export-pipeline dev`"
    screen.say(f"Nothing is left running. {command} opens the Dagster UI on this data.")


def _materialize(resolved: Settings, start: date, screen: Screen) -> None:
    """Has Dagster run the job over all projects and all days that are over."""
    home = DagsterHome(resolved)
    home.prepare()
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    tags = {
        "dagster/asset_partition_range_start": start.isoformat(),
        "dagster/asset_partition_range_end": yesterday.isoformat(),
    }
    command = home.command(
        "dagster", "job", "execute", "-m", DEFINITIONS, "-a", "defs", "-j", JOB, "--tags", json.dumps(tags)
    )
    screen.say(f"Dagster: materializing {start} to {yesterday} of all projects, instance {shown(home.folder)} …")
    began = time.monotonic()
    log = home.logs / f"demo-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
    with (
        screen.progress("days") as on_progress,
        _Days(resolved, (yesterday - start).days + 1) as days,
        Child(command, environment=home.environment(), log=log) as child,
    ):
        while (status := child.wait(_POLL_SECONDS)) is None:
            on_progress(days.done(), days.total)
    if status != 0:
        raise EmbeddedError(
            f"Dagster's run failed:\n{failures(log.read_text()) or child.last_words()}\nIts log is {log}"
        )
    screen.say(f"Dagster: {days.total} days of {days.projects} projects in {time.monotonic() - began:.0f} s.")


def failures(log: str) -> str:
    """Why steps failed, out of a run's log: each reason once, without tracebacks."""
    texts = (line.partition("Failure: ")[2] for line in log.splitlines() if ".Failure: " in line)
    return "\n".join(dict.fromkeys(texts))


class _Days:
    """Counts the days that Dagster has dealt with since this was made; a context manager."""

    def __init__(self, resolved: Settings, days: int) -> None:
        from export_pipeline.exports.control.database import open_control
        from export_pipeline.exports.projects.registry import list_projects

        self._control: ControlDatabase = open_control(resolved)
        self.projects = len(list_projects(self._control, only_assets=True, settings=resolved))
        self.total = self.projects * days
        self._began = self._control.now()

    def __enter__(self) -> "_Days":
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()

    def done(self) -> int:
        """How many days have a commit and were looked at again, or committed, since the beginning."""
        from export_pipeline.exports.control.records import read_days
        from export_pipeline.exports.projects.standing import list_tables

        exports = [export for export in list_tables(self._control) if export.superseded_at is None]
        with self._control.read() as transaction:
            days = [day for export in exports for day in read_days(transaction, export.export_id)]
        return sum(day.committed and day.owner is None and day.updated_at >= self._began for day in days)

"""A small trace store, a control database and a bucket, put together for the tests of the Dagster layer."""

import os
import sqlite3
import uuid
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import dagster as dg

from export_pipeline.exports.control.database import ControlDatabase, open_control
from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.projects.registry import list_projects, sync_projects
from export_pipeline.orchestration.build import build_definitions
from export_pipeline.settings import PREFIX, Settings, load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.clock import half_a_day_away
from export_pipeline_tests.servers import S3Server

START = date(2026, 3, 1)
NO_WAIT = dg.RetryPolicy(max_retries=1, delay=0)

_TABLES = """
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, name TEXT, start_time TEXT);
CREATE TABLE IF NOT EXISTS runs (
  id TEXT PRIMARY KEY, session_id TEXT, name TEXT, run_type TEXT, start_time TEXT, inputs TEXT);
CREATE INDEX IF NOT EXISTS runs_by_day ON runs (session_id, start_time);
"""


class House:
    """Everything that the Dagster layer needs, in one folder and one bucket."""

    def __init__(self, folder: Path, server: S3Server, *, start: date = START) -> None:
        self.folder = folder
        self.server = server
        self.start = start
        self.bucket = server.new_bucket()
        self.variables = {
            PREFIX + "SOURCE_URL": f"sqlite:///{folder / 'traces.db'}",
            PREFIX + "CONTROL_URL": f"sqlite:///{folder / 'control.db'}",
            PREFIX + "BUCKET": self.bucket,
            PREFIX + "ENDPOINT_URL": server.endpoint_url,
            PREFIX + "ACCESS_KEY_ID": server.access_key_id,
            PREFIX + "SECRET_ACCESS_KEY": server.secret_access_key,
            PREFIX + "ALLOW_PRIVATE_ENDPOINTS": "true",
            PREFIX + "START_DATE": start.isoformat(),
            PREFIX + "DAILY_AT": half_a_day_away(),
        }
        with closing(self._traces()) as traces:
            traces.executescript(_TABLES)

    def _traces(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "traces.db")

    def use_wal(self) -> None:
        """Lets rows be added while others are read."""
        with closing(self._traces()) as traces:
            traces.execute("PRAGMA journal_mode = WAL")

    @property
    def settings(self) -> Settings:
        """The settings of this house, without any environment."""
        return load_settings(**{name.removeprefix(PREFIX).lower(): value for name, value in self.variables.items()})

    @property
    def control(self) -> ControlDatabase:
        """The control database."""
        return open_control(self.settings)

    @staticmethod
    def project(name: str) -> str:
        """The id of the project with that name."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, name))

    def add_project(self, name: str, *, days: Iterable[date] = (), runs: int = 3) -> str:
        """A project with some runs on each of the days; gives back its id."""
        project = self.project(name)
        with closing(self._traces()) as traces, traces:
            traces.execute("INSERT OR IGNORE INTO sessions VALUES (?, ?, ?)", (project, name, "2026-01-01T00:00:00"))
        for day in days:
            self.add_runs(project, day, runs=runs)
        return project

    def add_runs(self, project: str, day: date, *, runs: int = 3) -> None:
        """More runs of a project on a day."""
        noon = datetime.combine(day, datetime.min.time(), UTC) + timedelta(hours=12)
        rows = [
            (str(uuid.uuid4()), project, f"run {number}", "chain", (noon + timedelta(seconds=number)).isoformat(), "{}")
            for number in range(runs)
        ]
        with closing(self._traces()) as traces, traces:
            traces.executemany("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", rows)

    def count_runs(self, project: str, day: date) -> int:
        """How many runs of a project the trace store has on a day."""
        query = "SELECT count(*) FROM runs WHERE session_id = ? AND start_time LIKE ?"
        with closing(self._traces()) as traces:
            return int(traces.execute(query, (project, f"{day}%")).fetchone()[0])

    def delete_runs(self, project: str, day: date) -> None:
        """Purges the runs of a day."""
        with closing(self._traces()) as traces, traces:
            traces.execute("DELETE FROM runs WHERE session_id = ? AND start_time LIKE ?", (project, f"{day}%"))

    def lose_the_trace_store(self) -> None:
        """Takes the trace store away."""
        (self.folder / "traces.db").rename(self.folder / "traces.away")

    def bring_the_trace_store_back(self) -> None:
        """Gives it back."""
        (self.folder / "traces.away").rename(self.folder / "traces.db")

    def sync(self) -> None:
        """`export-pipeline projects sync`."""
        source = open_source(self.settings)
        try:
            sync_projects(self.control, source, self.settings, count=False)
        finally:
            source.close()

    def projects(self) -> list[ProjectRecord]:
        """The projects that have assets."""
        return list_projects(self.control, only_assets=True, settings=self.settings)

    def definitions(self, **overrides: Any) -> dg.Definitions:
        """The Dagster location, retrying once and at once."""
        return build_definitions(self.settings, **{"retry_policy": NO_WAIT, **overrides})

    def keys(self) -> list[str]:
        """The keys of all objects in the bucket."""
        answer = self.server.client().list_objects_v2(Bucket=self.bucket)
        return sorted(found["Key"] for found in answer.get("Contents", ()))

    def data_files(self) -> list[str]:
        """The keys of the data files."""
        return [key for key in self.keys() if key.endswith(".parquet")]


def materialize(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    *names: str,
    first: date,
    last: date | None = None,
    tags: dict[str, str] | None = None,
    run_config: dict[str, Any] | None = None,
) -> dg.ExecuteInProcessResult:
    """One run that materializes the days of the assets `runs/<name>`; it does not raise."""
    span = {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": (last or first).isoformat(),
    }
    job = definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(["runs", name]) for name in names],
        tags={**span, **(tags or {})},
        run_config=run_config,
        raise_on_error=False,
    )


def instance_of(home: Path) -> dg.DagsterInstance:
    """The Dagster instance of a folder, as the processes that have it as `DAGSTER_HOME` see it."""
    with patch.dict(os.environ, DAGSTER_HOME=str(home)):
        return dg.DagsterInstance.get()


def materialized(instance: dg.DagsterInstance, name: str) -> dict[str, dict[str, Any]]:
    """By day the metadata of the newest materialization of an asset."""
    records = instance.fetch_materializations(dg.AssetKey(["runs", name]), limit=1000).records
    found: dict[str, dict[str, Any]] = {}
    for record in records:
        materialization = record.asset_materialization
        assert materialization is not None
        assert materialization.partition is not None
        found.setdefault(
            materialization.partition, {key: value.value for key, value in materialization.metadata.items()}
        )
    return found


def failure_text(instance: dg.DagsterInstance, run_id: str) -> str:
    """The error of the step that failed in a run."""
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is not None and event.is_step_failure:
            error = event.step_failure_data.error
            return (error.message if error else "") or ""
    raise AssertionError("no step failed")

"""A LangSmith whose runs have attachments, and a bucket that they are copied to."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from export_pipeline.errors import ExportPipelineError
from export_pipeline.exports.commit.day import DayOutcome, DayRequest
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher, PublishLimits
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.exports.proof.verify.export import VerifyReport, verify_export
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline_tests.exports.world import PREFIX, World
from export_pipeline_tests.servers import Weed
from export_pipeline_tests.servers.langsmith import LangSmith
from export_pipeline_tests.sources.langsmith.runs import MIDNIGHT, source_of
from export_pipeline_tests.sources.presets.known_stores import DAY


class Copies:
    """One project and its day; `settings` are those of the trace store."""

    def __init__(self, server: LangSmith, weed: Weed, folder: Path, **settings: Any) -> None:
        self.server, self.folder = server, folder
        self.world = World.make(weed, folder)
        server.storage = f"http://127.0.0.1:{server.port}"
        self.project = server.add_project("chat", start=MIDNIGHT)
        self.source = source_of(server, **{"source_minutes": 0.5, **settings})
        sync_projects(self.world.control, self.source, self.world.settings)

    def close(self) -> None:
        """Gives back connections."""
        self.source.close()
        self.world.close()

    def add(self, files: Mapping[str, bytes], **more: Any) -> str:
        """The id of a run with these attachments."""
        run = self.server.add_run(self.project, MIDNIGHT, attachments=dict.fromkeys(files, "image/png"), **more)
        self.server.files.update({(run, name): content for name, content in files.items()})
        return run

    @property
    def table(self) -> TableRecord:
        """The project's standing table."""
        control = self.world.control
        return standing_table(control, find_project(control, "chat"), self.world.settings)

    def publish(self, *, attachments: bool = True, allow_shrink: bool = False) -> DayOutcome | ExportPipelineError:
        """Exports the day."""
        limits = PublishLimits(lease_seconds=5.0, patience=5.0, settle=0.3, attachments=attachments)
        publisher = Publisher(control=self.world.control, store=self.world.store, source=self.source, limits=limits)
        request = DayRequest(
            self.table, DayWindow(DAY, Window.of_day(DAY)), owner="process:test:1", allow_shrink=allow_shrink
        )
        return dict(publish_days(publisher, [request]))[DAY]

    def published(self, **options: bool) -> DayOutcome:
        """Exports the day, which must succeed."""
        outcome = self.publish(**options)
        assert isinstance(outcome, DayOutcome), outcome
        return outcome

    def verify(self, *, deep: bool = False) -> VerifyReport:
        """Verifies the export."""
        world = self.world
        return verify_export(self.table, store=world.store, control=world.control, source=self.source, deep=deep)

    def extras(self) -> dict[str, dict[str, Any]]:
        """What the day's file says in `extra`, by run."""
        (key,) = [key for key in self.world.objects() if key.endswith(".parquet")]
        path = self.folder / "day.parquet"
        path.write_bytes(self.world.get(key))
        with duckdb.connect() as connection:
            rows = connection.execute(f"SELECT id, extra FROM '{path}'").fetchall()
        return {run: json.loads(extra) for run, extra in rows}

    def copied(self) -> dict[str, bytes]:
        """The attachments in the bucket by key."""
        keys = [key for key in self.world.objects() if key.startswith(f"{PREFIX}/attachments/")]
        return {key: self.world.get(key) for key in keys}

    def puts(self) -> int:
        """Objects that were written whole so far."""
        return self.world.store.requests["PutObject"]

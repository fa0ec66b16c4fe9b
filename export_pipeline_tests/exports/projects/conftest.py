"""A project in a real trace store of each kind, a control database and a bucket."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from export_pipeline.exports.commit.day import DayOutcome, DayRequest
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.control.database import ControlDatabase, open_control
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.projects.changed import DayChanges, find_changed_days
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.settings import load_settings
from export_pipeline_tests.servers import Rclone
from export_pipeline_tests.sources.stores import DAY, PROJECT, Store

AT = "2026-03-14 10:00:00+00:00"
CHANGES = {"modified_at": "{time}"}


class Exported:
    """What a test changes (`store`) and what it looks with."""

    def __init__(self, store: Store, folder: Path, server: Rclone, *, mapping: str | None = None) -> None:
        self.store = store
        self.settings = load_settings(
            source_url=store.url,
            control_url=f"sqlite:///{folder}/control.db",
            bucket=server.new_bucket(),
            region=server.region,
            endpoint_url=server.endpoint_url,
            allow_private_endpoints=True,
            start_date=DAY,
        )
        self.control: ControlDatabase = open_control(self.settings)
        self.source = store.source(mapping)
        config = DestinationConfig.from_settings(self.settings)
        self.bucket = S3Store(config, Credentials(server.access_key_id, server.secret_access_key))
        sync_projects(self.control, self.source, self.settings, count=False)
        self.export = standing_table(self.control, find_project(self.control, PROJECT), self.settings)

    def publish(self, *wanted: date) -> list[str]:
        """Exports days, by default the one; what came of each, the error's class where there was one."""
        requests = [
            DayRequest(self.export, DayWindow(day, Window.of_day(day)), owner="process:test:1")
            for day in wanted or (DAY,)
        ]
        found = dict(publish_days(Publisher(control=self.control, store=self.bucket, source=self.source), requests))
        return [
            result.outcome if isinstance(result, DayOutcome) else type(result).__name__
            for _, result in sorted(found.items())
        ]

    def look(self, *wanted: date) -> DayChanges:
        """What the trace store has changed in the days, by default the one."""
        window = Window.of_days(min(wanted, default=DAY), max(wanted, default=DAY))
        return find_changed_days(self.control, self.source, self.export, window)

    def read_hours_ago(self, hours: float) -> None:
        """Makes it so long since the days were read."""
        micros = int(hours * 3600 * 1_000_000)
        with self.control.begin() as connection:
            connection.execute(sa.update(days).values(snapshot_at=days.c.snapshot_at - micros))

    def close(self) -> None:
        """Gives back connections."""
        self.source.close()
        self.control.close()
        self.bucket.close()


@pytest.fixture
def export(store: Store, tmp_path: Path, rclone: Rclone) -> Iterator[Callable[..., Exported]]:
    """Makes an `Exported` over the store as the test has set it up, perhaps with a mapping."""
    made: list[Exported] = []

    def make(mapping: str | None = None) -> Exported:
        made.append(Exported(store, tmp_path, rclone, mapping=mapping))
        return made[-1]

    yield make
    for exported in made:
        exported.close()

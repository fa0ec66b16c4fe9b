"""A trace store, a control database and a bucket with exported days, and ways to damage what is there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from export_pipeline.exports.commit.day import DayOutcome, DayRequest
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher, PublishLimits
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.exports.proof.verify.export import VerifyReport, verify_export
from export_pipeline.files.manifest import canonical_json
from export_pipeline.files.paths import data_key, manifest_key
from export_pipeline.files.signing import Signer
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.settings import Settings, load_settings
from export_pipeline.sources.protocol import Project
from export_pipeline_tests.exports.memory_source import MemorySource, rows_of_day
from export_pipeline_tests.servers import S3Server

PROJECT = "00000000-0000-0000-0000-000000000001"
FIRST, EMPTY, LAST = date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 3)
DAYS = (FIRST, EMPTY, LAST)
ROWS = 200
PREFIX = "a/b"


@dataclass
class World:
    """Everything that one test works with."""

    server: S3Server
    settings: Settings
    control: ControlDatabase
    store: S3Store
    source: MemorySource
    signer: Signer | None = None

    @classmethod
    def make(cls, server: S3Server, folder: Path, *, prefix: str = PREFIX) -> "World":
        """One project with rows on the first and the last of three days; nothing is exported yet."""
        bucket = server.new_bucket()
        settings = load_settings(
            source_url="sqlite:///traces.db",
            control_url=f"sqlite:///{folder}/control.db",
            bucket=bucket,
            prefix=prefix,
            region=server.region,
            endpoint_url=server.endpoint_url,
            allow_private_endpoints=True,
            start_date=FIRST,
        )
        config = DestinationConfig.from_settings(settings)
        store = S3Store(config, Credentials(server.access_key_id, server.secret_access_key), patience=10.0)
        source = MemorySource(listed=[Project(PROJECT, "chatbot")])
        source.rows = rows_of_day(PROJECT, FIRST, ROWS) + rows_of_day(PROJECT, LAST, ROWS)
        world = cls(server, settings, ControlDatabase(f"sqlite:///{folder}/control.db"), store, source)
        sync_projects(world.control, source, settings)
        return world

    def close(self) -> None:
        """Gives back connections."""
        self.control.close()
        self.store.close()

    @property
    def export(self) -> TableRecord:
        """The project's standing export."""
        return standing_table(self.control, find_project(self.control, PROJECT), self.settings)

    def publish(self, *wanted: date, **options: Any) -> dict[date, DayOutcome]:
        """Exports days (all three unless named); every one must succeed."""
        export = self.export
        requests = [
            DayRequest(export, DayWindow(day, Window.of_day(day)), owner="process:test:1", **options)
            for day in wanted or DAYS
        ]
        limits = PublishLimits(lease_seconds=5.0, patience=10.0, settle=0.3)
        parts: dict[str, Any] = {"control": self.control, "store": self.store, "source": self.source}
        found = dict(publish_days(Publisher(limits=limits, signer=self.signer, **parts), requests))
        outcomes = {day: result for day, result in found.items() if isinstance(result, DayOutcome)}
        assert outcomes.keys() == found.keys(), found
        return outcomes

    def verify(self, **options: Any) -> VerifyReport:
        """Verifies with the control database and, where `deep` is given, the trace store."""
        options.setdefault("control", self.control)
        return verify_export(self.export, store=self.store, source=self.source, **options)

    def data(self, day: date) -> str:
        """The key of a day's file."""
        return data_key(self.settings.prefix, self.export.key(day), self.settings.format_version)

    def manifest(self, day: date, epoch: int = 1) -> str:
        """The key of a day's manifest."""
        return manifest_key(self.settings.prefix, self.export.key(day), epoch)

    def objects(self) -> list[str]:
        """All keys of the bucket."""
        return self.server.keys(self.store.config.bucket)

    def get(self, key: str) -> bytes:
        """An object's bytes, past the code under test."""
        return bytes(self.server.client().get_object(Bucket=self.store.config.bucket, Key=key)["Body"].read())

    def put(self, key: str, body: bytes) -> None:
        """Writes an object, past the code under test."""
        self.server.client().put_object(Bucket=self.store.config.bucket, Key=key, Body=body)

    def delete(self, key: str) -> None:
        """Deletes an object, past the code under test."""
        self.server.client().delete_object(Bucket=self.store.config.bucket, Key=key)

    @contextmanager
    def replaced(self, key: str, body: bytes | None) -> Iterator[None]:
        """An object with other bytes, or without it where None, until the end of the block."""
        before = self.get(key) if key in self.objects() else None
        self._write(key, body)
        try:
            yield
        finally:
            self._write(key, before)

    def _write(self, key: str, body: bytes | None) -> None:
        if body is None:
            self.delete(key)
        else:
            self.put(key, body)


def flipped(data: bytes, at: int) -> bytes:
    """The same with one bit changed."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def resealed(manifest: bytes, **changes: Any) -> bytes:
    """A manifest with other content and a right seal: what somebody would write who wants to deceive."""
    import hashlib

    content = {**json.loads(manifest), **changes}
    content.pop("sha256")
    return canonical_json({**content, "sha256": hashlib.sha256(canonical_json(content)).hexdigest()})

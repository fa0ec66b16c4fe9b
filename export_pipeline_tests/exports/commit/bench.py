"""A control database, a bucket, an export and a source, put together for a test, and what the bucket says of a day."""

import io
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import polars as pl
import sqlalchemy as sa

from export_pipeline.exports.commit.day import DayOutcome, DayRequest
from export_pipeline.exports.commit.lease import Clock, elapsed
from export_pipeline.exports.commit.publish import publish_day
from export_pipeline.exports.commit.publisher import Publisher, PublishLimits
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import DayRecord, TableRecord, read_day, table_of
from export_pipeline.exports.control.tables import commits, exports, uploads
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.paths import ManifestPath, data_key, manifest_folder, parse_manifest_key
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.object_store.s3.store import S3Store
from export_pipeline.runs.schema import DEFAULT_FIELDS
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline_tests.exports.memory_source import PROJECT, Row
from export_pipeline_tests.servers import S3Server

DAY = date(2026, 3, 14)
QUICK = PublishLimits(lease_seconds=3.0, patience=5.0, settle=0.3, part_bytes=5 * 1024 * 1024)


def new_export(control: ControlDatabase, bucket: str, **values: Any) -> TableRecord:
    """Records an export of the memory source's project; `values` are columns that differ."""
    row = {
        "export_id": uuid.uuid4(),
        "kind": "standing",
        "project": PROJECT,
        "tenant_key": None,
        "untold": True,
        "tenant_id": uuid.uuid4(),
        "session_id": uuid.uuid4(),
        "bucket": bucket,
        "prefix": "",
        "format_version": "v1",
        "compression": "zstandard",
        "fields": list(DEFAULT_FIELDS),
        "created_at": 0,
        "endpoint_url": None,
        "region": None,
        "superseded_at": None,
        **values,
    }
    with control.begin() as connection:
        connection.execute(sa.insert(exports), [row])
    return table_of(row)


class Server(Protocol):
    """As much of an S3 server as a store needs."""

    @property
    def endpoint_url(self) -> str:
        """Where it listens."""

    @property
    def region(self) -> str:
        """Its region."""

    def identity(self, name: str) -> tuple[str, str]:
        """Access key and secret of a user."""


def make_store(
    server: Server, bucket: str, *, endpoint_url: str | None = None, identity: str = "admin", patience: float = 10.0
) -> ObjectStore:
    """The bucket as one of the server's users, through a proxy where an endpoint is given."""
    config = DestinationConfig(
        bucket=bucket, region=server.region, endpoint_url=endpoint_url or server.endpoint_url, allow_private=True
    )
    return S3Store(config, Credentials(*server.identity(identity)), patience=patience)


@dataclass
class Bench:
    """Everything that one test publishes with; `again` gives the same with other connections."""

    control: ControlDatabase
    store: ObjectStore
    export: TableRecord
    server: S3Server

    def request(self, day: date = DAY, **options: Any) -> DayRequest:
        """A request for a whole day."""
        options.setdefault("owner", "process:test:1")
        return DayRequest(table=self.export, day=DayWindow(day, Window.of_day(day)), **options)

    def publish(
        self,
        source: Any,
        *,
        day: date = DAY,
        limits: PublishLimits = QUICK,
        on_step: Callable[[str], None] = lambda name: None,
        wait_for_lease: float = 20.0,
        owner_ended: Callable[[str], bool] | None = None,
        clock: Clock = elapsed,
        **options: Any,
    ) -> DayOutcome:
        """One attempt at a day."""
        return publish_day(
            Publisher(
                control=self.control,
                store=self.store,
                source=source,
                limits=limits,
                on_step=on_step,
                wait_for_lease=wait_for_lease,
                owner_ended=owner_ended,
                clock=clock,
            ),
            self.request(day, **options),
        )

    def again(self) -> "Bench":
        """For another process, or after a fork: the same places over new connections."""
        control = ControlDatabase(self.control.url.render_as_string(hide_password=False))
        return Bench(control, make_store(self.server, self.export.bucket), self.export, self.server)

    def close(self) -> None:
        """Gives back all connections."""
        self.control.close()
        self.store.close()

    # What is there afterwards, seen past the code under test: through the server's own client and plain SQL.

    def file(self, day: date = DAY) -> bytes | None:
        """The day's data file."""
        key = data_key(self.export.prefix, self.export.key(day), self.export.format_version)
        if key not in self.server.keys(self.export.bucket, key):
            return None
        answer = self.server.client().get_object(Bucket=self.export.bucket, Key=key)
        return bytes(answer["Body"].read())

    def published(self, day: date = DAY) -> list[tuple[str, str]] | None:
        """Id and name of every row of the day's file, in its order; None where there is no file."""
        data = self.file(day)
        if data is None:
            return None
        frame = pl.read_parquet(io.BytesIO(data), columns=["id", "name"])
        return list(zip(frame["id"], frame["name"], strict=True))

    def manifest(self, day: date = DAY) -> Manifest | None:
        """The day's valid manifest: that of the highest epoch."""
        keys = self.server.keys(self.export.bucket, manifest_folder(self.export.prefix, self.export.key(day)))
        if not keys:
            return None
        return Manifest.load(self.server.client().get_object(Bucket=self.export.bucket, Key=keys[-1])["Body"].read())

    def manifest_epochs(self, day: date = DAY) -> list[int]:
        """The epochs of all manifests of the day."""
        keys = self.server.keys(self.export.bucket, manifest_folder(self.export.prefix, self.export.key(day)))
        paths = [parse_manifest_key(key) for key in keys]
        return [path.epoch for path in paths if isinstance(path, ManifestPath)]

    def record(self, day: date = DAY) -> DayRecord:
        """The day's record."""
        with self.control.read() as connection:
            found = read_day(connection, self.export.export_id, day)
        assert found is not None
        return found

    def sequence(self) -> list[tuple[int, date, int]]:
        """Sequence, day and rows of every commit, in the order of the sequence."""
        query = sa.select(commits.c.sequence, commits.c.day, commits.c.rows).order_by(commits.c.sequence)
        with self.control.read() as connection:
            return [(row.sequence, row.day, row.rows) for row in connection.execute(query)]

    def known_uploads(self) -> int:
        """Uploads that the control database believes to be open."""
        with self.control.read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(uploads)).scalar_one()

    def open_uploads(self) -> list[str]:
        """Uploads that the store holds open."""
        return self.server.open_uploads(self.export.bucket)


def ids_and_names(rows: list[Row]) -> list[tuple[str, str]]:
    """What `Bench.published` shows of these rows."""
    return [(row.id, row.name) for row in sorted(rows, key=lambda row: (row.start_time, row.id))]

"""From a trace store into a bucket and back: days published as products do it, files read by other people's readers."""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from export_pipeline.exports.commit.day import DayOutcome, DayRequest
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.proof.verify.export import verify_export
from export_pipeline.files.manifest import Manifest
from export_pipeline.files.paths import manifests_root, project_root
from export_pipeline.runs.schema import FIELD_BY_NAME, RUN_FIELDS, FormatVersion, Kind
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.settings import load_settings
from export_pipeline.sources.factory import open_source
from export_pipeline_tests.exports.commit.bench import QUICK, make_store, new_export
from export_pipeline_tests.servers import S3Server

Rows = list[dict[str, Any]]

NAMES = [field.name for field in RUN_FIELDS]
TIMES = [field.name for field in RUN_FIELDS if field.kind is Kind.TIME]


@dataclass(frozen=True)
class Published:
    """A published project; what the bucket holds of it, read past the code under test."""

    server: S3Server
    export: TableRecord
    outcomes: dict[date, DayOutcome]
    folder: Path

    @property
    def root(self) -> str:
        """The folder in the bucket below which the files lie, as the documentation gives it to readers."""
        export = self.export
        ids = (export.export_id, export.tenant_id, export.session_id)
        return project_root(export.prefix, *ids, export.format_version).rstrip("/")

    def by_polars(self) -> Rows:
        """All rows, scanned from the bucket."""
        frame = pl.scan_parquet(
            f"s3://{self.export.bucket}/{self.root}/**/*.parquet",
            hive_partitioning=False,
            storage_options={
                "aws_region": self.server.region,
                "aws_endpoint_url": self.server.endpoint_url,
                "aws_allow_http": "true",
                "aws_access_key_id": self.server.access_key_id,
                "aws_secret_access_key": self.server.secret_access_key,
            },
        )
        return frame.with_columns(pl.col(TIMES).dt.epoch("us")).collect().to_dicts()

    def by_duckdb(self) -> Rows:
        """All rows of the files, as they lie in the bucket."""
        for key in self.server.keys(self.export.bucket, self.root):
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            answer = self.server.client().get_object(Bucket=self.export.bucket, Key=key)
            path.write_bytes(answer["Body"].read())
        columns = ", ".join(f"epoch_us({name}) AS {name}" if name in TIMES else name for name in NAMES)
        with duckdb.connect() as connection:
            files = f"read_parquet('{self.folder / self.root}/**/*.parquet', hive_partitioning = false)"
            found = connection.execute(f"SELECT {columns} FROM {files}").fetchall()
        return [dict(zip(NAMES, row, strict=True)) for row in found]

    def manifest(self) -> Manifest:
        """The manifest of the only day."""
        (key,) = self.server.keys(self.export.bucket, manifests_root(self.export.prefix, self.export.export_id))
        return Manifest.load(self.server.client().get_object(Bucket=self.export.bucket, Key=key)["Body"].read())

    def rejected(self) -> Counter[str]:
        """Rejected rows of the only day by reason."""
        return Counter(self.manifest().rejected.by_reason)


@contextmanager
def published(
    url: str,
    *,
    server: S3Server,
    folder: Path,
    project: str,
    days: Iterable[date],
    format_version: FormatVersion,
    mapping: Path | None = None,
) -> Iterator[Published]:
    """Publishes days of a project, all 30 columns; every day must succeed and agree with the trace store."""
    folder.mkdir()
    bucket = server.new_bucket()
    control = ControlDatabase(f"sqlite:///{folder}/control.db")
    control.migrate()
    settings = load_settings(source_url=url, control_url="sqlite:///c", bucket=bucket, mapping=mapping)
    source, store = open_source(settings), make_store(server, bucket)
    (owner,) = {found.tenant_key for found in source.projects() if found.key == project}
    export = new_export(control, bucket, project=project, tenant_key=owner, format_version=format_version, fields=NAMES)
    requests = [DayRequest(export, DayWindow(day, Window.of_day(day)), owner="process:test:1") for day in days]
    with closing(control), closing(store), closing(source):
        found = dict(publish_days(Publisher(control=control, store=store, source=source, limits=QUICK), requests))
        outcomes = {day: result for day, result in found.items() if isinstance(result, DayOutcome)}
        assert outcomes.keys() == found.keys(), found
        report = verify_export(export, store=store, source=source, control=control, deep=True)
        assert [str(problem) for problem in report.problems] == []
        yield Published(server, export, outcomes, folder / "mirror")


def cells_of(row: Iterable[Any]) -> dict[str, Any]:
    """A row of a driver, in the order of `NAMES`, as raw cells: text as bytes; numbers of typed columns as they are."""
    return {name: _cell(name, value) for name, value in zip(NAMES, row, strict=True)}


def _cell(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | bytes):
        return value
    if isinstance(value, int) and FIELD_BY_NAME[name].kind in {Kind.TIME, Kind.COUNT}:
        return value
    return str(value).encode()

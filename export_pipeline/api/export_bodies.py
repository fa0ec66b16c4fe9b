"""The bodies of bulk exports and their runs, in the words of the bulk-export API."""

import uuid
from typing import Any, Literal

from pydantic import Field

from export_pipeline.api.wire import (
    AnyCaseUpdatableStatus,
    Body,
    BulkExportCompression,
    BulkExportFormat,
    BulkExportFormatVersion,
    BulkExportRunStatus,
    BulkExportStatus,
    BulkExportUpdatableStatus,
    Time,
)
from export_pipeline.exports.bulk.request import BulkExportRequest


class _Asked(Body):
    bulk_export_destination_id: uuid.UUID
    session_id: uuid.UUID | None = None
    all_experiments: bool = False
    start_time: Time
    end_time: Time | None = None
    filter: str | None = None
    format: BulkExportFormat = BulkExportFormat.PARQUET
    format_version: BulkExportFormatVersion = BulkExportFormatVersion.V1
    compression: BulkExportCompression = BulkExportCompression.ZSTANDARD
    interval_hours: int | None = None
    export_fields: list[str] | None = None
    reexport_late: bool = Field(False, description="Of a schedule: its days are exported again after late changes.")


class BulkExportCreate(_Asked):
    """What is to be exported: one project or all experiments, a window or a repetition."""

    def parsed(self) -> BulkExportRequest:
        """What the service takes."""
        return BulkExportRequest(
            destination_id=self.bulk_export_destination_id,
            session_id=self.session_id,
            all_experiments=self.all_experiments,
            start=self.start_time,
            end=self.end_time,
            filter=self.filter,
            format_version=BulkExportFormatVersion(self.format_version).value,
            compression=BulkExportCompression(self.compression).value,
            export_fields=self.export_fields,
            interval_hours=self.interval_hours,
            reexport_late=self.reexport_late,
        )


class BulkExportUpdate(Body):
    """Cancels an export."""

    status: AnyCaseUpdatableStatus = BulkExportUpdatableStatus.CANCELLED


class BulkExportProgress(Body):
    """How far an export is, days under way included."""

    percent: float
    days_total: int
    days_done: int
    rows_written: int
    rows_planned: int | None
    rows_rejected: int = Field(description="Rows of finished days that are in no file.")
    rejected: dict[str, int] = Field(description="The same by reason; the manifests of the days name them.")
    bytes_written: int
    estimated_finish: Time | None


class BulkExport(_Asked):
    """An export, or a schedule that spawns exports."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    status: BulkExportStatus
    created_at: Time
    updated_at: Time
    finished_at: Time | None
    source_bulk_export_id: uuid.UUID | None = None
    error: str | None = Field(None, description="Why it failed; of a schedule: why its next export cannot begin.")
    warning: str | None = Field(
        None, description="What of its rows is not in the files although it is Completed: how many, and why."
    )
    progress: BulkExportProgress | None = Field(None, description="Given where a single export is asked for.")


class PendingUpload(Body):
    """A file that is decided on and not yet finished."""

    target_cursor: str | None
    file_path: str
    rows_count: int


class BulkExportRunProgress(Body):
    """What a run has written; files as `bucket/key`."""

    rows_written: int
    exported_files: list[str]
    export_path: str
    latest_cursor: str | None
    rows_rejected: int | None = Field(None, description="Rows that are not in the file; null before the commit.")
    rejected: dict[str, int] | None = Field(None, description="The same by reason.")
    pending_upload: PendingUpload | None = None


class BulkExportRunMetadata(Body):
    """Where a run writes, and what part of time it is."""

    prefix: str
    start_time: Time
    end_time: Time
    execution_backend: Literal["clickhouse", "smithdb"] | None = None
    result: BulkExportRunProgress | None = None


class BulkExportRun(Body):
    """One UTC day of one project of an export, cut at the window's ends."""

    bulk_export_id: uuid.UUID
    metadata: BulkExportRunMetadata
    session_id: uuid.UUID | None = None
    id: uuid.UUID
    status: BulkExportRunStatus
    retry_number: int = 0
    errors: dict[str, Any] | None = None
    created_at: Time
    updated_at: Time
    finished_at: Time | None
    start_time: Time | None = None
    end_time: Time | None = None


class BulkExportChange(Body):
    """One commit of one day.

    A superseded one is to be passed over: a later one has taken its place. Of any other, `uri` is null where the day is
    empty: what was loaded of it is to be removed.
    """

    session_id: uuid.UUID
    day: str
    commit_id: uuid.UUID
    superseded: bool
    rows: int
    bytes: int
    uri: str | None
    sha256: str | None
    etag: str | None
    version_id: str | None
    manifest_uri: str
    committed_at: Time


class BulkExportChanges(Body):
    """Commits in their order, and the cursor to ask with the next time."""

    changes: list[BulkExportChange]
    cursor: str | None

"""Records of the control database as the API answers them."""

from collections.abc import Mapping
from typing import Any

from export_pipeline.api.export_bodies import (
    BulkExport,
    BulkExportChange,
    BulkExportChanges,
    BulkExportProgress,
    BulkExportRun,
    BulkExportRunMetadata,
    BulkExportRunProgress,
)
from export_pipeline.api.wire import BulkExportRunStatus, BulkExportStatus, time_of
from export_pipeline.exports.bulk.read import Progress, RunDetails
from export_pipeline.exports.bulk.records import BulkExport as BulkExportRecord
from export_pipeline.exports.proof.changes import Change
from export_pipeline.runs.times import instant


def export_answer(record: BulkExportRecord, progress: Progress | None = None) -> BulkExport:
    """An export; its progress where it was asked for."""
    return BulkExport(
        bulk_export_destination_id=record.destination_id,
        session_id=record.session_id,
        all_experiments=record.all_experiments,
        start_time=instant(record.start_at),
        end_time=time_of(record.end_at),
        filter=record.filter,
        format_version=record.format_version,  # type: ignore[arg-type]  # pydantic takes the words
        compression=record.compression,  # type: ignore[arg-type]
        interval_hours=record.interval_hours,
        export_fields=None if record.export_fields is None else list(record.export_fields),
        reexport_late=record.reexport_late,
        id=record.id,
        tenant_id=record.tenant_id,
        status=BulkExportStatus(record.status),
        created_at=instant(record.created_at),
        updated_at=instant(record.updated_at),
        finished_at=time_of(record.finished_at),
        source_bulk_export_id=record.source_id,
        error=record.error,
        warning=record.warning,
        progress=None if progress is None else _progress(progress),
    )


def _progress(progress: Progress) -> BulkExportProgress:
    return BulkExportProgress(
        percent=progress.percent,
        days_total=progress.days_total,
        days_done=progress.days_done,
        rows_written=progress.rows_written,
        rows_planned=progress.rows_planned,
        rows_rejected=sum(progress.rejected.values()),
        rejected=dict(progress.rejected),
        bytes_written=progress.bytes,
        estimated_finish=time_of(progress.estimated_finish),
    )


def run_answer(details: RunDetails) -> BulkExportRun:
    """A run, with what it has written so far."""
    unit = details.unit
    start, end = instant(unit.start_at), instant(unit.end_at)
    return BulkExportRun(
        bulk_export_id=unit.bulk_id,
        metadata=BulkExportRunMetadata(
            prefix=details.table.prefix, start_time=start, end_time=end, result=_result(details)
        ),
        session_id=unit.session_id,
        id=unit.id,
        status=BulkExportRunStatus(unit.status),
        retry_number=unit.attempt,
        errors=_errors(unit.errors),
        created_at=instant(unit.created_at),
        updated_at=instant(unit.updated_at),
        finished_at=time_of(unit.finished_at),
        start_time=start,
        end_time=end,
    )


def _errors(errors: Mapping[str, str]) -> dict[str, Any] | None:
    return dict(errors) or None


def _result(details: RunDetails) -> BulkExportRunProgress | None:
    unit = details.unit
    if unit.started_at is None:
        return None
    files = [] if unit.key is None else [f"{details.table.bucket}/{unit.key}"]
    rows = unit.rows if unit.rows is not None else details.rows_read
    return BulkExportRunProgress(
        rows_written=rows or 0,
        exported_files=files,
        export_path=details.folder,
        latest_cursor=None,
        rows_rejected=unit.rows_rejected,
        rejected=None if unit.rejected is None else dict(unit.rejected),
    )


def changes_answer(changes: list[Change], cursor: str | None) -> BulkExportChanges:
    """Commits, and the cursor after them."""
    return BulkExportChanges(
        changes=[
            BulkExportChange(
                session_id=change.session_id,
                day=change.day.isoformat(),
                commit_id=change.commit_id,
                superseded=change.superseded,
                rows=change.rows,
                bytes=change.bytes,
                uri=change.uri,
                sha256=change.sha256,
                etag=change.etag,
                version_id=change.version_id,
                manifest_uri=change.manifest_uri,
                committed_at=change.committed_at,
            )
            for change in changes
        ],
        cursor=cursor,
    )

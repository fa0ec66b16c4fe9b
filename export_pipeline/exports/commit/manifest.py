"""What a commit says about itself: the manifests of a day and of days without rows, made from what was read."""

import dataclasses
import functools
import importlib.metadata
import uuid
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from export_pipeline.exports.commit.stream import StreamedDay
from export_pipeline.exports.control.records import ExportRecord
from export_pipeline.files.manifest import (
    Manifest,
    ManifestFile,
    ManifestWindow,
    RejectedRun,
    Rejections,
    SourceFingerprint,
    schema_fingerprint,
)
from export_pipeline.runs.schema import arrow_schema, select_fields
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.sources.protocol import DayFingerprint

if TYPE_CHECKING:
    import pyarrow as pa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_YET = "0" * 64


def day_manifest(
    export: ExportRecord,
    streamed: StreamedDay,
    *,
    day: DayWindow,
    commit_id: uuid.UUID,
    epoch: int,
    key: str,
    schema: "pa.Schema",
    snapshot_at: int,
    committed_at: int,
) -> Manifest:
    """The manifest of a day that was read; what only the upload tells is added by `with_upload`.

    Instants are control database microseconds.
    """
    facts, tally = streamed.facts, streamed.tally
    file = ManifestFile(bucket=export.bucket, key=key, sha256=_NOT_YET, **dataclasses.asdict(facts))
    return Manifest(
        kind="day",
        commit_id=commit_id,
        epoch=epoch,
        export_id=export.layout_id,
        export_kind=export.kind,
        tenant_id=export.tenant_id,
        session_id=export.session_id,
        day=day.day,
        days=None,
        window=ManifestWindow(start=day.window.start, end=day.window.end),
        filter=export.filter,
        snapshot_at=instant(snapshot_at),
        source=_fingerprint(streamed.fingerprint),
        rows_source=tally.rows_source + streamed.fingerprint.superseded,
        rows=facts.rows,
        superseded=streamed.fingerprint.superseded,
        rejected=Rejections(
            count=tally.rows_rejected,
            by_reason=dict(tally.reasons),
            rows=tuple(RejectedRun(**dataclasses.asdict(row)) for row in tally.rejected),
        ),
        replaced=dict(tally.replaced),
        file=file if facts.rows else None,
        schema_fingerprint=schema_fingerprint(schema),
        fields=export.fields,
        format_version=export.format_version,
        compression=export.compression,
        verified="by the store's answer",
        started_at=instant(snapshot_at),
        committed_at=instant(committed_at),
        tool_version=tool_version(),
    )


def _fingerprint(found: DayFingerprint) -> SourceFingerprint:
    return SourceFingerprint(
        rows=found.rows,
        max_modified_at=found.max_modified_at,
        feedbacks=found.feedbacks,
        max_feedback_modified_at=found.max_feedback_modified_at,
    )


def with_upload(manifest: Manifest, *, sha256: str) -> Manifest:
    """The manifest with what is known of the file once all of its parts are uploaded."""
    file = manifest.file and manifest.file.model_copy(update={"sha256": sha256})
    return manifest.model_copy(update={"file": file})


def empty_days_manifest(
    export: ExportRecord,
    days: Sequence[date],
    *,
    commit_id: uuid.UUID,
    epoch: int,
    window: Window,
    snapshot_at: int,
    committed_at: int,
) -> Manifest:
    """The one manifest of many days without rows."""
    schema = arrow_schema(select_fields(export.fields), export.format_version)
    return Manifest(
        kind="empty_days",
        commit_id=commit_id,
        epoch=epoch,
        export_id=export.layout_id,
        export_kind=export.kind,
        tenant_id=export.tenant_id,
        session_id=export.session_id,
        day=None,
        days=tuple(days),
        window=ManifestWindow(start=window.start, end=window.end),
        filter=export.filter,
        snapshot_at=instant(snapshot_at),
        source=SourceFingerprint(rows=0),
        rows_source=0,
        rows=0,
        file=None,
        schema_fingerprint=schema_fingerprint(schema),
        fields=export.fields,
        format_version=export.format_version,
        compression=export.compression,
        verified="by the store's answer",
        started_at=instant(snapshot_at),
        committed_at=instant(committed_at),
        tool_version=tool_version(),
    )


def instant(value: int) -> datetime:
    """Control database microseconds as a time in UTC."""
    return _EPOCH + timedelta(microseconds=value)


def microseconds(value: datetime) -> int:
    """The inverse of `instant`."""
    return (value - _EPOCH) // timedelta(microseconds=1)


@functools.cache
def tool_version() -> str:
    """The version of this package, as manifests name it."""
    try:
        return importlib.metadata.version("export-pipeline")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"

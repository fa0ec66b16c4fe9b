"""Manifests: what a commit says about itself, made from what was read, and judged when it is read back from a bucket.

Whoever can write to the bucket can put any object under a manifest's key. What can be told without the control database
is told here; none of it proves a manifest, which its signature or the control database does.
"""

import dataclasses
import functools
import importlib.metadata
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from export_pipeline.errors import DestinationRefusedError, InputError
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.files.manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    ManifestError,
    ManifestFile,
    ManifestWindow,
    RejectedRun,
    Rejections,
    SourceFingerprint,
    StoredManifest,
    read_manifest,
    schema_fingerprint,
)
from export_pipeline.files.paths import DayKey
from export_pipeline.object_store.protocol import ObjectMissingError, ObjectStore
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.schema import arrow_schema, select_fields
from export_pipeline.runs.times import instant
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.sources.protocol import DayFingerprint

if TYPE_CHECKING:
    import pyarrow as pa

    from export_pipeline.exports.commit.stream import StreamedDay

_NOT_YET = "0" * 64

MAX_EPOCH_STEP = 1_000_000
"""An epoch grows by one with each attempt at a day: tried every minute, a day takes two years to come this far."""
RETIRE = "`export-pipeline manifests retire {key}` takes it away"
_AHEAD = timedelta(days=1)
"""So much clocks may differ."""


def day_manifest(
    table: TableRecord,
    streamed: "StreamedDay",
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
    facts, counters = streamed.facts, streamed.counters
    file = ManifestFile(bucket=table.bucket, key=key, sha256=_NOT_YET, **dataclasses.asdict(facts))
    return Manifest(
        kind="day",
        commit_id=commit_id,
        epoch=epoch,
        export_id=table.layout_id,
        export_kind=table.kind,
        tenant_id=table.tenant_id,
        session_id=table.session_id,
        day=day.day,
        days=None,
        window=ManifestWindow(start=day.window.start, end=day.window.end),
        filter=table.filter,
        snapshot_at=instant(snapshot_at),
        source=_fingerprint(streamed.fingerprint),
        rows_source=counters.rows_source + streamed.fingerprint.superseded,
        rows=facts.rows,
        superseded=streamed.fingerprint.superseded,
        rejected=Rejections(
            count=counters.rows_rejected,
            by_reason=dict(counters.reasons),
            rows=tuple(RejectedRun(**dataclasses.asdict(row)) for row in counters.rejected),
        ),
        replaced=dict(counters.replaced),
        attachments=streamed.attachments,
        file=file if facts.rows else None,
        schema_fingerprint=schema_fingerprint(schema),
        fields=table.fields,
        format_version=table.format_version,
        compression=table.compression,
        verified="by the store's answer",
        started_at=instant(snapshot_at),
        committed_at=instant(committed_at),
        tool_version=tool_version(),
    )


def _fingerprint(fingerprint: DayFingerprint) -> SourceFingerprint:
    return SourceFingerprint(
        rows=fingerprint.rows,
        max_modified_at=fingerprint.max_modified_at,
        feedbacks=fingerprint.feedbacks,
        max_feedback_modified_at=fingerprint.max_feedback_modified_at,
        digest=fingerprint.digest,
        figures=None if fingerprint.figures is None else dict(fingerprint.figures),
    )


def with_upload(manifest: Manifest, *, sha256: str) -> Manifest:
    """The manifest with what is known of the file once all of its parts are uploaded."""
    file = manifest.file and manifest.file.model_copy(update={"sha256": sha256})
    return manifest.model_copy(update={"file": file})


def empty_days_manifest(
    table: TableRecord,
    days: Sequence[date],
    *,
    commit_id: uuid.UUID,
    epoch: int,
    window: Window,
    snapshot_at: int,
    committed_at: int,
) -> Manifest:
    """The one manifest of many days without rows."""
    schema = arrow_schema(select_fields(table.fields), table.format_version)
    return Manifest(
        kind="empty_days",
        commit_id=commit_id,
        epoch=epoch,
        export_id=table.layout_id,
        export_kind=table.kind,
        tenant_id=table.tenant_id,
        session_id=table.session_id,
        day=None,
        days=tuple(days),
        window=ManifestWindow(start=window.start, end=window.end),
        filter=table.filter,
        snapshot_at=instant(snapshot_at),
        source=SourceFingerprint(rows=0),
        rows_source=0,
        rows=0,
        file=None,
        schema_fingerprint=schema_fingerprint(schema),
        fields=table.fields,
        format_version=table.format_version,
        compression=table.compression,
        verified="by the store's answer",
        started_at=instant(snapshot_at),
        committed_at=instant(committed_at),
        tool_version=tool_version(),
    )


@functools.cache
def tool_version() -> str:
    """The version of this package, as manifests name it."""
    try:
        return importlib.metadata.version("export-pipeline")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


class ManifestUnreadableError(ManifestError):
    """The store does not give a manifest that it lists: its rights, its encryption or its storage class."""


def load_manifest(store: ObjectStore, key: str) -> StoredManifest:
    """The manifest at a key, of which no more is read than a manifest can have.

    Raises `ManifestError` where it is none, or is not there, `ManifestUnreadableError` where the store refuses it.
    """
    try:
        return read_manifest(store.read(key, 0, MAX_MANIFEST_BYTES + 1))
    except ObjectMissingError as error:
        raise ManifestError(str(error)) from None
    except DestinationRefusedError as error:
        raise ManifestUnreadableError(f"the store does not give it: {error}") from None


def believable(epochs: Iterable[int], *, known: int = 0) -> list[int]:
    """Those epochs, in order, that attempts can have led to; `known` is one that the control database has given.

    One that was planted far ahead would otherwise leave the next commits no room.
    """
    kept: list[int] = []
    for epoch in sorted(epochs):
        if epoch > max(known, kept[-1] if kept else 0) + MAX_EPOCH_STEP:
            break
        kept.append(epoch)
    return kept


def misplaced(manifest: Manifest, key: DayKey, epoch: int) -> str | None:
    """What of a day's manifest disagrees with its key."""
    told = {
        "export_id": (manifest.export_id, key.export_id),
        "tenant_id": (manifest.tenant_id, key.tenant_id),
        "session_id": (manifest.session_id, key.session_id),
        "day": (manifest.day, key.day),
        "epoch": (manifest.epoch, epoch),
    }
    wrong = [f"{name} is {inside}" for name, (inside, outside) in told.items() if inside != outside]
    return ", ".join(wrong) or None


def doubt(manifest: Manifest) -> str | None:
    """What cannot be true of a manifest, whoever has written it."""
    latest = datetime.now(UTC) + _AHEAD
    written = max(manifest.started_at, manifest.snapshot_at, manifest.committed_at)
    days = manifest.days or ([manifest.day] if manifest.day else [])
    if written > latest:
        return f"it was written in the future, {written.isoformat(timespec='seconds')}"
    if max(days) > latest.date():
        return f"the day {max(days)} lies in the future"
    if not _covers(manifest, min(days), max(days)):
        return f"its window is {manifest.window.start.isoformat()} to {manifest.window.end.isoformat()}"
    return _doubt_of_form(manifest)


def _doubt_of_form(manifest: Manifest) -> str | None:
    try:
        known = tuple(field.name for field in select_fields(manifest.fields))
        if manifest.filter is not None:
            parse_filter(manifest.filter)
    except InputError:
        known = ()
    if known != manifest.fields or "\0" in (manifest.filter or ""):
        return "it has a filter or columns that this export-pipeline does not know"
    return None


def _covers(manifest: Manifest, first: date, last: date) -> bool:
    """Whether the window of one day lies within it, or that of many touches the first and the last."""
    start, end = Window.of_day(first), Window.of_day(last)
    window = manifest.window
    if manifest.kind == "day":
        return start.start <= window.start and window.end <= end.end
    return start.start <= window.start < start.end and end.start < window.end <= end.end

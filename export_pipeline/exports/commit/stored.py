"""Manifests as they lie in the bucket: read in bounded memory, and judged before anything in them is believed.

Whoever can write to the bucket can put any object under a manifest's key. What can be told without the control database
is told here; none of it proves a manifest, which its signature or the control database does.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from export_pipeline.errors import DestinationRefusedError, InputError
from export_pipeline.files.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestError, StoredManifest, read_manifest
from export_pipeline.files.paths import DayKey
from export_pipeline.object_store.protocol import ObjectMissingError, ObjectStore
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.schema import select_fields
from export_pipeline.runs.window import Window

MAX_EPOCH_STEP = 1_000_000
"""An epoch grows by one with each attempt at a day: tried every minute, a day takes two years to come this far."""
RETIRE = "`export-pipeline manifests retire {key}` takes it away"
_AHEAD = timedelta(days=1)
"""So much clocks may differ."""


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
    found: list[int] = []
    for epoch in sorted(epochs):
        if epoch > max(known, found[-1] if found else 0) + MAX_EPOCH_STEP:
            break
        found.append(epoch)
    return found


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

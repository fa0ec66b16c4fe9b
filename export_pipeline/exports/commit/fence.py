"""Clearing the ground before a day is written: uploads of earlier attempts, commits of another control database."""

import posixpath
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from export_pipeline.errors import (
    AccessDeniedError,
    ControlUnreachableError,
    DestinationError,
    DestinationRefusedError,
    ForeignCommitError,
)
from export_pipeline.exports.commit import transitions
from export_pipeline.exports.commit.claim import StaleUpload
from export_pipeline.exports.commit.manifest import (
    RETIRE,
    ManifestUnreadableError,
    believable,
    doubt,
    load_manifest,
    misplaced,
)
from export_pipeline.exports.commit.publisher import Attempt
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.files.manifest import ManifestError
from export_pipeline.files.paths import ManifestPath, data_key, manifest_folder, manifest_key, parse_manifest_key
from export_pipeline.object_store.protocol import ObjectStore

Epochs = dict[date, list[int]]


class LeftUploads:
    """The open uploads of some days of an export, by day: listed once for all, when the first day asks.

    A day asks after it was claimed and before it creates an upload of its own. Days that are exported for the first
    time need not ask. Empty where uploads may not be listed.
    """

    def __init__(self, store: ObjectStore, table: TableRecord, days: Iterable[date]) -> None:
        self._store = store
        self._days = {data_key(table.prefix, table.key(day), table.format_version): day for day in days}
        self._lock = threading.Lock()
        self._found: dict[date, list[str]] | None = None

    def of(self, day: date) -> list[str]:
        """The ids of a day's uploads."""
        with self._lock:
            if self._found is None:
                self._found = self._list()
        return self._found.get(day, [])

    def _list(self) -> dict[date, list[str]]:
        by_day: dict[date, list[str]] = defaultdict(list)
        try:
            for upload in self._store.uploads_below(posixpath.commonpath(self._days)):
                if upload.key in self._days:
                    by_day[self._days[upload.key]].append(upload.upload_id)
        except DestinationRefusedError:
            return {}
        return by_day


@dataclass(frozen=True)
class InBucket:
    """What the bucket says of some days: `epochs` holds those that manifests have, where a day has any."""

    epochs: Epochs
    uploads: LeftUploads


def look_into_bucket(store: ObjectStore, table: TableRecord, days: Collection[date]) -> InBucket:
    """What there is of days that are to be exported; one listing of manifests for all.

    To be called before the days are claimed: a manifest that another process of ours writes later is then no surprise,
    and one that was there before is known to the claim. No epochs where the bucket may not be listed.
    """
    return InBucket(_epochs(store, table, days), LeftUploads(store, table, days))


def _epochs(store: ObjectStore, table: TableRecord, days: Iterable[date]) -> Epochs:
    folders = [manifest_folder(table.prefix, table.key(day)) for day in days]
    folder = posixpath.commonpath(folders) + "/"
    epochs: Epochs = defaultdict(list)
    try:
        for item in store.list(folder):
            path = parse_manifest_key(item.key)
            if isinstance(path, ManifestPath):
                epochs[path.key.day].append(path.epoch)
    except AccessDeniedError:
        return {}
    return dict(epochs)


def refuse_foreign(
    day: date, *, in_bucket: Sequence[int], recorded: int | None, is_commit: Callable[[int], bool], folder: str
) -> None:
    """Raises `ForeignCommitError` where the bucket holds a newer commit than the control database knows.

    `recorded` is the epoch of the last finished commit, once every decided one has been carried out. `is_commit` reads
    the manifest of an epoch: an object that is none was planted or damaged, keeps no day from being exported, and is
    named by `verify`.
    """
    for epoch in reversed(believable(in_bucket, known=recorded or 0)):
        if epoch > (recorded or 0) and is_commit(epoch):
            raise ForeignCommitError(
                f"{day}: the bucket holds a commit of epoch {epoch}, the control database knows "
                f"{'none' if recorded is None else f'epoch {recorded} only'}: another control database has written "
                "here, or this one was restored from an old copy; `export-pipeline recover` rebuilds it from the "
                f"manifests. Where none of yours has written it: {RETIRE.format(key=f'{folder}epoch={epoch:010}.json')}"
            )


def is_commit(store: ObjectStore, table: TableRecord, day: date, epoch: int) -> bool:
    """Whether the manifest of an epoch of the day may be one; one that the store does not give may."""
    key = table.key(day)
    try:
        manifest = load_manifest(store, manifest_key(table.prefix, key, epoch)).manifest
    except ManifestUnreadableError:
        return True
    except ManifestError:
        return False
    return misplaced(manifest, key, epoch) is None and doubt(manifest) is None


def fence(attempt: Attempt, stale_uploads: Iterable[StaleUpload], *, left: Iterable[str]) -> None:
    """Aborts what earlier attempts left open; the commit that was decided on has been carried out before.

    An upload that was announced but not recorded is looked for. `left` are uploads of the day's key that the bucket has
    listed: a writer that was frozen between announcing and creating one, and died afterwards, is known to nobody.
    Without the right to abort all are forgotten as well: their parts stay until a lifecycle rule removes them.
    """
    for stale in stale_uploads:
        for upload_id in [stale.upload_id] if stale.upload_id else _unrecorded(attempt, stale.key):
            attempt.lease.confirm()
            abort_if_allowed(attempt, stale.key, upload_id)
        attempt.on_step("aborted")
        _forget(attempt, stale)
    table = attempt.table
    for upload_id in left:
        attempt.lease.confirm()
        key = data_key(table.prefix, table.key(attempt.lease.claim.day), table.format_version)
        abort_if_allowed(attempt, key, upload_id)


def abort_others(attempt: Attempt, *, key: str, mine: str) -> None:
    """Aborts the uploads of a key that the store began although its answer was lost, where rights allow that."""
    attempt.lease.confirm()
    for upload_id in _unrecorded(attempt, key):
        if upload_id != mine:
            abort_if_allowed(attempt, key, upload_id)


def abort_if_allowed(attempt: Attempt, key: str, upload_id: str) -> None:
    """Aborts an upload that no intent holds, where rights allow that."""
    try:
        attempt.store.abort(key, upload_id)
    except AccessDeniedError:
        return  # its parts stay until a lifecycle rule removes them


def abandon(attempt: Attempt, stale: StaleUpload) -> None:
    """Aborts this attempt's own upload, which no commit was decided on for, where that can be done at once.

    What cannot be done now is left to the next attempt, to which the upload is known.
    """
    try:
        if stale.upload_id:
            attempt.store.abort(stale.key, stale.upload_id)
            _forget(attempt, stale)
    except (DestinationError, ControlUnreachableError):
        return


def _forget(attempt: Attempt, stale: StaleUpload) -> None:
    attempt.run(
        lambda transaction: transitions.forget_upload(
            transaction, attempt.lease.claim, epoch=stale.epoch, upload_id=stale.upload_id
        )
    )


def _unrecorded(attempt: Attempt, key: str) -> list[str]:
    """The open uploads of a key: only this day's writers create any, and this process is the last of them."""
    try:
        return attempt.store.list_uploads(key)
    except DestinationRefusedError:
        return []

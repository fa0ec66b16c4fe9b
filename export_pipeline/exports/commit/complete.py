"""Carrying out a commit that was decided on: Complete, read-back, manifest, delete, record.

Complete is sent in single attempts: a repeated one would turn a success whose answer was lost into an error. What
became of it is read from the object itself, which says in its footer which commit it belongs to.

A commit that was decided on is given up only where its upload can never become an object: the store no longer has it,
or refuses the parts themselves. What is left of the upload is aborted first, so that nobody completes it afterwards.
"""

import uuid
from dataclasses import dataclass
from enum import StrEnum

from export_pipeline.backoff import Backoff
from export_pipeline.errors import (
    AccessDeniedError,
    DestinationRefusedError,
    DestinationUnavailableError,
    ForeignCommitError,
    PermanentError,
    RetryableError,
)
from export_pipeline.exports.commit.fence import abort_if_allowed
from export_pipeline.exports.commit.intent import Intent, PlannedDelete, PlannedUpload
from export_pipeline.exports.commit.manifest import RETIRE
from export_pipeline.exports.commit.publisher import Attempt
from export_pipeline.exports.commit.transitions import FinishedCommit, record_commit
from export_pipeline.files.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestError, Verified
from export_pipeline.files.parquet import TAIL_BYTES, read_footer
from export_pipeline.object_store.protocol import (
    Completed,
    ObjectInfo,
    ObjectMissingError,
    ObjectStore,
    OutcomeUnknownError,
    UploadGoneError,
)

_NEVER = frozenset({"EntityTooSmall", "EntityTooLarge"})
"""Codes that are about the parts: the same parts are refused for ever, whatever is done about rights or settings."""
_DELETIONS = 6
"""How often an object is looked at and deleted, where it changes between the two."""


class Presence(StrEnum):
    """What lies at a key, seen from one commit."""

    MINE = "the commit's file"
    OTHER = "another object"
    ABSENT = "nothing"
    UNREADABLE = "an answer that the credentials may not see"


@dataclass(frozen=True)
class ObjectState:
    """What lies at a key; `info` is there where it could be seen."""

    presence: Presence
    info: ObjectInfo | None = None


def read_object_state(store: ObjectStore, *, key: str, size: int, commit_id: uuid.UUID) -> ObjectState:
    """Compares size and the commit id in the Parquet footer; raises `DestinationUnavailableError` without an answer."""
    try:
        seen = _end_of(store, key=key, start=max(0, size - TAIL_BYTES), end=size)
        if seen is None:
            return ObjectState(Presence.ABSENT)
        info, tail = seen
        if info.size != size:
            return ObjectState(Presence.OTHER, info)
        first = size - len(tail)
        footer = read_footer(
            lambda start, end: store.read(key, start, end) if start < first else tail[start - first : end - first], size
        )
    except ValueError:
        return ObjectState(Presence.OTHER, info)
    except ObjectMissingError:
        return ObjectState(Presence.ABSENT)
    except AccessDeniedError:
        return ObjectState(Presence.UNREADABLE)
    return ObjectState(Presence.MINE if footer.get("commit_id") == str(commit_id) else Presence.OTHER, info)


def _end_of(store: ObjectStore, *, key: str, start: int, end: int) -> tuple[ObjectInfo, bytes] | None:
    """What lies at the key and its bytes up to `end`, in one request unless it is not longer than `start`."""
    try:
        return store.read_end(key, start, end)
    except DestinationUnavailableError as error:
        if error.code != "InvalidRange":
            raise
    info = store.stat(key)
    return None if info is None else (info, b"")


def carry_out(attempt: Attempt, intent: Intent, *, keep_lease: bool) -> FinishedCommit:
    """Brings the bucket and the control database to what the intent says; gives the day back unless `keep_lease`."""
    manifest = Manifest.model_validate(intent.manifest)
    if intent.upload is not None:
        done = complete_upload(attempt, intent, intent.upload)
        attempt.on_step("verified")
        manifest = manifest.completed(etag=done.etag, version_id=done.version_id, verified=done.verified)
    manifest = write_manifest(attempt, key=intent.manifest_key, manifest=manifest)
    attempt.on_step("manifest")
    if intent.delete is not None:
        _delete(attempt, intent.delete)
        attempt.on_step("deleted")
    finished = FinishedCommit(
        commit_id=intent.commit_id,
        epoch=intent.epoch,
        rows=intent.rows,
        bytes=manifest.file.bytes if manifest.file else 0,
        key=manifest.file.key if manifest.file else None,
        manifest_key=intent.manifest_key,
        manifest=manifest.model_dump(mode="json"),
        snapshot_at=intent.snapshot_at,
        fingerprint=intent.fingerprint,
    )
    attempt.run(lambda transaction: record_commit(transaction, attempt.lease.claim, finished, keep_lease=keep_lease))
    attempt.on_step("done")
    return finished


def write_manifest(attempt: Attempt, *, key: str, manifest: Manifest) -> Manifest:
    """Puts the manifest under its key, once; returns what lies there.

    The content follows from the intent alone, so a process that comes late writes the same again, which does no harm
    on a store that ignores `If-None-Match`.
    """
    attempt.lease.confirm(lately=True)
    attempt.on_step("writing manifest")
    manifest = manifest.signed(attempt.signer)
    if attempt.store.put_once(key, manifest.seal()):
        return manifest
    try:
        there = Manifest.load(attempt.store.read(key, 0, MAX_MANIFEST_BYTES + 1))
    except AccessDeniedError:
        return manifest
    except ManifestError as error:
        raise ForeignCommitError(f"{key}: {error}; {RETIRE.format(key=key)}") from error
    if there.commit_id != manifest.commit_id:
        raise ForeignCommitError(
            f"{key} holds another commit of this epoch, written with another control database; "
            f"run `export-pipeline recover`, or where it is none of yours: {RETIRE.format(key=key)}"
        )
    if _decided(there) != _decided(manifest):
        raise ForeignCommitError(
            f"{key} names this commit and says something else than was decided: it was forged; {RETIRE.format(key=key)}"
        )
    return there


def _decided(manifest: Manifest) -> Manifest:
    """What follows from the intent alone: two processes may hear differently of Complete, and sign with two keys."""
    return manifest.completed(etag=None, version_id=None, verified="read back").signed(None)


def _delete(attempt: Attempt, planned: PlannedDelete) -> None:
    """Deletes the committed object of a day that is empty now, and no other object."""
    for _ in range(_DELETIONS):
        seen = read_object_state(attempt.store, key=planned.key, size=planned.bytes, commit_id=planned.commit_id)
        if seen.presence is Presence.ABSENT:
            return
        if seen.presence is Presence.UNREADABLE or seen.info is None:
            raise AccessDeniedError(
                f"{planned.key} is to be deleted, because its day is empty now, but may not be read to make sure that "
                "it is the right object; grant the credentials s3:GetObject and s3:ListBucket"
            )
        attempt.lease.confirm()
        if seen.presence is Presence.OTHER:
            raise ForeignCommitError(
                f"{planned.key} is to be deleted, because its day is empty now, but it is not the file that was "
                "committed; it is left alone. Run `export-pipeline recover`"
            )
        attempt.on_step("deleting")
        if attempt.store.delete_if(planned.key, seen.info.etag):
            return
    raise DestinationUnavailableError(
        f"{planned.key} changes while it is being deleted; try again", error_class="Unavailable"
    )


class UploadLostError(RetryableError):
    """The store no longer has the upload of a commit that was decided on, nor its object; the day begins again."""


class UploadRefusedError(PermanentError):
    """The store never completes the upload of a commit that was decided on; it is aborted, the commit is given up."""


@dataclass(frozen=True)
class Completion:
    """A file that is visible now."""

    etag: str | None
    version_id: str | None
    verified: Verified


def complete_upload(attempt: Attempt, intent: Intent, upload: PlannedUpload) -> Completion:
    """Makes the upload's file visible and checks that it is there, size and footer.

    Raises `UploadLostError` where neither the upload nor the object exists, `UploadRefusedError` where the store does
    not take its parts, `DestinationRefusedError` where rights are missing, `DestinationUnavailableError` where the
    outcome stays unknown: the next attempt goes on from here.
    """
    backoff = Backoff(attempt.limits.patience)
    while True:
        attempt.lease.confirm(lately=True)
        attempt.on_step("completing")
        answer, error = _ask(attempt, upload)
        attempt.on_step("completed")
        seen = _seen(attempt, intent, upload, settle=answer is not None or isinstance(error, UploadGoneError))
        if seen.presence is Presence.MINE and seen.info is not None:
            version = seen.info.version_id or (answer.version_id if answer else None)
            return Completion(seen.info.etag, version, "read back")
        if answer is not None:
            return _trusted(attempt, upload, answer, seen)
        if isinstance(error, UploadGoneError):
            _give_up(attempt, upload, seen)
        if isinstance(error, DestinationRefusedError):
            _refuse(attempt, upload, error)
        if not backoff.wait():
            raise DestinationUnavailableError(
                f"the store does not say whether {upload.key} was completed; the next attempt finds out",
                error_class="Unavailable",
            ) from error


def _ask(attempt: Attempt, upload: PlannedUpload) -> tuple[Completed | None, Exception | None]:
    try:
        return attempt.store.complete(upload.key, upload.upload_id, upload.parts), None
    except (OutcomeUnknownError, UploadGoneError) as error:
        return None, error
    except DestinationRefusedError as error:
        if error.code not in _NEVER:
            raise
        return None, error


def _seen(attempt: Attempt, intent: Intent, upload: PlannedUpload, *, settle: bool) -> ObjectState:
    """What lies at the key; where the object should be there by now, looked for until `limits.settle` has passed."""
    backoff = Backoff(attempt.limits.settle if settle else 0.0)
    while True:
        seen = read_object_state(attempt.store, key=upload.key, size=upload.bytes, commit_id=intent.commit_id)
        if seen.presence in {Presence.MINE, Presence.UNREADABLE} or not backoff.wait():
            return seen
        # Whoever took the day over may have put the next commit there: then this process stops here.
        attempt.lease.confirm()


def _trusted(attempt: Attempt, upload: PlannedUpload, answer: Completed, seen: ObjectState) -> Completion:
    if seen.presence is Presence.UNREADABLE:
        return Completion(answer.etag, answer.version_id, "by the store's answer")
    attempt.lease.confirm()
    raise DestinationUnavailableError(
        f"the store said that {upload.key} was completed, but {seen.presence} is there; the next attempt finds out",
        error_class="Unavailable",
    )


def _give_up(attempt: Attempt, upload: PlannedUpload, seen: ObjectState) -> None:
    if seen.presence is Presence.UNREADABLE:
        raise AccessDeniedError(
            f"whether {upload.key} was completed cannot be told: the upload is gone and the object may not be read; "
            "grant the credentials s3:GetObject and s3:ListBucket on it"
        )
    attempt.lease.confirm()
    abort_if_allowed(attempt, upload.key, upload.upload_id)  # it may lack nothing but a part
    raise UploadLostError(
        f"the store has removed the upload of {upload.key} before it was completed; does a lifecycle rule abort "
        "uploads within a day?"
    )


def _refuse(attempt: Attempt, upload: PlannedUpload, error: DestinationRefusedError) -> None:
    attempt.lease.confirm()
    try:
        attempt.store.abort(upload.key, upload.upload_id)
    except DestinationRefusedError as denied:
        raise DestinationRefusedError(
            f"the store never completes the upload of {upload.key}: {error} The commit is given up once the upload is "
            f"aborted: grant the credentials s3:AbortMultipartUpload, or abort the upload {upload.upload_id} by hand",
            error_class=denied.error_class,
            code=error.code,
        ) from error
    raise UploadRefusedError(
        f"the store never completes the upload of {upload.key}; it was aborted, and the day is as it was: {error}"
    ) from error

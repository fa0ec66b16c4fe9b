"""Complete, and what to believe when its answer is not a plain yes.

Complete is sent in single attempts: a repeated one would turn a success whose answer was lost into an error. What
became of it is read from the object itself, which says in its footer which commit it belongs to.

A commit that was decided on is given up only where its upload can never become an object: the store no longer has it,
or refuses the parts themselves. What is left of the upload is aborted first, so that nobody completes it afterwards.
"""

import time
from dataclasses import dataclass

from export_pipeline.errors import (
    DestinationRefusedError,
    DestinationUnavailableError,
    PermanentError,
    RetryableError,
)
from export_pipeline.exports.commit.fence import abort_if_allowed
from export_pipeline.exports.commit.intent import Intent, PlannedUpload
from export_pipeline.exports.commit.job import Job
from export_pipeline.exports.commit.look import ACCESS_DENIED, Found, Look, look, pauses
from export_pipeline.files.manifest import Verified
from export_pipeline.object_store.protocol import Completed, OutcomeUnknownError, UploadGoneError

_NEVER = frozenset({"EntityTooSmall", "EntityTooLarge"})
"""Codes that are about the parts: the same parts are refused for ever, whatever is done about rights or settings."""


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


def complete_upload(job: Job, intent: Intent, upload: PlannedUpload) -> Completion:
    """Makes the upload's file visible and checks that it is there, size and footer.

    Raises `UploadLostError` where neither the upload nor the object exists, `UploadRefusedError` where the store does
    not take its parts, `DestinationRefusedError` where rights are missing, `DestinationUnavailableError` where the
    outcome stays unknown: the next attempt goes on from here.
    """
    deadline = time.monotonic() + job.limits.patience
    for pause in pauses():
        job.lease.confirm(lately=True)
        job.on_step("completing")
        answer, error = _ask(job, upload)
        job.on_step("completed")
        seen = _seen(job, intent, upload, settle=answer is not None or isinstance(error, UploadGoneError))
        if seen.found is Found.MINE and seen.info is not None:
            version = seen.info.version_id or (answer.version_id if answer else None)
            return Completion(seen.info.etag, version, "read back")
        if answer is not None:
            return _trusted(job, upload, answer, seen)
        if isinstance(error, UploadGoneError):
            _give_up(job, upload, seen)
        if isinstance(error, DestinationRefusedError):
            _refuse(job, upload, error)
        if time.monotonic() + pause > deadline:
            raise DestinationUnavailableError(
                f"the store does not say whether {upload.key} was completed; the next attempt finds out",
                error_class="Unavailable",
            ) from error
        time.sleep(pause)
    raise AssertionError("pauses never end")


def _ask(job: Job, upload: PlannedUpload) -> tuple[Completed | None, Exception | None]:
    try:
        return job.store.complete(upload.key, upload.upload_id, upload.parts), None
    except (OutcomeUnknownError, UploadGoneError) as error:
        return None, error
    except DestinationRefusedError as error:
        if error.code not in _NEVER:
            raise
        return None, error


def _seen(job: Job, intent: Intent, upload: PlannedUpload, *, settle: bool) -> Look:
    """What lies at the key; where the object should be there by now, looked for until `limits.settle` has passed."""
    deadline = time.monotonic() + (job.limits.settle if settle else 0.0)
    for pause in pauses():
        seen = look(job.store, key=upload.key, size=upload.bytes, commit_id=intent.commit_id)
        if seen.found in {Found.MINE, Found.UNREADABLE} or time.monotonic() + pause > deadline:
            return seen
        # Whoever took the day over may have put the next commit there: then this process stops here.
        job.lease.confirm()
        time.sleep(pause)
    raise AssertionError("pauses never end")


def _trusted(job: Job, upload: PlannedUpload, answer: Completed, seen: Look) -> Completion:
    if seen.found is Found.UNREADABLE:
        return Completion(answer.etag, answer.version_id, "by the store's answer")
    job.lease.confirm()
    raise DestinationUnavailableError(
        f"the store said that {upload.key} was completed, but {seen.found} is there; the next attempt finds out",
        error_class="Unavailable",
    )


def _give_up(job: Job, upload: PlannedUpload, seen: Look) -> None:
    if seen.found is Found.UNREADABLE:
        raise DestinationRefusedError(
            f"whether {upload.key} was completed cannot be told: the upload is gone and the object may not be read; "
            "grant the credentials s3:GetObject and s3:ListBucket on it",
            error_class=ACCESS_DENIED,
        )
    job.lease.confirm()
    abort_if_allowed(job, upload.key, upload.upload_id)  # it may lack nothing but a part
    raise UploadLostError(
        f"the store has removed the upload of {upload.key} before it was completed; does a lifecycle rule abort "
        "uploads within a day?"
    )


def _refuse(job: Job, upload: PlannedUpload, error: DestinationRefusedError) -> None:
    job.lease.confirm()
    try:
        job.store.abort(upload.key, upload.upload_id)
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

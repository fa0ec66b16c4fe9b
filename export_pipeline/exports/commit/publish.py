"""Publishing a day, the one way in which rows come into a bucket."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from export_pipeline.errors import (
    ControlUnreachableError,
    DayCancelledError,
    ExportPipelineError,
    LeaseLostError,
    PermanentError,
    RetryableError,
)
from export_pipeline.exports.commit import state as day_state
from export_pipeline.exports.commit.claim import Claim, Satisfied, lost, read_satisfying
from export_pipeline.exports.commit.complete import UploadLostError, UploadRefusedError
from export_pipeline.exports.commit.export import DayExport, Unchanged
from export_pipeline.exports.commit.fence import InBucket, fence, is_commit, look_into_bucket, refuse_foreign
from export_pipeline.exports.commit.finish import carry_out
from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.commit.job import Job, OnStep, PublishLimits
from export_pipeline.exports.commit.leases import Clock, Lease, OwnerEnded, elapsed, wait_for_claim
from export_pipeline.exports.commit.record import FinishedCommit
from export_pipeline.exports.commit.rules import Committed, satisfies
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ExportRecord
from export_pipeline.files.paths import manifest_folder
from export_pipeline.files.signing import Signer
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.runs.window import DayWindow
from export_pipeline.sources.protocol import RunSource

WAIT_FOR_LEASE = 1800.0
_NEW_EPOCHS = 3
"""How often a day begins again when the store loses its upload between the commit point and Complete."""
_GIVE_BACK_PATIENCE = 5.0
_MOST_SHOWN = 10
"""Rejected rows of a day that its outcome names; the manifest lists up to a thousand."""

Outcome = Literal["committed", "unchanged", "empty", "satisfied"]


@dataclass(frozen=True)
class DayRequest:
    """One day of one export, to be published by `owner` ("dagster:<run id>", "process:<host>:<pid>").

    `launched_at`, control database microseconds: a commit that read its snapshot later is enough, nothing is read.
    None: the day is read anew. `allow_shrink` lets a day be replaced by fewer rows.
    """

    export: ExportRecord
    day: DayWindow
    owner: str
    launched_at: int | None = None
    allow_shrink: bool = False


@dataclass(frozen=True)
class DayOutcome:
    """What became of a day that is Completed now.

    "committed": a file was published. "empty": the day was committed without rows and without a file. "unchanged":
    the source agrees with what was committed before. "satisfied": a commit after the launch was there already.
    `rejected` and `replaced` count rows and cells, `reasons` rejected rows by reason; `first_rejected` are the first of
    them, with id, start_time and reason. `superseded` counts the rows that have a newer version. `uri` is None where
    the day is empty.
    """

    outcome: Outcome
    rows: int
    rejected: int
    replaced: int
    bytes: int
    uri: str | None
    manifest_uri: str
    epoch: int
    commit_id: uuid.UUID
    seconds: float
    reasons: Mapping[str, int] = field(default_factory=dict)
    first_rejected: tuple[Mapping[str, str | None], ...] = ()
    superseded: int = 0

    @property
    def key(self) -> str | None:
        """The file's key in the bucket."""
        return None if self.uri is None else self.uri.split("/", 3)[3]


def no_step(name: str) -> None:
    """The hook that does nothing."""


def no_bytes(count: int) -> None:
    """The gate that is always open."""


def publish_day(
    request: DayRequest,
    *,
    control: ControlDatabase,
    store: ObjectStore,
    source: RunSource,
    limits: PublishLimits | None = None,
    owner_ended: OwnerEnded | None = None,
    wait_for_lease: float = WAIT_FOR_LEASE,
    on_step: OnStep = no_step,
    on_bytes: Callable[[int], None] = no_bytes,
    in_bucket: InBucket | None = None,
    clock: Clock = elapsed,
    signer: Signer | None = None,
) -> DayOutcome:
    """Publishes one day: whole, once, or not at all.

    `owner_ended` says of an owner's name whether its process has certainly ended; `wait_for_lease` is how long another
    holder is waited for, in seconds; `on_step` is told every step by name; `on_bytes` the source bytes read so far,
    and may hold the day up; `in_bucket` is what `look_into_bucket` gave, where it was called for many days already;
    `clock` measures the age of the lease; `signer` signs the manifest.

    Raises, with the bucket as it was: `DayBusyError`, `DayCancelledError`, `ShrunkError`, `RowCountError`,
    `DayTooLargeError`, `ForeignCommitError`, errors of the source. `LeaseLostError`: another process has the day.
    `DestinationError` and `ControlUnreachableError` may come after the commit point: the next attempt finishes then.
    An interrupt (any BaseException) aborts the upload and gives the day back.
    """
    begun = clock()
    limits = limits or PublishLimits()
    export, day = request.export, request.day.day
    if in_bucket is None:
        if (done := satisfied([request], control).get(day)) is not None:
            return done
        in_bucket = look_into_bucket(store, export, [day])
    claim = wait_for_claim(
        control,
        export_id=export.export_id,
        day=day,
        owner=request.owner,
        launched_at=request.launched_at,
        lease_seconds=limits.lease_seconds,
        wait_seconds=wait_for_lease,
        owner_ended=owner_ended,
        patience=limits.patience,
        taken=in_bucket.epochs.get(day, ()),
    )
    if isinstance(claim, Satisfied):
        return outcome_of(export, "satisfied", claim.committed.manifest, claim.committed.manifest_key, seconds=0.0)
    lease = Lease(
        claim,
        control=control,
        lease_seconds=limits.lease_seconds,
        patience=limits.patience,
        since=begun,
        clock=clock,
    )
    with lease:
        job = Job(export, control, store, lease, limits, on_step, signer)
        try:
            on_step("claimed")
            result = _publish(job, request, source, on_bytes=on_bytes, in_bucket=in_bucket)
        except BaseException as error:
            _give_back(job, error)
            raise
    if isinstance(result, Unchanged):
        kept = result.committed
        return outcome_of(export, "unchanged", kept.manifest, kept.manifest_key, seconds=clock() - begun)
    kind: Outcome = "empty" if result.key is None else "committed"
    return outcome_of(export, kind, result.manifest, result.manifest_key, seconds=clock() - begun)


def outcome_of(
    export: ExportRecord, outcome: Outcome, manifest: Mapping[str, Any], manifest_key: str, *, seconds: float
) -> DayOutcome:
    """What a caller is told of a commit, given the manifest's content."""
    file, rejected = manifest["file"], manifest["rejected"]
    return DayOutcome(
        outcome=outcome,
        rows=manifest["rows"],
        rejected=rejected["count"],
        replaced=sum(manifest["replaced"].values()),
        bytes=file["bytes"] if file else 0,
        uri=f"s3://{export.bucket}/{file['key']}" if file else None,
        manifest_uri=f"s3://{export.bucket}/{manifest_key}",
        epoch=manifest["epoch"],
        commit_id=uuid.UUID(manifest["commit_id"]),
        seconds=seconds,
        reasons=rejected["by_reason"],
        first_rejected=tuple(rejected["rows"][:_MOST_SHOWN]),
        superseded=manifest.get("superseded", 0),  # manifests of older versions have no such count
    )


def _publish(
    job: Job, request: DayRequest, source: RunSource, *, on_bytes: Callable[[int], None], in_bucket: InBucket
) -> FinishedCommit | Unchanged:
    claim = job.lease.claim
    committed, finished = claim.committed, None
    if claim.intent is not None:
        committed, finished = _roll_forward(job, claim, claim.intent)
    decided = claim.intent.upload.upload_id if claim.intent and claim.intent.upload else None
    fence(
        job,
        [stale for stale in claim.stale_uploads if stale.upload_id != decided],
        left=[] if claim.epoch == 1 else [found for found in in_bucket.uploads.of(claim.day) if found != decided],
    )
    job.on_step("fenced")
    if claim.cancelled:
        raise DayCancelledError(f"{claim.day} was cancelled")
    if finished is not None and satisfies(committed, request.launched_at):
        _release(job, finished)
        return finished
    recorded = None if committed is None else committed.epoch
    refuse_foreign(
        claim.day,
        in_bucket=in_bucket.epochs.get(claim.day, ()),
        recorded=recorded,
        is_commit=lambda epoch: is_commit(job.store, job.export, claim.day, epoch),
        folder=manifest_folder(job.export.prefix, job.export.key(claim.day)),
    )
    for attempt in range(_NEW_EPOCHS):
        export = DayExport(
            job, day=request.day, committed=committed, allow_shrink=request.allow_shrink, on_bytes=on_bytes
        )
        try:
            return export.run(source)
        except UploadLostError:
            if attempt + 1 == _NEW_EPOCHS:
                raise
            _begin_again(job, export.commit_id)
        except UploadRefusedError:
            _begin_again(job, export.commit_id)
            raise
    raise AssertionError("the last attempt returns or raises")


def _roll_forward(job: Job, claim: Claim, intent: Intent) -> tuple[Committed | None, FinishedCommit | None]:
    """Carries out what an earlier attempt decided on; where the store will never complete its upload, gives that up."""
    try:
        done = carry_out(job, intent, keep_lease=True)
    except (UploadLostError, UploadRefusedError):
        _begin_again(job, intent.commit_id)
        return claim.committed, None
    job.on_step("rolled forward")
    now = Committed(
        epoch=done.epoch,
        rows=done.rows,
        rows_read=intent.rows_read,
        bytes=done.bytes,
        manifest_key=done.manifest_key,
        manifest=done.manifest,
        snapshot_at=done.snapshot_at,
    )
    return now, done


def _begin_again(job: Job, commit_id: uuid.UUID) -> None:
    claim_id = uuid.uuid4()
    claim = job.control.run(
        lambda connection: day_state.drop_intent(
            connection, job.lease.claim, commit_id=commit_id, new_claim_id=claim_id
        ),
        patience=job.limits.patience,
    )
    job.lease.moved_to(claim)
    job.on_step("begun again")


def _release(job: Job, finished: FinishedCommit) -> None:
    job.control.run(
        lambda connection: day_state.record_unchanged(
            connection,
            job.lease.claim,
            control=job.control,
            snapshot_at=finished.snapshot_at,
            fingerprint=finished.manifest["source"],
        ),
        patience=job.limits.patience,
    )
    job.on_step("released")


def _give_back(job: Job, error: BaseException) -> None:
    """Records why an attempt ended and frees the day; without a control database the lease runs out by itself."""
    if isinstance(error, LeaseLostError):
        return
    text = str(error) if isinstance(error, ExportPipelineError) else f"ended by {type(error).__name__}"
    try:
        held = job.control.run(
            lambda connection: day_state.record_failure(
                connection,
                job.lease.claim,
                control=job.control,
                error=text,
                cancelled=isinstance(error, DayCancelledError),
            ),
            patience=_GIVE_BACK_PATIENCE,
        )
    except ControlUnreachableError:
        return
    if not held and isinstance(error, RetryableError | PermanentError):
        # What failed is a consequence: whoever has the day now has aborted this attempt's upload.
        raise lost(job.lease.claim) from error


def satisfied(requests: Sequence[DayRequest], control: ControlDatabase) -> dict[date, DayOutcome]:
    """The outcomes of those days of one export that need nothing, because a commit is newer than their launch."""
    launches = {request.day.day: request.launched_at for request in requests if request.launched_at is not None}
    if not launches:
        return {}
    export = requests[0].export
    with control.read() as connection:
        found = read_satisfying(connection, export.export_id, launches)
    return {
        day: outcome_of(export, "satisfied", done.manifest, done.manifest_key, seconds=0.0)
        for day, done in found.items()
    }

"""Publishing a day, the one way in which rows come into a bucket."""

import uuid
from collections.abc import Callable, Sequence
from datetime import date

from export_pipeline.errors import (
    ControlUnreachableError,
    DayCancelledError,
    ExportPipelineError,
    LeaseLostError,
    PermanentError,
    RetryableError,
)
from export_pipeline.exports.commit import transitions
from export_pipeline.exports.commit.claim import Claim, Satisfied, lost, read_satisfying
from export_pipeline.exports.commit.complete import UploadLostError, UploadRefusedError, carry_out
from export_pipeline.exports.commit.day import DayOutcome, DayRequest, Outcome, outcome_of
from export_pipeline.exports.commit.fence import InBucket, fence, is_commit, look_into_bucket, refuse_foreign
from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.commit.lease import Lease, wait_for_claim
from export_pipeline.exports.commit.new_commit import NewCommit, Unchanged
from export_pipeline.exports.commit.publisher import Attempt, Committer, Publisher
from export_pipeline.exports.commit.rules import Committed, satisfies
from export_pipeline.exports.commit.transitions import FinishedCommit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.files.paths import manifest_folder

_NEW_EPOCHS = 3
"""How often a day begins again when the store loses its upload between the commit point and Complete."""
_GIVE_BACK_PATIENCE = 5.0


def no_bytes(count: int) -> None:
    """The gate that is always open."""


def publish_day(
    publisher: Publisher,
    request: DayRequest,
    *,
    on_bytes: Callable[[int], None] = no_bytes,
    in_bucket: InBucket | None = None,
) -> DayOutcome:
    """Publishes one day: whole, once, or not at all.

    `on_bytes` is told the source bytes read so far, and may hold the day up; `in_bucket` is what `look_into_bucket`
    gave, where it was called for many days already.

    Raises, with the bucket as it was: `DayBusyError`, `DayCancelledError`, `ShrunkError`, `RowCountError`,
    `DayTooLargeError`, `ForeignCommitError`, errors of the source. `LeaseLostError`: another process has the day.
    `DestinationError` and `ControlUnreachableError` may come after the commit point: the next attempt finishes then.
    An interrupt (any BaseException) aborts the upload and gives the day back.
    """

    def publish(attempt: Attempt, in_bucket: InBucket) -> FinishedCommit | Unchanged:
        committed, finished = _clear(attempt, in_bucket)
        if finished is not None and satisfies(committed, request.launched_at):
            _release(attempt, finished)
            return finished
        return _commit_anew(publisher, attempt, request, committed, on_bytes=on_bytes, in_bucket=in_bucket)

    return _hold(publisher, request, publish, in_bucket=in_bucket)


def settle_day(committer: Committer, request: DayRequest) -> DayOutcome:
    """Carries out what an attempt that has ended had decided on, and aborts the uploads that it left; reads no row.

    Raises `DayCancelledError` where nothing was decided on, and otherwise as `publish_day` does.
    """

    def settle(attempt: Attempt, in_bucket: InBucket) -> FinishedCommit:
        _, finished = _clear(attempt, in_bucket)
        if finished is None:
            raise DayCancelledError("the export has ended")
        _release(attempt, finished)
        return finished

    return _hold(committer, request, settle, in_bucket=None)


def _hold(
    committer: Committer,
    request: DayRequest,
    work: Callable[[Attempt, InBucket], FinishedCommit | Unchanged],
    *,
    in_bucket: InBucket | None,
) -> DayOutcome:
    """Does the work under a claim of the day, unless the day needs nothing; gives the day back, whatever happens."""
    begun = committer.clock()
    table, day = request.table, request.day.day
    if in_bucket is None:
        if (done := satisfied([request], committer.control).get(day)) is not None:
            return done
        in_bucket = look_into_bucket(committer.store, table, [day])
    claim = wait_for_claim(
        committer.control,
        export_id=table.export_id,
        day=day,
        owner=request.owner,
        launched_at=request.launched_at,
        lease_seconds=committer.limits.lease_seconds,
        wait_seconds=committer.wait_for_lease,
        owner_ended=committer.owner_ended,
        patience=committer.limits.patience,
        taken=in_bucket.epochs.get(day, ()),
    )
    if isinstance(claim, Satisfied):
        return outcome_of(table, "satisfied", claim.committed.manifest, claim.committed.manifest_key, seconds=0.0)
    lease = Lease(
        claim,
        control=committer.control,
        lease_seconds=committer.limits.lease_seconds,
        patience=committer.limits.patience,
        since=begun,
        clock=committer.clock,
    )
    with lease:
        attempt = Attempt(committer, table, lease)
        try:
            attempt.on_step("claimed")
            result = work(attempt, in_bucket)
        except BaseException as error:
            _give_back(attempt, error)
            raise
    seconds = committer.clock() - begun
    if isinstance(result, Unchanged):
        kept = result.committed
        return outcome_of(table, "unchanged", kept.manifest, kept.manifest_key, seconds=seconds)
    kind: Outcome = "empty" if result.key is None else "committed"
    return outcome_of(table, kind, result.manifest, result.manifest_key, seconds=seconds)


def _clear(attempt: Attempt, in_bucket: InBucket) -> tuple[Committed | None, FinishedCommit | None]:
    """Carries out what was decided on before and aborts what else was left.

    Gives back the commit in force, and the one that was carried out just now. Raises `DayCancelledError` where a cancel
    waits for this attempt.
    """
    claim = attempt.lease.claim
    committed, finished = claim.committed, None
    if claim.intent is not None:
        committed, finished = _roll_forward(attempt, claim, claim.intent)
    decided = claim.intent.upload.upload_id if claim.intent and claim.intent.upload else None
    fence(
        attempt,
        [stale for stale in claim.stale_uploads if stale.upload_id != decided],
        left=[] if claim.epoch == 1 else [left for left in in_bucket.uploads.of(claim.day) if left != decided],
    )
    attempt.on_step("fenced")
    if claim.cancelled:
        raise DayCancelledError(f"{claim.day} was cancelled")
    return committed, finished


def _commit_anew(
    publisher: Publisher,
    attempt: Attempt,
    request: DayRequest,
    committed: Committed | None,
    *,
    on_bytes: Callable[[int], None],
    in_bucket: InBucket,
) -> FinishedCommit | Unchanged:
    day = request.day.day
    refuse_foreign(
        day,
        in_bucket=in_bucket.epochs.get(day, ()),
        recorded=None if committed is None else committed.epoch,
        is_commit=lambda epoch: is_commit(attempt.store, attempt.table, day, epoch),
        folder=manifest_folder(attempt.table.prefix, attempt.table.key(day)),
    )
    for number in range(_NEW_EPOCHS):
        commit = NewCommit(attempt, request, committed=committed, on_bytes=on_bytes)
        try:
            return commit.run(publisher.source)
        except UploadLostError:
            if number + 1 == _NEW_EPOCHS:
                raise
            _begin_again(attempt, commit.commit_id)
        except UploadRefusedError:
            _begin_again(attempt, commit.commit_id)
            raise
    raise AssertionError("the last attempt returns or raises")


def _roll_forward(attempt: Attempt, claim: Claim, intent: Intent) -> tuple[Committed | None, FinishedCommit | None]:
    """Carries out what an earlier attempt decided on; where the store will never complete its upload, gives that up."""
    try:
        done = carry_out(attempt, intent, keep_lease=True)
    except (UploadLostError, UploadRefusedError):
        _begin_again(attempt, intent.commit_id)
        return claim.committed, None
    attempt.on_step("rolled forward")
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


def _begin_again(attempt: Attempt, commit_id: uuid.UUID) -> None:
    claim_id = uuid.uuid4()
    claim = attempt.run(
        lambda transaction: transitions.drop_intent(
            transaction, attempt.lease.claim, commit_id=commit_id, new_claim_id=claim_id
        )
    )
    attempt.lease.moved_to(claim)
    attempt.on_step("begun again")


def _release(attempt: Attempt, finished: FinishedCommit) -> None:
    attempt.run(
        lambda transaction: transitions.record_unchanged(
            transaction,
            attempt.lease.claim,
            snapshot_at=finished.snapshot_at,
            fingerprint=finished.manifest["source"],
        )
    )
    attempt.on_step("released")


def _give_back(attempt: Attempt, error: BaseException) -> None:
    """Records why an attempt ended and frees the day; without a control database the lease runs out by itself."""
    if isinstance(error, LeaseLostError):
        return
    text = str(error) if isinstance(error, ExportPipelineError) else f"ended by {type(error).__name__}"
    try:
        held = attempt.committer.control.run(
            lambda transaction: transitions.record_failure(
                transaction,
                attempt.lease.claim,
                error=text,
                cancelled=isinstance(error, DayCancelledError),
            ),
            patience=_GIVE_BACK_PATIENCE,
        )
    except ControlUnreachableError:
        return
    if not held and isinstance(error, RetryableError | PermanentError):
        # What failed is a consequence: whoever has the day now has aborted this attempt's upload.
        raise lost(attempt.lease.claim) from error


def satisfied(requests: Sequence[DayRequest], control: ControlDatabase) -> dict[date, DayOutcome]:
    """The outcomes of those days of one table that need nothing, because a commit is newer than their launch."""
    launches = {request.day.day: request.launched_at for request in requests if request.launched_at is not None}
    if not launches:
        return {}
    table = requests[0].table
    with control.read() as transaction:
        finished = read_satisfying(transaction, table.export_id, launches)
    return {
        day: outcome_of(table, "satisfied", done.manifest, done.manifest_key, seconds=0.0)
        for day, done in finished.items()
    }

"""A day's row after it was claimed: one function for each step, each in one transaction."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from typing import Any, Literal

import sqlalchemy as sa

from export_pipeline.errors import DayCancelledError
from export_pipeline.exports.commit.claim import Claim, DayRow, claim_of, freed, is_day, lock_day, lost
from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.commit.rules import COMPLETED, RUNNING, refuse_shrinking, status_at_rest
from export_pipeline.exports.control.tables import commits, days, facts, uploads
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.runs.times import SECOND

CancelAnswer = Literal["cancelled", "stopping", "too late", "nothing to cancel"]


def renew(
    transaction: Transaction,
    claim: Claim,
    *,
    lease_seconds: float,
    rows_read: int,
    bytes_uploaded: int,
) -> bool:
    """Holds the day for another lease and writes the progress; returns whether a cancel was requested.

    A day that was given back is not held again by a heartbeat that comes late.
    """
    changed = transaction.execute(
        sa.update(days)
        .where(_holds(claim))
        .values(
            lease_until=transaction.now_sql + int(lease_seconds * SECOND),
            rows_read=rows_read,
            bytes_uploaded=bytes_uploaded,
            updated_at=transaction.now_sql,
        )
        .returning(days.c.cancel_requested)
    ).one_or_none()
    if changed is None:
        raise lost(claim)
    return bool(changed.cancel_requested)


def announce_upload(transaction: Transaction, claim: Claim, *, key: str) -> None:
    """Says that an upload is about to be created, so that one whose id was never recorded is looked for."""
    _lock(transaction, claim)
    transaction.insert_missing(uploads, {**_upload(claim, ""), "key": key, "created_at": transaction.now_sql})


def record_upload(transaction: Transaction, claim: Claim, *, upload_id: str) -> None:
    """Replaces the announcement by the upload's id."""
    announced = _uploads(claim, epoch=claim.epoch, upload_id="")
    here = sa.and_(announced, days.c.export_id == uploads.c.export_id, days.c.day == uploads.c.day)
    recorded = sa.update(uploads).where(here, _holds(claim)).values(upload_id=upload_id)
    if not transaction.execute(recorded).rowcount:
        _lock(transaction, claim)


def forget_upload(transaction: Transaction, claim: Claim, *, epoch: int, upload_id: str) -> None:
    """Forgets an upload that was completed or aborted; needs no lease."""
    transaction.execute(sa.delete(uploads).where(_uploads(claim, epoch=epoch, upload_id=upload_id)))


def forget_any_epoch(transaction: Transaction, claim: Claim, *, upload_id: str) -> None:
    """Forgets the upload of an intent, which another epoch of the day may have created."""
    transaction.execute(
        sa.delete(uploads).where(
            uploads.c.export_id == claim.export_id, uploads.c.day == claim.day, uploads.c.upload_id == upload_id
        )
    )


def record_intent(transaction: Transaction, claim: Claim, intent: Intent, *, allow_shrink: bool) -> None:
    """The commit point. Raises `DayCancelledError` or `ShrunkError` where the day must not be committed."""
    free: list[sa.ColumnElement[bool]] = [days.c.intent.is_(None), days.c.cancel_requested.is_(False)]
    if not allow_shrink:
        read = days.c.rows + sa.func.coalesce(days.c.rows_rejected, 0)
        free.append(sa.or_(days.c.rows.is_(None), read <= intent.rows_read))
    decided = sa.update(days).where(_holds(claim)).values(intent=intent.model_dump(mode="json"))
    if transaction.execute(decided.where(*free)).rowcount:
        return
    row = _lock(transaction, claim)
    if row.intent is not None:
        if row.intent.commit_id != intent.commit_id:
            raise lost(claim)
        return
    if row.cancel_requested:
        raise DayCancelledError(f"{claim.day} was cancelled before its commit")
    committed = None if row.committed is None else row.committed.rows_read
    refuse_shrinking(claim.day, committed=committed, read=intent.rows_read, allow_shrink=allow_shrink)
    transaction.execute(decided)


def drop_intent(transaction: Transaction, claim: Claim, *, commit_id: uuid.UUID, new_claim_id: uuid.UUID) -> Claim:
    """Gives up a commit whose upload the store no longer has, and begins again with a new epoch."""
    row = lock_day(transaction, is_day(claim.export_id, claim.day))
    if row is None:
        raise lost(claim)
    if row.claim_id != new_claim_id:
        if (row.epoch, row.claim_id) != (claim.epoch, claim.claim_id):
            raise lost(claim)
        if row.intent is not None and row.intent.commit_id == commit_id and row.intent.upload is not None:
            forget_any_epoch(transaction, claim, upload_id=row.intent.upload.upload_id)
        values = {"intent": None, "epoch": claim.epoch + 1, "claim_id": new_claim_id}
        transaction.execute(sa.update(days).where(_holds(claim)).values(**values))
        row = replace(row, intent=None, epoch=claim.epoch + 1, claim_id=new_claim_id)
    return claim_of(transaction, row, new_claim_id)


def record_unchanged(
    transaction: Transaction,
    claim: Claim,
    *,
    snapshot_at: int,
    fingerprint: Mapping[str, Any],
) -> None:
    """The source agrees with the commit: nothing is published, and launches before `snapshot_at` are satisfied."""
    row = lock_day(transaction, _has_epoch(claim))
    if row is None:
        raise lost(claim)
    if row.cancel_requested:
        raise DayCancelledError(f"{claim.day} was cancelled; its committed file stays as it was")
    transaction.execute(
        sa.update(days)
        .where(_has_epoch(claim))
        .values(
            **freed(transaction.now_sql),
            status=COMPLETED,
            snapshot_at=snapshot_at,
            fingerprint=dict(fingerprint),
            error=None,
        )
    )


def record_failure(transaction: Transaction, claim: Claim, *, error: str, cancelled: bool) -> bool:
    """Frees the day after an attempt that failed; False, and nothing changed, where the lease was lost.

    A cancel that came while the attempt failed by itself is answered too.
    """
    row = lock_day(transaction, _has_epoch(claim))
    if row is None:
        return False
    status = status_at_rest(
        committed=row.committed is not None,
        pending=row.intent is not None,
        cancelled=cancelled or row.cancel_requested,
    )
    values = {**freed(transaction.now_sql), "status": status, "error": error}
    transaction.execute(sa.update(days).where(_has_epoch(claim)).values(**values))
    return True


def _lock(transaction: Transaction, claim: Claim) -> DayRow:
    row = lock_day(transaction, _holds(claim))
    if row is None:
        raise lost(claim)
    return row


def _holds(claim: Claim) -> sa.ColumnElement[bool]:
    """Whether the day is still held under this claim."""
    return _is_held(claim.export_id, claim.day, claim.epoch, claim.claim_id)


@lru_cache(maxsize=64)
def _is_held(export_id: uuid.UUID, day: date, epoch: int, claim_id: uuid.UUID) -> sa.ColumnElement[bool]:
    """Made once a claim: each of a day's steps asks it, and to make it takes as long as to ask."""
    return sa.and_(is_day(export_id, day), days.c.epoch == epoch, days.c.claim_id == claim_id)


def _has_epoch(claim: Claim) -> sa.ColumnElement[bool]:
    """Whether nobody has claimed or cancelled the day since; for steps that give it back, whose answer may be lost."""
    return sa.and_(is_day(claim.export_id, claim.day), days.c.epoch == claim.epoch)


def _upload(claim: Claim, upload_id: str) -> dict[str, Any]:
    return {"export_id": claim.export_id, "day": claim.day, "epoch": claim.epoch, "upload_id": upload_id}


def _uploads(claim: Claim, *, epoch: int, upload_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        uploads.c.export_id == claim.export_id,
        uploads.c.day == claim.day,
        uploads.c.epoch == epoch,
        uploads.c.upload_id == upload_id,
    )


@dataclass(frozen=True)
class FinishedCommit:
    """What was published: the manifest's content as it lies in the bucket at `manifest_key`."""

    commit_id: uuid.UUID
    epoch: int
    rows: int
    bytes: int
    key: str | None
    manifest_key: str
    manifest: Mapping[str, Any]
    snapshot_at: int
    fingerprint: Mapping[str, Any] | None


def take_sequence(transaction: Transaction, count: int) -> int:
    """The first of `count` numbers of the dense sequence of commits.

    The row stays locked until the transaction ends, so numbers become visible in their order: a reader that has seen
    number n has seen all before it.
    """
    value = sa.cast(sa.cast(facts.c.value, sa.BigInteger) + count, sa.Text)
    after = transaction.execute(
        sa.update(facts).where(facts.c.name == "commit_sequence").values(value=value).returning(facts.c.value)
    ).scalar_one()
    return int(after) - count + 1


def record_commit(transaction: Transaction, claim: Claim, commit: FinishedCommit, *, keep_lease: bool) -> None:
    """Marks the claimed day Completed and appends to `commits`; once, however often it is called."""
    row = lock_day(transaction, _has_epoch(claim))
    if row is None:
        raise lost(claim)
    if row.intent is None or row.intent.commit_id != commit.commit_id:
        if row.committed is not None and row.committed.epoch == commit.epoch:
            return
        raise lost(claim)
    if row.intent.upload is not None:
        forget_any_epoch(transaction, claim, upload_id=row.intent.upload.upload_id)
    values = completed_values(commit, row.now)
    if keep_lease:
        held = {"owner": row.owner, "claim_id": row.claim_id, "lease_until": row.lease_until}
        values = {**values, "status": RUNNING, **held}
    transaction.execute(sa.update(days).where(_has_epoch(claim)).values(**values))
    append_commits(transaction, claim.export_id, {claim.day: commit}, now=row.now)


def completed_values(commit: FinishedCommit, now: int) -> dict[str, Any]:
    """The columns of `days` after a commit, its lease given back."""
    return {
        **freed(now),
        "status": COMPLETED,
        "intent": None,
        "manifest": dict(commit.manifest),
        "manifest_key": commit.manifest_key,
        "commit_epoch": commit.epoch,
        "rows": commit.rows,
        **rejected_values(commit.manifest),
        "bytes": commit.bytes,
        "fingerprint": None if commit.fingerprint is None else dict(commit.fingerprint),
        "snapshot_at": commit.snapshot_at,
        "completed_at": now,
        "error": None,
    }


def rejected_values(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that tell of the rows that a commit has set aside; a manifest that is damaged may not say any."""
    told = manifest.get("rejected") or {"count": 0, "by_reason": {}}
    return {"rows_rejected": told["count"], "rejected": dict(told["by_reason"]) or None}


def append_commits(
    transaction: Transaction, export_id: uuid.UUID, finished: Mapping[date, FinishedCommit], *, now: int
) -> None:
    """Gives commits the next numbers of the sequence, in the order of the mapping."""
    first = take_sequence(transaction, len(finished))
    transaction.execute(
        sa.insert(commits),
        [
            {
                "sequence": first + offset,
                "export_id": export_id,
                "day": day,
                "epoch": commit.epoch,
                "commit_id": commit.commit_id,
                "rows": commit.rows,
                "bytes": commit.bytes,
                "key": commit.key,
                "manifest_key": commit.manifest_key,
                "committed_at": now,
            }
            for offset, (day, commit) in enumerate(finished.items())
        ],
    )


def cancel_in(transaction: Transaction, *, export_id: uuid.UUID, day: date) -> CancelAnswer:
    """Asks for an end of the attempt under way, in the caller's transaction.

    "cancelled": nobody was at work, and nobody who was will commit. "stopping": the attempt under way will not
    commit. "too late": its commit is decided, it will be there. "nothing to cancel": the day is done or unknown.
    """
    here = is_day(export_id, day)
    row = lock_day(transaction, here)
    if row is None:
        return "nothing to cancel"
    if row.intent is not None:
        return "too late"
    running, committed = row.claim_id is not None, row.committed is not None
    if not running and committed:
        return "nothing to cancel"
    if running and (row.lease_until or 0) > row.now:
        transaction.execute(sa.update(days).where(here).values(cancel_requested=True, updated_at=row.now))
        return "stopping"
    # The new epoch fences a process that was only paused and would otherwise go on to commit.
    transaction.execute(
        sa.update(days)
        .where(here)
        .values(
            status=status_at_rest(committed=committed, pending=False, cancelled=True),
            epoch=row.epoch + 1,
            **freed(row.now),
        )
    )
    return "cancelled"

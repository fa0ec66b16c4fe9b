"""What happens to a day after it was claimed: one function for each step, each one transaction.

Every function may be called again when its answer was lost: it finds its own work by epoch, commit or upload id and
does it once. Every change carries the claim's epoch, the fencing token, and those before the commit point ask for the
claim itself too; where the day has another epoch or claim by now the function raises `LeaseLostError` and changes
nothing.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import DayCancelledError
from export_pipeline.exports.commit.claim import MICROSECONDS, Claim, claim_of, freed, is_day, lost
from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.commit.rules import COMPLETED, refuse_shrinking, status_at_rest
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.inserts import insert_missing
from export_pipeline.exports.control.tables import days, uploads


def renew(
    connection: sa.Connection,
    claim: Claim,
    *,
    control: ControlDatabase,
    lease_seconds: float,
    rows_read: int,
    bytes_uploaded: int,
) -> bool:
    """Holds the day for another lease and writes the progress; returns whether a cancel was requested.

    A day that was given back is not held again by a heartbeat that comes late.
    """
    changed = connection.execute(
        sa.update(days)
        .where(_holds(claim))
        .values(
            lease_until=control.now_sql + int(lease_seconds * MICROSECONDS),
            rows_read=rows_read,
            bytes_uploaded=bytes_uploaded,
            updated_at=control.now_sql,
        )
        .returning(days.c.cancel_requested)
    ).one_or_none()
    if changed is None:
        raise lost(claim)
    return bool(changed.cancel_requested)


def announce_upload(connection: sa.Connection, claim: Claim, *, key: str, now: sa.ColumnElement[int]) -> None:
    """Says that an upload is about to be created, so that one whose id was never recorded is looked for."""
    _lock(connection, claim)
    insert_missing(connection, uploads, {**_upload(claim, ""), "key": key, "created_at": now})


def record_upload(connection: sa.Connection, claim: Claim, *, upload_id: str) -> None:
    """Replaces the announcement by the upload's id."""
    announced = _uploads(claim, epoch=claim.epoch, upload_id="")
    here = sa.and_(announced, days.c.export_id == uploads.c.export_id, days.c.day == uploads.c.day)
    recorded = sa.update(uploads).where(here, _holds(claim)).values(upload_id=upload_id)
    if not connection.execute(recorded).rowcount:
        _lock(connection, claim)


def forget_upload(connection: sa.Connection, claim: Claim, *, epoch: int, upload_id: str) -> None:
    """Forgets an upload that was completed or aborted; needs no lease."""
    connection.execute(sa.delete(uploads).where(_uploads(claim, epoch=epoch, upload_id=upload_id)))


def forget_any_epoch(connection: sa.Connection, claim: Claim, *, upload_id: str) -> None:
    """Forgets the upload of an intent, which another epoch of the day may have created."""
    connection.execute(
        sa.delete(uploads).where(
            uploads.c.export_id == str(claim.export_id), uploads.c.day == claim.day, uploads.c.upload_id == upload_id
        )
    )


def record_intent(connection: sa.Connection, claim: Claim, intent: Intent, *, allow_shrink: bool) -> None:
    """The commit point. Raises `DayCancelledError` or `ShrunkError` where the day must not be committed."""
    free: list[sa.ColumnElement[bool]] = [days.c.intent.is_(None), days.c.cancel_requested.is_(False)]
    if not allow_shrink:
        read = days.c.rows + sa.func.coalesce(days.c.rows_rejected, 0)
        free.append(sa.or_(days.c.rows.is_(None), read <= intent.rows_read))
    decided = sa.update(days).where(_holds(claim)).values(intent=intent.to_json())
    if connection.execute(decided.where(*free)).rowcount:
        return
    row = _lock(connection, claim)
    if row["intent"] is not None:
        if row["intent"]["commit_id"] != str(intent.commit_id):
            raise lost(claim)
        return
    if row["cancel_requested"]:
        raise DayCancelledError(f"{claim.day} was cancelled before its commit")
    committed = None if row["rows"] is None else row["rows"] + (row["rows_rejected"] or 0)
    refuse_shrinking(claim.day, committed=committed, read=intent.rows_read, allow_shrink=allow_shrink)
    connection.execute(decided)


def drop_intent(connection: sa.Connection, claim: Claim, *, commit_id: uuid.UUID, new_claim_id: uuid.UUID) -> Claim:
    """Gives up a commit whose upload the store no longer has, and begins again with a new epoch."""
    row: Mapping[Any, Any] = (
        connection.execute(sa.select(days).where(is_day(claim.export_id, claim.day)).with_for_update()).mappings().one()
    )
    if row["claim_id"] != str(new_claim_id):
        if (row["epoch"], row["claim_id"]) != (claim.epoch, str(claim.claim_id)):
            raise lost(claim)
        intent = row["intent"]
        if intent is not None and intent["commit_id"] == str(commit_id) and intent["upload"] is not None:
            forget_any_epoch(connection, claim, upload_id=intent["upload"]["upload_id"])
        values = {"intent": None, "epoch": claim.epoch + 1, "claim_id": str(new_claim_id)}
        connection.execute(sa.update(days).where(_holds(claim)).values(**values))
        row = {**row, **values}
    return claim_of(connection, row, new_claim_id)


def record_unchanged(
    connection: sa.Connection,
    claim: Claim,
    *,
    control: ControlDatabase,
    snapshot_at: int,
    fingerprint: Mapping[str, Any],
) -> None:
    """The source agrees with the commit: nothing is published, and launches before `snapshot_at` are satisfied."""
    row = _find(connection, _has_epoch(claim))
    if row is None:
        raise lost(claim)
    if row["cancel_requested"]:
        raise DayCancelledError(f"{claim.day} was cancelled; its committed file stays as it was")
    connection.execute(
        sa.update(days)
        .where(_has_epoch(claim))
        .values(
            **freed(control.now_sql),
            status=COMPLETED,
            snapshot_at=snapshot_at,
            fingerprint=dict(fingerprint),
            error=None,
        )
    )


def record_failure(
    connection: sa.Connection, claim: Claim, *, control: ControlDatabase, error: str, cancelled: bool
) -> bool:
    """Frees the day after an attempt that failed; False, and nothing changed, where the lease was lost.

    A cancel that came while the attempt failed by itself is answered too.
    """
    row = _find(connection, _has_epoch(claim))
    if row is None:
        return False
    status = status_at_rest(
        committed=row["commit_epoch"] is not None,
        pending=row["intent"] is not None,
        cancelled=cancelled or row["cancel_requested"],
    )
    values = {**freed(control.now_sql), "status": status, "error": error}
    connection.execute(sa.update(days).where(_has_epoch(claim)).values(**values))
    return True


def _lock(connection: sa.Connection, claim: Claim) -> Mapping[Any, Any]:
    row = _find(connection, _holds(claim))
    if row is None:
        raise lost(claim)
    return row


def _find(connection: sa.Connection, here: sa.ColumnElement[bool]) -> Mapping[Any, Any] | None:
    return connection.execute(sa.select(days).where(here).with_for_update()).mappings().one_or_none()


def _holds(claim: Claim) -> sa.ColumnElement[bool]:
    """Whether the day is still held under this claim."""
    return sa.and_(_has_epoch(claim), days.c.claim_id == str(claim.claim_id))


def _has_epoch(claim: Claim) -> sa.ColumnElement[bool]:
    """Whether nobody has claimed or cancelled the day since; for steps that give it back, whose answer may be lost."""
    return sa.and_(is_day(claim.export_id, claim.day), days.c.epoch == claim.epoch)


def _upload(claim: Claim, upload_id: str) -> dict[str, Any]:
    return {"export_id": str(claim.export_id), "day": claim.day, "epoch": claim.epoch, "upload_id": upload_id}


def _uploads(claim: Claim, *, epoch: int, upload_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(
        uploads.c.export_id == str(claim.export_id),
        uploads.c.day == claim.day,
        uploads.c.epoch == epoch,
        uploads.c.upload_id == upload_id,
    )

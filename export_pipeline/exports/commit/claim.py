"""A day's row in the control database, typed, and taking the day: the right to write it, for one process at a time."""

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import LeaseLostError
from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.commit.rules import RUNNING, Committed, satisfies
from export_pipeline.exports.control.tables import days, uploads
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.runs.times import SECOND


@dataclass(frozen=True)
class DayRow:
    """A row of `days` as a transaction has it; `now` is the database's clock when it was read, microseconds."""

    export_id: uuid.UUID
    day: date
    epoch: int
    owner: str | None
    claim_id: uuid.UUID | None
    lease_until: int | None
    cancel_requested: bool
    intent: Intent | None
    committed: Committed | None
    updated_at: int
    now: int

    @classmethod
    def of(cls, row: Mapping[Any, Any]) -> "DayRow":
        """From a row's columns; `now` where it was selected beside them, otherwise when the row was written."""
        return cls(
            export_id=row["export_id"],
            day=row["day"],
            epoch=row["epoch"],
            owner=row["owner"],
            claim_id=row["claim_id"],
            lease_until=row["lease_until"],
            cancel_requested=row["cancel_requested"],
            intent=None if row["intent"] is None else Intent.model_validate(row["intent"]),
            committed=committed_of(row),
            updated_at=row["updated_at"],
            now=row.get("now", row["updated_at"]),
        )


def lock_day(transaction: Transaction, here: sa.ColumnElement[bool]) -> DayRow | None:
    """The row, kept from others until the transaction ends; None where the condition fits none."""
    query = sa.select(days, transaction.now_sql.label("now")).where(here).with_for_update()
    row = transaction.execute(query).mappings().one_or_none()
    return None if row is None else DayRow.of(row)


def committed_of(row: Mapping[Any, Any]) -> Committed | None:
    """The last finished commit in a row of `days`."""
    if row["commit_epoch"] is None:
        return None
    return Committed(
        epoch=row["commit_epoch"],
        rows=row["rows"],
        rows_read=row["rows"] + (row["rows_rejected"] or 0),
        bytes=row["bytes"],
        manifest_key=row["manifest_key"],
        manifest=row["manifest"],
        snapshot_at=row["snapshot_at"],
    )


def freed(now: int | sa.ColumnElement[int]) -> dict[str, Any]:
    """The columns of a day that nobody holds."""
    return {
        "owner": None,
        "claim_id": None,
        "lease_until": None,
        "cancel_requested": False,
        "rows_read": None,
        "bytes_uploaded": None,
        "updated_at": now,
    }


def is_day(export_id: uuid.UUID, day: date) -> sa.ColumnElement[bool]:
    """The condition for one row of `days`."""
    return sa.and_(days.c.export_id == export_id, days.c.day == day)


@dataclass(frozen=True)
class StaleUpload:
    """An upload of an earlier attempt; `upload_id` is empty where it was announced, perhaps created, not recorded."""

    epoch: int
    upload_id: str
    key: str


@dataclass(frozen=True)
class Claim:
    """The right to write a day until the lease ends or another claim takes it; `epoch` is the fencing token.

    `taken_at`: control database microseconds, not later than anything that is done under the claim. `cancelled`: a
    cancel was waiting, which this attempt is to acknowledge: it clears the ground, reads nothing, and gives the day
    back.
    """

    export_id: uuid.UUID
    day: date
    epoch: int
    claim_id: uuid.UUID
    taken_at: int
    committed: Committed | None
    intent: Intent | None
    stale_uploads: tuple[StaleUpload, ...]
    cancelled: bool


@dataclass(frozen=True)
class Held:
    """Another process holds the day; `claim_id` names its claim."""

    owner: str
    claim_id: uuid.UUID | None


@dataclass(frozen=True)
class Satisfied:
    """The day needs nothing: a commit is newer than the launch."""

    committed: Committed
    epoch: int


def claim_day(
    transaction: Transaction,
    *,
    export_id: uuid.UUID,
    day: date,
    owner: str,
    claim_id: uuid.UUID,
    lease_seconds: float,
    launched_at: int | None,
    ended_claim: uuid.UUID | None = None,
    taken: Collection[int] = (),
) -> Claim | Held | Satisfied:
    """Takes the day where it is free, its lease has expired, or its holder's claim is known to have ended.

    A cancel that no process has acknowledged yet goes on to wait: the new epoch fences the attempt that it was meant
    for, should that be paused and go on later. `taken` are the epochs of manifests in the bucket: one that lies ahead
    of the record would stand where this claim's own is to be written.
    """
    holder = {"owner": owner, "claim_id": claim_id}
    lease = int(lease_seconds * SECOND)
    new = {"export_id": export_id, "day": day, "status": RUNNING, "epoch": _next(0, taken), **holder}
    clock = {"lease_until": transaction.now_sql + lease, "updated_at": transaction.now_sql}
    if inserted := transaction.insert_missing(days, {**new, **clock}):
        return claim_of(transaction, DayRow.of(inserted), claim_id)
    here = is_day(export_id, day)
    row = lock_day(transaction, here)
    if row is None:
        raise AssertionError(f"{day} was found there and is not")
    if row.claim_id == claim_id:
        return claim_of(transaction, row, claim_id)
    if row.intent is None and row.committed is not None and satisfies(row.committed, launched_at):
        return Satisfied(row.committed, row.epoch)
    if (row.lease_until or 0) > row.now and row.claim_id != ended_claim:
        return Held(row.owner or "", row.claim_id)
    values = {
        **freed(row.now),
        **holder,
        "cancel_requested": row.cancel_requested and row.intent is None,
        "status": RUNNING,
        "epoch": _next(row.epoch, taken),
        "lease_until": row.now + lease,
    }
    taken_over = transaction.execute(sa.update(days).where(here).values(**values).returning(days)).mappings().one()
    return claim_of(transaction, DayRow.of(taken_over), claim_id)


def _next(epoch: int, taken: Collection[int]) -> int:
    epoch, taken = epoch + 1, frozenset(taken)
    while epoch in taken:
        epoch += 1
    return epoch


def read_satisfying(
    transaction: Transaction, export_id: uuid.UUID, launches: Mapping[date, int]
) -> dict[date, Committed]:
    """The last finished commits of those days on which no other is decided and that satisfy their launch.

    `launches`: when each day was launched, in control database microseconds.
    """
    if not launches:
        return {}
    newer = days.c.snapshot_at > min(launches.values())
    here = (days.c.export_id == export_id, days.c.day.between(min(launches), max(launches)))
    rows = transaction.execute(sa.select(days).where(*here, days.c.intent.is_(None), newer)).mappings()
    finished = {row["day"]: committed for row in rows if (committed := committed_of(row)) is not None}
    return {day: done for day, done in finished.items() if day in launches and satisfies(done, launches[day])}


def claim_of(transaction: Transaction, row: DayRow, claim_id: uuid.UUID) -> Claim:
    """The claim that a row of `days` holds."""
    return Claim(
        export_id=row.export_id,
        day=row.day,
        epoch=row.epoch,
        claim_id=claim_id,
        taken_at=row.updated_at,
        committed=row.committed,
        intent=row.intent,
        stale_uploads=() if row.epoch == 1 else _stale_uploads(transaction, row),
        cancelled=row.cancel_requested,
    )


def _stale_uploads(transaction: Transaction, row: DayRow) -> tuple[StaleUpload, ...]:
    query = sa.select(uploads.c.epoch, uploads.c.upload_id, uploads.c.key).where(
        uploads.c.export_id == row.export_id, uploads.c.day == row.day, uploads.c.epoch < row.epoch
    )
    return tuple(StaleUpload(*upload) for upload in transaction.execute(query))


def lost(claim: Claim) -> LeaseLostError:
    """The error of a writer that was overtaken."""
    return LeaseLostError(
        f"{claim.day}: another process has taken the day over from this one (epoch {claim.epoch}), "
        "which was not heard of for a whole lease; this one has stopped writing"
    )

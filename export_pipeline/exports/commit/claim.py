"""Taking a day: one transaction that gives the right to write it to one process at a time."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import LeaseLostError
from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.commit.rules import FAILED, RUNNING, Committed, satisfies, status_at_rest
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.inserts import insert_missing
from export_pipeline.exports.control.tables import days, uploads

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class StaleUpload:
    """An upload of an earlier attempt; `upload_id` is empty where it was announced, perhaps created, not recorded."""

    epoch: int
    upload_id: str
    key: str


@dataclass(frozen=True)
class Claim:
    """The right to write a day until the lease ends or another claim takes it; `epoch` is the fencing token."""

    export_id: uuid.UUID
    day: date
    epoch: int
    claim_id: uuid.UUID
    committed: Committed | None
    intent: Intent | None
    stale_uploads: tuple[StaleUpload, ...]


@dataclass(frozen=True)
class Held:
    """Another process holds the day; `claim_id` names its claim."""

    owner: str
    claim_id: str


@dataclass(frozen=True)
class Satisfied:
    """The day needs nothing: a commit is newer than the launch."""

    committed: Committed
    epoch: int


def claim_day(
    connection: sa.Connection,
    *,
    control: ControlDatabase,
    export_id: uuid.UUID,
    day: date,
    owner: str,
    claim_id: uuid.UUID,
    lease_seconds: float,
    launched_at: int | None,
    ended_claim: str | None = None,
) -> Claim | Held | Satisfied | None:
    """Takes the day where it is free, its lease has expired, or its holder's claim is known to have ended.

    None: a cancel that no process has acknowledged yet was waiting; it is acknowledged now.
    """
    insert_missing(
        connection,
        days,
        [{"export_id": str(export_id), "day": day, "status": FAILED, "epoch": 0, "updated_at": 0}],
    )
    here = is_day(export_id, day)
    row = connection.execute(sa.select(days).where(here).with_for_update()).mappings().one()
    committed = committed_of(row)
    if row["claim_id"] == str(claim_id):
        return claim_of(connection, row, claim_id)
    if row["intent"] is None and committed is not None and satisfies(committed, launched_at):
        return Satisfied(committed, row["epoch"])
    now = connection.execute(sa.select(control.now_sql)).scalar_one()
    if (row["lease_until"] or 0) > now and row["claim_id"] != ended_claim:
        return Held(row["owner"], row["claim_id"])
    if row["cancel_requested"] and row["intent"] is None:
        status = status_at_rest(committed=committed is not None, pending=False, cancelled=True)
        connection.execute(sa.update(days).where(here).values(**freed(now), status=status))
        return None
    values = {
        **freed(now),
        "status": RUNNING,
        "epoch": row["epoch"] + 1,
        "owner": owner,
        "claim_id": str(claim_id),
        "lease_until": now + int(lease_seconds * MICROSECONDS),
    }
    connection.execute(sa.update(days).where(here).values(**values))
    return claim_of(connection, {**row, **values}, claim_id)


def read_satisfying(
    connection: sa.Connection, export_id: uuid.UUID, day: date, *, launched_at: int
) -> Committed | None:
    """The last finished commit, where it satisfies a launch and no other commit is decided on."""
    rows = connection.execute(sa.select(days).where(is_day(export_id, day), days.c.intent.is_(None))).mappings()
    committed = next((committed_of(row) for row in rows), None)
    return committed if satisfies(committed, launched_at) else None


def claim_of(connection: sa.Connection, row: Mapping[Any, Any], claim_id: uuid.UUID) -> Claim:
    """The claim that a row of `days` holds."""
    stale = connection.execute(
        sa.select(uploads.c.epoch, uploads.c.upload_id, uploads.c.key).where(
            uploads.c.export_id == row["export_id"], uploads.c.day == row["day"], uploads.c.epoch < row["epoch"]
        )
    )
    return Claim(
        export_id=uuid.UUID(row["export_id"]),
        day=row["day"],
        epoch=row["epoch"],
        claim_id=claim_id,
        committed=committed_of(row),
        intent=None if row["intent"] is None else Intent.from_json(row["intent"]),
        stale_uploads=tuple(StaleUpload(upload.epoch, upload.upload_id, upload.key) for upload in stale),
    )


def lost(claim: Claim) -> LeaseLostError:
    """The error of a writer that was overtaken."""
    return LeaseLostError(
        f"{claim.day}: another process has taken the day over from this one (epoch {claim.epoch}), "
        "which was not heard of for a whole lease; this one has stopped writing"
    )


def committed_of(row: Mapping[Any, Any]) -> Committed | None:
    """The last finished commit in a row of `days`."""
    if row["commit_epoch"] is None:
        return None
    return Committed(
        epoch=row["commit_epoch"],
        rows=row["rows"],
        bytes=row["bytes"],
        manifest_key=row["manifest_key"],
        manifest=row["manifest"],
        snapshot_at=row["snapshot_at"],
    )


def freed(now: Any) -> dict[str, Any]:
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
    return sa.and_(days.c.export_id == str(export_id), days.c.day == day)

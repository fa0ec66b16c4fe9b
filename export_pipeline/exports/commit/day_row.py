"""A day's row in the control database, typed."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.commit.intent import Intent
from export_pipeline.exports.commit.rules import Committed
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.control.transaction import Transaction


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

"""Cancelling a day: it either wins, and the day is not committed by the attempt under way, or is told that it lost."""

import uuid
from datetime import date
from typing import Literal

import sqlalchemy as sa

from export_pipeline.exports.commit.claim import freed, is_day
from export_pipeline.exports.commit.rules import status_at_rest
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import days

CancelAnswer = Literal["cancelled", "stopping", "too late", "nothing to cancel"]


def cancel_in(connection: sa.Connection, control: ControlDatabase, *, export_id: uuid.UUID, day: date) -> CancelAnswer:
    """Asks for an end of the attempt under way, in the caller's transaction.

    "cancelled": nobody was at work, and nobody who was will commit. "stopping": the attempt under way will not
    commit. "too late": its commit is decided, it will be there. "nothing to cancel": the day is done or unknown.
    """
    here = is_day(export_id, day)
    row = connection.execute(sa.select(days).where(here).with_for_update()).mappings().one_or_none()
    if row is None:
        return "nothing to cancel"
    if row["intent"] is not None:
        return "too late"
    running, committed = row["claim_id"] is not None, row["commit_epoch"] is not None
    if not running and committed:
        return "nothing to cancel"
    now = connection.execute(sa.select(control.now_sql)).scalar_one()
    if running and row["lease_until"] > now:
        connection.execute(sa.update(days).where(here).values(cancel_requested=True, updated_at=now))
        return "stopping"
    # The new epoch fences a process that was only paused and would otherwise go on to commit.
    connection.execute(
        sa.update(days)
        .where(here)
        .values(
            status=status_at_rest(committed=committed, pending=False, cancelled=True),
            epoch=row["epoch"] + 1,
            **freed(now),
        )
    )
    return "cancelled"

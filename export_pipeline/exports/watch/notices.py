"""Notices of what somebody should hear about: an outbox in the control database.

A notice is written in the transaction of the change that it tells of, so there is never one without the other;
`exports.watch.notices_send` logs and posts it afterwards. A kind tells of a subject once.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal, get_args

import sqlalchemy as sa

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import notices
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.changed import ShrunkDay
from export_pipeline.exports.turns import in_turns
from export_pipeline.runs.times import SECOND
from export_pipeline.runs.window import Window

Kind = Literal[
    "export.completed",
    "export.failed",
    "export.timed_out",
    "schedule.missed",
    "day.overdue",
    "days.shrunk",
    "days.late_failed",
    "rows.unassigned",
    "rows.rejected",
    "project.claimed",
    "project.moved",
]
EndKind = Literal["export.completed", "export.failed", "export.timed_out"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Every kind; `docs/runbook.md` has a section for each."""


@dataclass(frozen=True)
class Notice:
    """A notice in the outbox; `text` is a sentence for people, `detail` the same for programs."""

    id: uuid.UUID
    kind: str
    subject: str
    text: str
    detail: Mapping[str, Any]
    created_at: int
    attempts: int


def add_notice(
    transaction: Transaction, kind: Kind, *, subject: str, text: str, detail: Mapping[str, Any], at: int
) -> None:
    """Puts a notice into the outbox, unless this kind has told of the subject before.

    To be called in the transaction of the change; `at` is control database microseconds. `detail` holds JSON values
    and nothing secret.
    """
    row = {
        "id": uuid.uuid4(),
        "kind": kind,
        "subject": subject,
        "body": {"text": text, "detail": dict(detail)},
        "created_at": at,
        "attempts": 0,
        "not_before": at,
    }
    transaction.insert_missing(notices, row)


def export_ended(
    transaction: Transaction,
    kind: EndKind,
    *,
    bulk_id: uuid.UUID,
    tenant_id: uuid.UUID,
    error: str | None,
    at: int,
    warning: str | None = None,
    detail: Mapping[str, Any] | None = None,
    again: Mapping[str, Any] | None = None,
) -> None:
    """A bulk export has ended at `at`; to be called in the transaction that ends it.

    An export that ends again after a retry, or after late days were exported once more, is told of again: whoever has
    loaded it must hear that files were replaced. `warning` says what is not in its files. `detail` may add counts;
    `again` has those `days`, and the `reason`.
    """
    what = {"export.completed": "is complete", "export.failed": "failed", "export.timed_out": "ran out of time"}[kind]
    if again is not None and kind == "export.completed":
        number = len(again["days"])
        what = f"is complete again: {number} {'day' if number == 1 else 'days'} changed ({again['reason']})"
    late = {} if again is None else {"late_days": again["days"], "late_reason": again["reason"]}
    add_notice(
        transaction,
        kind,
        subject=f"{bulk_id}:{at}",
        text=f"export {bulk_id} {what}" + "".join(f": {each}" for each in (error, warning) if each),
        detail={
            **(detail or {}),
            **late,
            "export_id": str(bulk_id),
            "tenant_id": str(tenant_id),
            "error": error,
            "warning": warning,
        },
        at=at,
    )


def schedule_missed(
    transaction: Transaction, *, schedule_id: uuid.UUID, tenant_id: uuid.UUID, window: Window, why: str, at: int
) -> None:
    """A schedule did not start the export of a window when it should have."""
    add_notice(
        transaction,
        "schedule.missed",
        subject=f"{schedule_id}:{window.start.isoformat()}",
        text=f"schedule {schedule_id} missed the window {window}: {why}",
        detail={
            "export_id": str(schedule_id),
            "tenant_id": str(tenant_id),
            "start": window.start.isoformat(),
            "end": window.end.isoformat(),
            "why": why,
        },
        at=at,
    )


def days_shrunk(transaction: Transaction, table: TableRecord, days: Sequence[ShrunkDay], *, name: str, at: int) -> None:
    """The trace store has fewer rows of committed days than are committed; told of once for these days and commits."""
    first, missing = min(days, key=lambda day: day.day), sum(day.committed - day.found for day in days)
    span = str(first.day) if len(days) == 1 else f"{len(days)} days from {first.day} on"
    add_notice(
        transaction,
        "days.shrunk",
        subject=f"{table.export_id}:{','.join(f'{day.day}/{day.epoch}' for day in days)}",
        text=f"the trace store lacks {missing:,} rows of {span} of {name} that are committed; the files are kept",
        detail={
            "name": name,
            "export_id": str(table.export_id),
            "project_id": str(table.session_id),
            "days": [{**asdict(day), "day": day.day.isoformat()} for day in days],
        },
        at=at,
    )


def changed_days_failed(
    transaction: Transaction, table: TableRecord, *, days: str, why: str, change: str, name: str, at: int
) -> None:
    """Days that had changed in the trace store could not be exported again, however often that was tried."""
    add_notice(
        transaction,
        "days.late_failed",
        subject=f"{table.export_id}:{change}",
        text=f"{days} of {name} changed in the trace store ({why}) and could not be exported again",
        detail={
            "name": name,
            "export_id": str(table.export_id),
            "project_id": str(table.session_id),
            "days": days,
            "reason": why,
        },
        at=at,
    )


def due_notices(control: ControlDatabase, *, limit: int, oldest: int) -> list[Notice]:
    """The notices to be sent now: one of each workspace in turn, its oldest first.

    What is of no workspace has turns of its own. Those created before `oldest` are given up.
    """
    with control.read() as transaction:
        is_due = sa.and_(notices.c.sent_at.is_(None), notices.c.not_before <= transaction.now_sql)
        query = sa.select(notices).where(is_due, notices.c.created_at >= oldest)
        rows = transaction.execute(query.order_by(notices.c.created_at, notices.c.id)).all()
    return [
        Notice(
            id=row.id,
            kind=row.kind,
            subject=row.subject,
            text=row.body["text"],
            detail=row.body["detail"],
            created_at=row.created_at,
            attempts=row.attempts,
        )
        for row in islice(in_turns(rows, lambda row: row.body["detail"].get("tenant_id")), limit)
    ]


def mark_sent(control: ControlDatabase, notice: Notice) -> None:
    """The notice has been told of; it is not sent again."""

    def mark(transaction: Transaction) -> None:
        transaction.execute(_update(notice).values(attempts=notice.attempts + 1, sent_at=transaction.now_sql))

    control.run(mark)


def mark_failed(control: ControlDatabase, notice: Notice, *, pause: float) -> None:
    """The notice could not be sent and is tried again after `pause` seconds."""

    def mark(transaction: Transaction) -> None:
        not_before = transaction.now_sql + int(pause * SECOND)
        transaction.execute(_update(notice).values(attempts=notice.attempts + 1, not_before=not_before))

    control.run(mark)


def _update(notice: Notice) -> sa.Update:
    return sa.update(notices).where(notices.c.id == notice.id)

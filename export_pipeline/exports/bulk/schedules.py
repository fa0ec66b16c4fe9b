"""The children of a schedule: which one is due next, and recording it."""

import logging
import time
import uuid
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import ControlSchemaError, ControlUnreachableError, ExportPipelineError, shortened
from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.create import insert_export, refuse_more_days
from export_pipeline.exports.bulk.records import BulkExport, export_of_row, read_export
from export_pipeline.exports.bulk.units import MOST_AT_ONCE, covered_projects, plan_all
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.turns import in_turns
from export_pipeline.exports.watch.notices import schedule_missed
from export_pipeline.runs.times import SECOND, instant
from export_pipeline.runs.window import Window
from export_pipeline.settings import Settings

log = logging.getLogger(__name__)

DELAY = 600 * SECOND
"""How long after its window's end a child starts, in microseconds: rows come late."""
_HOUR = 3600 * SECOND
MISSED = _HOUR
"""How much later than due a child may begin before a notice says that its window was missed."""

_INHERITED = {"all_experiments", "filter", "format_version", "compression", "reexport_late"}


def next_child(*, start_at: int, interval_hours: int, last_start: int | None, now: int) -> tuple[int, int] | None:
    """The window of the next child, as start and end, or None while it is not due; instants in microseconds.

    Child n covers `[start + n·h, start + (n+1)·h)`. Windows come one after the other, however long ago they ended, so
    that none is left out.
    """
    interval = interval_hours * _HOUR
    begin = start_at if last_start is None else last_start + interval
    return (begin, begin + interval) if begin + interval + DELAY <= now else None


def spawn_children(control: ControlDatabase, *, settings: Settings, seconds: float) -> list[BulkExport]:
    """Records the next child of schedules that are due, at most one of each, and gives them back.

    It goes on for about so many seconds, with each workspace in turn. A schedule whose child cannot be recorded has the
    reason in its `error` until it can; the others go on. Raises where the control database cannot be used.
    """
    deadline = time.monotonic() + seconds
    spawned = []
    for schedule in in_turns(_due(control), lambda schedule: schedule.tenant_id, by_lot=True):
        if time.monotonic() > deadline:
            break
        try:
            spawned.append(spawn_child(control, schedule.id, settings=settings))
        except (ControlUnreachableError, ControlSchemaError):
            raise
        except Exception as error:
            if _note_failure(control, schedule.id, error):
                trace = not isinstance(error, ExportPipelineError)
                log.warning("schedule %s cannot spawn its next export: %s", schedule.id, error, exc_info=trace)
    return [child for child in spawned if child is not None]


def spawn_child(control: ControlDatabase, schedule_id: uuid.UUID, *, settings: Settings) -> BulkExport | None:
    """Records the next child of a schedule where it is due; None where it is not, or the schedule was cancelled.

    Raises `NotFoundError` where its destination is gone, `LimitError` where the workspace has too many open days.
    """
    child_id = uuid.uuid4()

    def spawn(transaction: Transaction) -> BulkExport | None:
        # The schedule's row is the lock: whoever comes second finds the child there.
        schedule = read_export(transaction, schedule_id, lock=True)
        now = transaction.now()
        window = _next(transaction, schedule, now)
        if schedule.status != "IntervalScheduled" or window is None:
            return None
        covered = covered_projects(transaction, tenant_id=schedule.tenant_id, session_id=schedule.session_id)
        days = len(covered) * Window(instant(window[0]), instant(window[1])).day_count
        refuse_more_days(transaction, days, tenant_id=schedule.tenant_id, settings=settings)
        child = insert_export(
            transaction,
            _values(schedule, window),
            bulk_id=child_id,
            tenant_id=schedule.tenant_id,
            actor="schedule",
            now=now,
            source_id=schedule.id,
        )
        if days <= MOST_AT_ONCE:
            plan_all(transaction, child)
        _tell_if_late(transaction, schedule, child, now=now)
        if schedule.error is not None:
            _set_error(transaction, schedule, None, now=now)
        audit.record(
            transaction,
            at=now,
            tenant_id=schedule.tenant_id,
            actor="schedule",
            action="export.create",
            subject=child_id,
            detail={"source_id": str(schedule.id), "start_at": window[0], "end_at": window[1]},
        )
        return child

    return control.run(spawn, patience=10.0)


def _values(schedule: BulkExport, window: tuple[int, int]) -> dict[str, Any]:
    """The columns that a child takes over, and its window."""
    fields = schedule.export_fields
    return {
        **{name: value for name, value in asdict(schedule).items() if name in _INHERITED},
        "destination_id": schedule.destination_id,
        "session_id": schedule.session_id,
        "export_fields": None if fields is None else list(fields),
        "start_at": window[0],
        "end_at": window[1],
        "interval_hours": None,
    }


def _tell_if_late(transaction: Transaction, schedule: BulkExport, child: BulkExport, *, now: int) -> None:
    """Windows that were over when the schedule was created come late by nature; others have been missed."""
    due = (child.end_at or 0) + DELAY
    if schedule.created_at < due < now - MISSED:
        cause = "the Dagster daemon was not running, or the windows before it kept it waiting"
        why = f"its export began {(now - due) // _HOUR} hours late: {cause}"
        schedule_missed(
            transaction, schedule_id=schedule.id, tenant_id=schedule.tenant_id, window=child.window, why=why, at=now
        )


def _note_failure(control: ControlDatabase, schedule_id: uuid.UUID, error: Exception) -> bool:
    """Says at the schedule why it cannot spawn, in a notice once its window is missed; False where that is known."""
    why = str(error) if isinstance(error, ExportPipelineError) else f"unexpected {type(error).__name__}"
    text = shortened(f"its next export cannot begin: {why}")

    def note(transaction: Transaction) -> bool:
        schedule = read_export(transaction, schedule_id, lock=True)
        now = transaction.now()
        due = _next(transaction, schedule, now)
        if schedule.status != "IntervalScheduled" or due is None:
            return False
        if due[1] + DELAY < now - MISSED:
            window = Window(instant(due[0]), instant(due[1]))
            schedule_missed(
                transaction, schedule_id=schedule.id, tenant_id=schedule.tenant_id, window=window, why=text, at=now
            )
        if schedule.error != text:
            _set_error(transaction, schedule, text, now=now)
        return schedule.error != text

    return control.run(note, patience=10.0)


def _set_error(transaction: Transaction, schedule: BulkExport, text: str | None, *, now: int) -> None:
    here = bulk_exports.c.id == schedule.id
    transaction.execute(sa.update(bulk_exports).where(here).values(error=text, updated_at=now))


def _due(control: ControlDatabase) -> list[BulkExport]:
    """The schedules whose next window is over."""
    children = bulk_exports.alias("children")
    last = sa.select(sa.func.max(children.c.start_at)).where(children.c.source_id == bulk_exports.c.id)
    query = (
        sa.select(bulk_exports, last.scalar_subquery().label("last_start"))
        .where(bulk_exports.c.status == "IntervalScheduled")
        .order_by(bulk_exports.c.id)
    )
    with control.read() as transaction:
        now = transaction.now()
        rows = [dict(row) for row in transaction.execute(query).mappings()]
    schedules = [(row.pop("last_start"), export_of_row(row)) for row in rows]
    return [schedule for last_start, schedule in schedules if _window(schedule, last_start, now) is not None]


def _next(transaction: Transaction, schedule: BulkExport, now: int) -> tuple[int, int] | None:
    last = sa.select(sa.func.max(bulk_exports.c.start_at)).where(bulk_exports.c.source_id == schedule.id)
    return _window(schedule, transaction.execute(last).scalar_one(), now)


def _window(schedule: BulkExport, last_start: int | None, now: int) -> tuple[int, int] | None:
    hours = schedule.interval_hours or 0
    return next_child(start_at=schedule.start_at, interval_hours=hours, last_start=last_start, now=now)

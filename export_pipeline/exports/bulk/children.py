"""The children of a schedule: which one is due next, and recording it."""

import uuid
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.create import insert_export
from export_pipeline.exports.bulk.records import BulkExport, export_of_row, read_export
from export_pipeline.exports.bulk.units import MOST_AT_ONCE, plan_all, units_to_plan
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports
from export_pipeline.exports.watch.notices import schedule_missed

DELAY = 600 * 1_000_000
"""How long after its window's end a child starts, in microseconds: rows come late."""
_HOUR = 3600 * 1_000_000
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


def spawn_children(control: ControlDatabase) -> list[BulkExport]:
    """Records the next child of every schedule that is due, at most one of each, and gives them back."""
    query = sa.select(bulk_exports).where(bulk_exports.c.status == "IntervalScheduled").order_by(bulk_exports.c.id)
    with control.read() as connection:
        schedules = [export_of_row(row) for row in connection.execute(query).mappings()]
        now = connection.execute(sa.select(control.now_sql)).scalar_one()
        due = [schedule for schedule in schedules if _next(connection, schedule, now) is not None]
    spawned = [spawn_child(control, schedule.id) for schedule in due]
    return [child for child in spawned if child is not None]


def spawn_child(control: ControlDatabase, schedule_id: uuid.UUID) -> BulkExport | None:
    """Records the next child of a schedule where it is due; None where it is not, or the schedule was cancelled."""
    child_id = uuid.uuid4()

    def spawn(connection: sa.Connection) -> BulkExport | None:
        # The schedule's row is the lock: whoever comes second finds the child there.
        schedule = read_export(connection, schedule_id, lock=True)
        now = connection.execute(sa.select(control.now_sql)).scalar_one()
        window = _next(connection, schedule, now)
        if schedule.status != "IntervalScheduled" or window is None:
            return None
        child = insert_export(
            connection,
            _values(schedule, window),
            bulk_id=child_id,
            tenant_id=schedule.tenant_id,
            actor="schedule",
            now=now,
            source_id=schedule.id,
        )
        if units_to_plan(connection, child) <= MOST_AT_ONCE:
            plan_all(connection, control, child)
        _tell_if_late(connection, schedule, child, now=now)
        audit.record(
            connection,
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
        "destination_id": str(schedule.destination_id),
        "session_id": None if schedule.session_id is None else str(schedule.session_id),
        "export_fields": None if fields is None else list(fields),
        "start_at": window[0],
        "end_at": window[1],
        "interval_hours": None,
    }


def _tell_if_late(connection: sa.Connection, schedule: BulkExport, child: BulkExport, *, now: int) -> None:
    """Windows that were over when the schedule was created come late by nature; others have been missed."""
    due = (child.end_at or 0) + DELAY
    if schedule.created_at < due < now - MISSED:
        why = f"its export began {(now - due) // _HOUR} hours late, as if the Dagster daemon had not been running"
        schedule_missed(
            connection, schedule_id=schedule.id, tenant_id=schedule.tenant_id, window=child.window, why=why, at=now
        )


def _next(connection: sa.Connection, schedule: BulkExport, now: int) -> tuple[int, int] | None:
    last = sa.select(sa.func.max(bulk_exports.c.start_at)).where(bulk_exports.c.source_id == str(schedule.id))
    return next_child(
        start_at=schedule.start_at,
        interval_hours=schedule.interval_hours or 0,
        last_start=connection.execute(last).scalar_one(),
        now=now,
    )

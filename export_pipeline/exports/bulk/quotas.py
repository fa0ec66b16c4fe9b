"""How much of bulk exports a workspace may have: schedules, exports an hour, and days that are still to be done."""

import uuid
from collections import Counter
from datetime import timedelta

import sqlalchemy as sa

from export_pipeline.errors import InputError, LimitError
from export_pipeline.exports.bulk.records import instant
from export_pipeline.exports.bulk.request import BulkExportRequest, in_utc
from export_pipeline.exports.bulk.states import UNFINISHED_EXPORTS
from export_pipeline.exports.bulk.units import covered_projects
from export_pipeline.exports.control.tables import bulk_exports, exports
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX, Settings

_HOUR = 3600
_MICROSECONDS = 1_000_000
_SOON = 600


def refuse_beyond_quotas(
    connection: sa.Connection, request: BulkExportRequest, *, tenant_id: uuid.UUID, settings: Settings, now: int
) -> None:
    """Raises `InputError` where an export is too large for itself, `LimitError` where the workspace has too much."""
    if request.end is not None:
        window = Window(in_utc(request.start), in_utc(request.end))
        _refuse_longer_window(window, settings)
        projects = covered_projects(connection, tenant_id=tenant_id, session_id=request.session_id)
        refuse_more_days(connection, len(projects) * window.day_count, tenant_id=tenant_id, settings=settings)
    if request.interval_hours is not None:
        _refuse_more_schedules(connection, tenant_id=tenant_id, settings=settings)
    _refuse_more_exports(connection, tenant_id=tenant_id, settings=settings, now=now)


def refuse_more_days(connection: sa.Connection, days: int, *, tenant_id: uuid.UUID, settings: Settings) -> None:
    """Raises where so many days of projects more are too many for the workspace."""
    most = settings.max_open_days
    if days > most:
        raise InputError(
            f"The export has {days:,} days, counted for each project, more than the {most:,} that "
            f"{PREFIX}MAX_OPEN_DAYS allows: ask for parts of its window, one after the other."
        )
    if (already := open_days(connection, tenant_id=tenant_id)) + days > most:
        raise LimitError(
            f"This workspace has {already:,} days in exports that have not ended, and this one has {days:,}; "
            f"{PREFIX}MAX_OPEN_DAYS allows {most:,}: wait until exports have ended, or cancel one.",
            retry_after=_SOON,
        )


def open_days(connection: sa.Connection, *, tenant_id: uuid.UUID) -> int:
    """The days, of each project, of the workspace's exports that have not ended; those that are done already too."""
    tables = sa.select(sa.func.count()).where(exports.c.bulk_id == bulk_exports.c.id).scalar_subquery()
    query = sa.select(bulk_exports, tables.label("tables")).where(
        bulk_exports.c.tenant_id == str(tenant_id), bulk_exports.c.status.in_(UNFINISHED_EXPORTS)
    )
    total, unplanned = 0, Counter[str | None]()
    for row in connection.execute(query):
        days = Window(instant(row.start_at), instant(row.end_at)).day_count
        if row.planned_at is None:  # its tables are not recorded yet, or not all of them
            unplanned[row.session_id] += days
        else:
            total += days * row.tables
    for session, days in unplanned.items():
        session_id = None if session is None else uuid.UUID(session)
        total += days * len(covered_projects(connection, tenant_id=tenant_id, session_id=session_id))
    return total


def _refuse_longer_window(window: Window, settings: Settings) -> None:
    if window.end - window.start > timedelta(days=settings.max_export_days):
        raise InputError(
            f"start_time and end_time are more than {settings.max_export_days:,} days apart, the most that "
            f"{PREFIX}MAX_EXPORT_DAYS allows: ask for several exports, or for a later start."
        )


def _refuse_more_schedules(connection: sa.Connection, *, tenant_id: uuid.UUID, settings: Settings) -> None:
    mine = bulk_exports.c.tenant_id == str(tenant_id)
    scheduled = sa.select(sa.func.count()).where(mine, bulk_exports.c.status == "IntervalScheduled")
    if connection.execute(scheduled).scalar_one() >= settings.max_schedules:
        raise LimitError(
            f"This workspace has {settings.max_schedules} scheduled exports already, as many as "
            f"{PREFIX}MAX_SCHEDULES allows: cancel one first.",
            retry_after=_HOUR,
        )


def _refuse_more_exports(connection: sa.Connection, *, tenant_id: uuid.UUID, settings: Settings, now: int) -> None:
    recent = sa.select(sa.func.min(bulk_exports.c.created_at), sa.func.count()).where(
        bulk_exports.c.tenant_id == str(tenant_id),
        bulk_exports.c.source_id.is_(None),
        bulk_exports.c.created_at > now - _HOUR * _MICROSECONDS,
    )
    oldest, count = connection.execute(recent).one()
    if count >= settings.max_exports_per_hour:
        free_in = _HOUR - (now - oldest) // _MICROSECONDS
        raise LimitError(
            f"This workspace has created {count} exports within the last hour, as many as "
            f"{PREFIX}MAX_EXPORTS_PER_HOUR allows: try again in {free_in} seconds.",
            retry_after=max(1, free_in),
        )

"""Creating bulk exports, scheduled ones too: rules and quotas first, then one transaction; or a dry run."""

import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import InputError, LimitError, UnknownProjectError
from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.records import UNFINISHED_EXPORTS, BulkExport, export_of_row, read_export
from export_pipeline.exports.bulk.request import BulkExportRequest, in_utc, row_values
from export_pipeline.exports.bulk.units import MOST_AT_ONCE, covered_projects, plan_all, units_to_plan
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.control.tables import bulk_exports, days, exports
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.destinations.records import read_destination
from export_pipeline.exports.projects.registry import project_by_session
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.times import SECOND, instant
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX, Settings
from export_pipeline.sources.protocol import RunSource

__all__ = ["BulkExportRequest", "create_bulk_export"]

_HOUR = 3600
_SOON = 600


def create_bulk_export(
    control: ControlDatabase, request: BulkExportRequest, *, tenant_id: uuid.UUID, settings: Settings, actor: str
) -> BulkExport:
    """Records an export; the sensor starts it. Needs neither the trace store nor the bucket.

    Raises `InputError` for a wrong value, `NotFoundError` for a destination or project that the workspace does not
    have, `LimitError` where the workspace has too many; nothing is stored then. `actor` is "cli" or "key:<id>".
    """
    values = row_values(request)
    bulk_id = uuid.uuid4()

    def create(transaction: Transaction) -> BulkExport:
        if (done := _find(transaction, bulk_id)) is not None:
            return done  # the answer of the commit was lost
        now = refuse_impossible(transaction, request, tenant_id=tenant_id, settings=settings, hold=True)
        export = insert_export(transaction, values, bulk_id=bulk_id, tenant_id=tenant_id, actor=actor, now=now)
        if export.end_at is not None and units_to_plan(transaction, export) <= MOST_AT_ONCE:
            plan_all(transaction, export)
        detail = {name: value for name, value in values.items() if value is not None}
        audit.record(
            transaction,
            at=now,
            tenant_id=tenant_id,
            actor=actor,
            action="export.create",
            subject=bulk_id,
            detail=detail,
        )
        return read_export(transaction, bulk_id)

    return control.run(create, patience=10.0)


def refuse_impossible(
    transaction: Transaction,
    request: BulkExportRequest,
    *,
    tenant_id: uuid.UUID,
    settings: Settings,
    hold: bool = False,
) -> int:
    """The rules that need the database; gives back its time. With `hold` the destination stays meanwhile."""
    read_destination(transaction, request.destination_id, tenant_id=tenant_id, hold=hold)
    _refuse_unknown_project(transaction, request.session_id, tenant_id=tenant_id)
    now: int = transaction.now()
    _refuse_future(request, now=instant(now))
    refuse_beyond_quotas(transaction, request, tenant_id=tenant_id, settings=settings, now=now)
    return now


def insert_export(
    transaction: Transaction,
    values: dict[str, Any],
    *,
    bulk_id: uuid.UUID,
    tenant_id: uuid.UUID,
    actor: str,
    now: int,
    source_id: uuid.UUID | None = None,
) -> BulkExport:
    """Adds a row of `bulk_exports` in the caller's transaction."""
    row = {
        **values,
        "id": bulk_id,
        "tenant_id": tenant_id,
        "source_id": source_id,
        "status": "Created" if values["end_at"] is not None else "IntervalScheduled",
        "created_by": actor,
        "created_at": now,
        "updated_at": now,
    }
    transaction.execute(sa.insert(bulk_exports).values(row))
    return read_export(transaction, bulk_id)


def _find(transaction: Transaction, bulk_id: uuid.UUID) -> BulkExport | None:
    row = transaction.execute(sa.select(bulk_exports).where(bulk_exports.c.id == bulk_id)).mappings().one_or_none()
    return None if row is None else export_of_row(row)


def _refuse_unknown_project(transaction: Transaction, session_id: uuid.UUID | None, *, tenant_id: uuid.UUID) -> None:
    if session_id is None:
        return
    if project_by_session(transaction, session_id, tenant_id=tenant_id) is None:
        raise UnknownProjectError(
            f"There is no project {session_id} in workspace {tenant_id}. A new one is known a few minutes after it "
            "appears in the trace store, or at once after `export-pipeline projects sync`.",
            missing=session_id,
        )


def _refuse_future(request: BulkExportRequest, *, now: datetime) -> None:
    """What is not written yet cannot be exported; the day that is under way, in whatever time zone, can."""
    if request.end is None:
        return
    start, end = in_utc(request.start), in_utc(request.end)
    if start >= now:
        raise InputError(f"start_time {start.isoformat()} lies in the future: nothing is written there yet.")
    if end > now + timedelta(days=1):
        raise InputError(
            f"end_time {end.isoformat()} lies more than a day in the future: what is not written yet cannot be "
            "exported. A scheduled export, with interval_hours, exports each window when it is over."
        )


def refuse_beyond_quotas(
    transaction: Transaction, request: BulkExportRequest, *, tenant_id: uuid.UUID, settings: Settings, now: int
) -> None:
    """Raises `InputError` where an export is too large for itself, `LimitError` where the workspace has too much."""
    if request.end is not None:
        window = Window(in_utc(request.start), in_utc(request.end))
        _refuse_longer_window(window, settings)
        projects = covered_projects(transaction, tenant_id=tenant_id, session_id=request.session_id)
        refuse_more_days(transaction, len(projects) * window.day_count, tenant_id=tenant_id, settings=settings)
    if request.interval_hours is not None:
        _refuse_more_schedules(transaction, tenant_id=tenant_id, settings=settings)
    _refuse_more_exports(transaction, tenant_id=tenant_id, settings=settings, now=now)


def refuse_more_days(transaction: Transaction, days: int, *, tenant_id: uuid.UUID, settings: Settings) -> None:
    """Raises where so many days of projects more are too many for the workspace."""
    most = settings.max_open_days
    if days > most:
        raise InputError(
            f"The export has {days:,} days, counted for each project, more than the {most:,} that "
            f"{PREFIX}MAX_OPEN_DAYS allows: ask for parts of its window, one after the other."
        )
    if (already := open_days(transaction, tenant_id=tenant_id)) + days > most:
        raise LimitError(
            f"This workspace has {already:,} days in exports that have not ended, and this one has {days:,}; "
            f"{PREFIX}MAX_OPEN_DAYS allows {most:,}: wait until exports have ended, or cancel one.",
            retry_after=_SOON,
        )


def open_days(transaction: Transaction, *, tenant_id: uuid.UUID) -> int:
    """The days, of each project, of the workspace's exports that have not ended; those that are done already too."""
    tables = sa.select(sa.func.count()).where(exports.c.bulk_id == bulk_exports.c.id).scalar_subquery()
    query = sa.select(bulk_exports, tables.label("tables")).where(
        bulk_exports.c.tenant_id == tenant_id, bulk_exports.c.status.in_(UNFINISHED_EXPORTS)
    )
    total, unplanned = 0, Counter[uuid.UUID | None]()
    for row in transaction.execute(query):
        days = Window(instant(row.start_at), instant(row.end_at)).day_count
        if row.planned_at is None:  # its tables are not recorded yet, or not all of them
            unplanned[row.session_id] += days
        else:
            total += days * row.tables
    for session_id, days in unplanned.items():
        total += days * len(covered_projects(transaction, tenant_id=tenant_id, session_id=session_id))
    return total


def _refuse_longer_window(window: Window, settings: Settings) -> None:
    if window.end - window.start > timedelta(days=settings.max_export_days):
        raise InputError(
            f"start_time and end_time are more than {settings.max_export_days:,} days apart, the most that "
            f"{PREFIX}MAX_EXPORT_DAYS allows: ask for several exports, or for a later start."
        )


def _refuse_more_schedules(transaction: Transaction, *, tenant_id: uuid.UUID, settings: Settings) -> None:
    mine = bulk_exports.c.tenant_id == tenant_id
    scheduled = sa.select(sa.func.count()).where(mine, bulk_exports.c.status == "IntervalScheduled")
    if transaction.execute(scheduled).scalar_one() >= settings.max_schedules:
        raise LimitError(
            f"This workspace has {settings.max_schedules} scheduled exports already, as many as "
            f"{PREFIX}MAX_SCHEDULES allows: cancel one first.",
            retry_after=_HOUR,
        )


def _refuse_more_exports(transaction: Transaction, *, tenant_id: uuid.UUID, settings: Settings, now: int) -> None:
    recent = sa.select(sa.func.min(bulk_exports.c.created_at), sa.func.count()).where(
        bulk_exports.c.tenant_id == tenant_id,
        bulk_exports.c.source_id.is_(None),
        bulk_exports.c.created_at > now - _HOUR * SECOND,
    )
    oldest, count = transaction.execute(recent).one()
    if count >= settings.max_exports_per_hour:
        free_in = _HOUR - (now - oldest) // SECOND
        raise LimitError(
            f"This workspace has created {count} exports within the last hour, as many as "
            f"{PREFIX}MAX_EXPORTS_PER_HOUR allows: try again in {free_in} seconds.",
            retry_after=max(1, free_in),
        )


@dataclass(frozen=True)
class DryRun:
    """What would be exported; of a schedule: by its first child.

    `days` counts days of projects, the empty ones too. `estimated_bytes` comes from what these projects' exported rows
    take up; None where none is exported yet.
    """

    window: Window
    projects: int
    days: int
    rows: int
    estimated_bytes: int | None


def dry_run(
    control: ControlDatabase, source: RunSource, request: BulkExportRequest, *, tenant_id: uuid.UUID, settings: Settings
) -> DryRun:
    """Checks a request by every rule, counts its rows in the trace store, and stores nothing.

    Raises what `create_bulk_export` raises, and what the trace store does.
    """
    values = row_values(request)
    with control.read() as transaction:
        refuse_impossible(transaction, request, tenant_id=tenant_id, settings=settings)
        covered = covered_projects(transaction, tenant_id=tenant_id, session_id=request.session_id)
        sizes = {project.session_id: _bytes_per_row(transaction, project) for project in covered}
    start = instant(values["start_at"])
    hours = timedelta(hours=request.interval_hours or 0)
    window = Window(start, start + hours if values["end_at"] is None else instant(values["end_at"]))
    tree = None if request.filter is None else parse_filter(request.filter)
    rows = {
        project.session_id: sum(day.rows for day in source.days(project.key, window, filter=tree).values())
        for project in covered
    }
    known = [size for size in sizes.values() if size is not None]
    average = sum(known) / len(known) if known else None
    estimate = None if average is None else round(sum(n * (sizes[key] or average) for key, n in rows.items()))
    return DryRun(
        window=window,
        projects=len(covered),
        days=len(covered) * window.day_count,
        rows=sum(rows.values()),
        estimated_bytes=estimate,
    )


def _bytes_per_row(transaction: Transaction, project: ProjectRecord) -> float | None:
    """What a row of the project takes up in the files that there are."""
    query = (
        sa.select(sa.func.sum(days.c.bytes), sa.func.sum(days.c.rows))
        .join(exports, exports.c.export_id == days.c.export_id)
        .where(
            exports.c.tenant_id == project.tenant_id,
            exports.c.session_id == project.session_id,
            days.c.rows > 0,
        )
    )
    size, rows = transaction.execute(query).one()
    return float(size) / float(rows) if rows else None

"""Creating bulk exports, scheduled ones too: every rule first, then one transaction."""

import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import InputError, UnknownProjectError
from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.quotas import refuse_beyond_quotas
from export_pipeline.exports.bulk.records import BulkExport, export_of_row, instant, read_export
from export_pipeline.exports.bulk.request import BulkExportRequest, in_utc, row_values
from export_pipeline.exports.bulk.units import MOST_AT_ONCE, plan_all, units_to_plan
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports
from export_pipeline.exports.destinations.records import read_destination
from export_pipeline.exports.projects.registry import project_by_session
from export_pipeline.settings import Settings

__all__ = ["BulkExportRequest", "create_bulk_export"]


def create_bulk_export(
    control: ControlDatabase, request: BulkExportRequest, *, tenant_id: uuid.UUID, settings: Settings, actor: str
) -> BulkExport:
    """Records an export; the sensor starts it. Needs neither the trace store nor the bucket.

    Raises `InputError` for a wrong value, `NotFoundError` for a destination or project that the workspace does not
    have, `LimitError` where the workspace has too many; nothing is stored then. `actor` is "cli" or "key:<id>".
    """
    values = row_values(request)
    bulk_id = uuid.uuid4()

    def create(connection: sa.Connection) -> BulkExport:
        if (done := _find(connection, bulk_id)) is not None:
            return done  # the answer of the commit was lost
        now = refuse_impossible(connection, control, request, tenant_id=tenant_id, settings=settings, hold=True)
        export = insert_export(connection, values, bulk_id=bulk_id, tenant_id=tenant_id, actor=actor, now=now)
        if export.end_at is not None and units_to_plan(connection, export) <= MOST_AT_ONCE:
            plan_all(connection, control, export)
        detail = {name: value for name, value in values.items() if value is not None}
        audit.record(
            connection,
            at=now,
            tenant_id=tenant_id,
            actor=actor,
            action="export.create",
            subject=bulk_id,
            detail=detail,
        )
        return read_export(connection, bulk_id)

    return control.run(create, patience=10.0)


def refuse_impossible(
    connection: sa.Connection,
    control: ControlDatabase,
    request: BulkExportRequest,
    *,
    tenant_id: uuid.UUID,
    settings: Settings,
    hold: bool = False,
) -> int:
    """The rules that need the database; gives back its time. With `hold` the destination stays meanwhile."""
    read_destination(connection, request.destination_id, tenant_id=tenant_id, hold=hold)
    _refuse_unknown_project(connection, request.session_id, tenant_id=tenant_id)
    now: int = connection.execute(sa.select(control.now_sql)).scalar_one()
    _refuse_future(request, now=instant(now))
    refuse_beyond_quotas(connection, request, tenant_id=tenant_id, settings=settings, now=now)
    return now


def insert_export(
    connection: sa.Connection,
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
        "id": str(bulk_id),
        "tenant_id": str(tenant_id),
        "source_id": None if source_id is None else str(source_id),
        "status": "Created" if values["end_at"] is not None else "IntervalScheduled",
        "created_by": actor,
        "created_at": now,
        "updated_at": now,
    }
    connection.execute(sa.insert(bulk_exports).values(row))
    return read_export(connection, bulk_id)


def _find(connection: sa.Connection, bulk_id: uuid.UUID) -> BulkExport | None:
    row = connection.execute(sa.select(bulk_exports).where(bulk_exports.c.id == str(bulk_id))).mappings().one_or_none()
    return None if row is None else export_of_row(row)


def _refuse_unknown_project(connection: sa.Connection, session_id: uuid.UUID | None, *, tenant_id: uuid.UUID) -> None:
    if session_id is None:
        return
    if project_by_session(connection, session_id, tenant_id=tenant_id) is None:
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

"""Trying the failed days of an export again, by hand."""

import uuid

import sqlalchemy as sa

from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.quotas import refuse_more_days
from export_pipeline.exports.bulk.records import BulkExport, read_export
from export_pipeline.exports.bulk.states import refuse_retry
from export_pipeline.exports.bulk.units import units_to_plan
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, days, exports
from export_pipeline.exports.destinations.records import read_destination
from export_pipeline.settings import Settings

RETRY = "export.retry"


def retry_failed(
    control: ControlDatabase, bulk_id: uuid.UUID, *, tenant_id: uuid.UUID, settings: Settings, actor: str
) -> BulkExport:
    """Puts the days of a failed export that are not done back to work; finished days stay as they are.

    They get all retries anew, the export all of its time. Raises `NotFoundError` (its destination may be gone too),
    `ConflictError` where the export is not Failed or TimedOut, and `LimitError` where the workspace has too many open
    days.
    """

    def retry(connection: sa.Connection) -> BulkExport:
        export = read_export(connection, bulk_id, tenant_id=tenant_id, lock=True)
        refuse_retry(export.status)
        read_destination(connection, export.destination_id, tenant_id=tenant_id, hold=True)
        refuse_more_days(connection, units_to_plan(connection, export), tenant_id=tenant_id, settings=settings)
        now = connection.execute(sa.select(control.now_sql)).scalar_one()
        undone = sa.and_(bulk_units.c.bulk_id == str(bulk_id), bulk_units.c.status.in_(("Failed", "TimedOut")))
        again = bulk_units.c.attempt + 1
        connection.execute(
            sa.update(bulk_units)
            .where(undone)
            .values(
                status="Created",
                attempt=again,
                first_attempt=again,
                dagster_run_id=None,
                not_before=None,
                finished_at=None,
                updated_at=now,
            )
        )
        mine = sa.select(exports.c.export_id).where(exports.c.bulk_id == str(bulk_id))
        left = sa.and_(days.c.export_id.in_(mine), days.c.cancel_requested, days.c.claim_id.is_(None))
        connection.execute(sa.update(days).where(left).values(cancel_requested=False))
        values = {
            "status": "Created",
            "error": None,
            "warning": None,
            "started_at": None,
            "finished_at": None,
            "updated_at": now,
        }
        connection.execute(sa.update(bulk_exports).where(bulk_exports.c.id == str(bulk_id)).values(values))
        audit.record(connection, at=now, tenant_id=tenant_id, actor=actor, action=RETRY, subject=bulk_id, detail={})
        return read_export(connection, bulk_id)

    return control.run(retry, patience=10.0)

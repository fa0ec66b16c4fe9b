"""Trying the failed days of an export again, by hand."""

import uuid

import sqlalchemy as sa

from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.create import refuse_more_days
from export_pipeline.exports.bulk.records import BulkExport, read_export, refuse_retry
from export_pipeline.exports.bulk.units import units_to_plan
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, days, exports
from export_pipeline.exports.control.transaction import Transaction
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

    def retry(transaction: Transaction) -> BulkExport:
        export = read_export(transaction, bulk_id, tenant_id=tenant_id, lock=True)
        refuse_retry(export.status)
        read_destination(transaction, export.destination_id, tenant_id=tenant_id, hold=True)
        refuse_more_days(transaction, units_to_plan(transaction, export), tenant_id=tenant_id, settings=settings)
        now = transaction.now()
        undone = sa.and_(bulk_units.c.bulk_id == bulk_id, bulk_units.c.status.in_(("Failed", "TimedOut")))
        again = bulk_units.c.attempt + 1
        transaction.execute(
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
        mine = sa.select(exports.c.export_id).where(exports.c.bulk_id == bulk_id)
        left = sa.and_(days.c.export_id.in_(mine), days.c.cancel_requested, days.c.claim_id.is_(None))
        transaction.execute(sa.update(days).where(left).values(cancel_requested=False))
        values = {
            "status": "Created",
            "error": None,
            "warning": None,
            "started_at": None,
            "finished_at": None,
            "updated_at": now,
        }
        transaction.execute(sa.update(bulk_exports).where(bulk_exports.c.id == bulk_id).values(values))
        audit.record(transaction, at=now, tenant_id=tenant_id, actor=actor, action=RETRY, subject=bulk_id, detail={})
        return read_export(transaction, bulk_id)

    return control.run(retry, patience=10.0)

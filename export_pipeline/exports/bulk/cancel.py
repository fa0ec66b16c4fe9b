"""Cancelling a bulk export: final, and decided in one transaction against whatever else wants to end it."""

import uuid

import sqlalchemy as sa

from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.ending import end_export
from export_pipeline.exports.bulk.records import BulkExport, read_export
from export_pipeline.exports.bulk.states import may_cancel
from export_pipeline.exports.control.database import ControlDatabase


def cancel_bulk_export(control: ControlDatabase, bulk_id: uuid.UUID, *, tenant_id: uuid.UUID, actor: str) -> BulkExport:
    """Cancels an export or a schedule, and gives it back as it is then; again where it is cancelled already.

    Days that are committed, or whose commit is decided, stay and are listed; no other day is committed after this. The
    children of a schedule that were spawned go on. Raises `NotFoundError`, and `ConflictError` where the export has
    ended in another way.
    """

    def cancel(connection: sa.Connection) -> BulkExport:
        export = read_export(connection, bulk_id, tenant_id=tenant_id, lock=True)
        if not may_cancel(export.status):
            return export
        now = connection.execute(sa.select(control.now_sql)).scalar_one()
        end_export(connection, control, export, status="Cancelled", error=None, now=now)
        audit.record(
            connection,
            at=now,
            tenant_id=export.tenant_id,
            actor=actor,
            action="export.cancel",
            subject=bulk_id,
            detail={},
        )
        return read_export(connection, bulk_id)

    return control.run(cancel, patience=10.0)

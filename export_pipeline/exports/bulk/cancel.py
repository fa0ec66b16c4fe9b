"""Ending an export before its units are done: cancelled by somebody, timed out, or failed for its own sake.

Cancelling is final, and decided in one transaction against whatever else wants to end the export.
"""

import uuid
from typing import Literal

import sqlalchemy as sa

from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.records import (
    UNFINISHED_EXPORTS,
    UNFINISHED_UNITS,
    BulkExport,
    BulkUnit,
    may_cancel,
    read_export,
    read_units,
)
from export_pipeline.exports.commit.claim import is_day
from export_pipeline.exports.commit.rules import CANCELLED
from export_pipeline.exports.commit.transitions import cancel_in
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, days
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.watch.notices import EndKind, export_ended


def end_export(
    transaction: Transaction,
    export: BulkExport,
    *,
    status: Literal["Cancelled", "TimedOut", "Failed"],
    error: str | None,
    now: int,
) -> None:
    """Ends an export and each unit that can still be stopped; one whose commit is decided goes on to Completed.

    The caller holds the export's row.
    """
    ended = {"status": status, "error": error, "finished_at": now, "updated_at": now}
    transaction.execute(sa.update(bulk_exports).where(bulk_exports.c.id == export.id).values(ended))
    if status != "Cancelled":
        kind: EndKind = "export.timed_out" if status == "TimedOut" else "export.failed"
        export_ended(transaction, kind, bulk_id=export.id, tenant_id=export.tenant_id, error=error, at=now)
    here = bulk_units.c.bulk_id == export.id
    # Days without rows are committed together by the run that has taken them, without a word that they begin.
    taken = sa.or_(bulk_units.c.status == "Running", bulk_units.c.dagster_run_id.is_not(None))
    at_work = read_units(transaction, here, bulk_units.c.status.in_(UNFINISHED_UNITS), taken)
    decided = [unit.id for unit in at_work if not stop_unit(transaction, unit, now=now)]
    stoppable = sa.and_(here, bulk_units.c.status.in_(UNFINISHED_UNITS), bulk_units.c.id.not_in(decided))
    transaction.execute(sa.update(bulk_units).where(stoppable).values(status=status, finished_at=now, updated_at=now))


def fail_export(control: ControlDatabase, bulk_id: uuid.UUID, error: str) -> None:
    """Ends an export that cannot be planned or counted for its own sake, so that no other waits for it."""

    def end(transaction: Transaction) -> None:
        export = read_export(transaction, bulk_id, lock=True)
        if export.status in UNFINISHED_EXPORTS:
            now = transaction.now()
            end_export(transaction, export, status="Failed", error=error, now=now)

    control.run(end)


def stop_unit(transaction: Transaction, unit: BulkUnit, *, now: int) -> bool:
    """Keeps the attempt under way from committing its day; False where the commit is there or decided."""
    answer = cancel_in(transaction, export_id=unit.export_id, day=unit.day)
    if answer in {"stopping", "too late"}:
        return answer == "stopping"
    # The worker may be about to claim the day: then the claim finds the flag.
    day = {"export_id": unit.export_id, "day": unit.day, "status": CANCELLED, "epoch": 0, "updated_at": now}
    transaction.insert_missing(days, day)
    free = sa.and_(is_day(unit.export_id, unit.day), days.c.commit_epoch.is_(None), days.c.intent.is_(None))
    return bool(transaction.execute(sa.update(days).where(free).values(cancel_requested=True)).rowcount)


def cancel_bulk_export(control: ControlDatabase, bulk_id: uuid.UUID, *, tenant_id: uuid.UUID, actor: str) -> BulkExport:
    """Cancels an export or a schedule, and gives it back as it is then; again where it is cancelled already.

    Days that are committed, or whose commit is decided, stay and are listed; no other day is committed after this. The
    children of a schedule that were spawned go on. Raises `NotFoundError`, and `ConflictError` where the export has
    ended in another way.
    """

    def cancel(transaction: Transaction) -> BulkExport:
        export = read_export(transaction, bulk_id, tenant_id=tenant_id, lock=True)
        if not may_cancel(export.status):
            return export
        now = transaction.now()
        end_export(transaction, export, status="Cancelled", error=None, now=now)
        audit.record(
            transaction,
            at=now,
            tenant_id=export.tenant_id,
            actor=actor,
            action="export.cancel",
            subject=bulk_id,
            detail={},
        )
        return read_export(transaction, bulk_id)

    return control.run(cancel, patience=10.0)

"""Ending an export before its units are done: cancelled, out of time, or failed for its own sake."""

import uuid
from typing import Literal

import sqlalchemy as sa

from export_pipeline.exports.bulk.records import BulkExport, BulkUnit, read_export, read_units
from export_pipeline.exports.bulk.states import UNFINISHED_EXPORTS, UNFINISHED_UNITS
from export_pipeline.exports.commit.cancel import cancel_in
from export_pipeline.exports.commit.claim import is_day
from export_pipeline.exports.commit.rules import CANCELLED
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.inserts import insert_missing
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, days
from export_pipeline.exports.watch.notices import EndKind, export_ended


def end_export(
    connection: sa.Connection,
    control: ControlDatabase,
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
    connection.execute(sa.update(bulk_exports).where(bulk_exports.c.id == str(export.id)).values(ended))
    if status != "Cancelled":
        kind: EndKind = "export.timed_out" if status == "TimedOut" else "export.failed"
        export_ended(connection, kind, bulk_id=export.id, tenant_id=export.tenant_id, error=error, at=now)
    here = bulk_units.c.bulk_id == str(export.id)
    # Days without rows are committed together by the run that has taken them, without a word that they begin.
    taken = sa.or_(bulk_units.c.status == "Running", bulk_units.c.dagster_run_id.is_not(None))
    at_work = read_units(connection, here, bulk_units.c.status.in_(UNFINISHED_UNITS), taken)
    decided = [str(unit.id) for unit in at_work if not stop_unit(connection, control, unit, now=now)]
    stoppable = sa.and_(here, bulk_units.c.status.in_(UNFINISHED_UNITS), bulk_units.c.id.not_in(decided))
    connection.execute(sa.update(bulk_units).where(stoppable).values(status=status, finished_at=now, updated_at=now))


def fail_export(control: ControlDatabase, bulk_id: uuid.UUID, error: str) -> None:
    """Ends an export that cannot be planned or counted for its own sake, so that no other waits for it."""

    def end(connection: sa.Connection) -> None:
        found = read_export(connection, bulk_id, lock=True)
        if found.status in UNFINISHED_EXPORTS:
            now = connection.execute(sa.select(control.now_sql)).scalar_one()
            end_export(connection, control, found, status="Failed", error=error, now=now)

    control.run(end)


def stop_unit(connection: sa.Connection, control: ControlDatabase, unit: BulkUnit, *, now: int) -> bool:
    """Keeps the attempt under way from committing its day; False where the commit is there or decided."""
    answer = cancel_in(connection, control, export_id=unit.export_id, day=unit.day)
    if answer in {"stopping", "too late"}:
        return answer == "stopping"
    # The worker may be about to claim the day: then the claim finds the flag.
    day = {"export_id": str(unit.export_id), "day": unit.day, "status": CANCELLED, "epoch": 0, "updated_at": now}
    insert_missing(connection, days, day)
    free = sa.and_(is_day(unit.export_id, unit.day), days.c.commit_epoch.is_(None), days.c.intent.is_(None))
    return bool(connection.execute(sa.update(days).where(free).values(cancel_requested=True)).rowcount)

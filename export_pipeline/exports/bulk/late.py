"""Exports of schedules that follow late changes: their days that differ from the trace store go back to work."""

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import InputError, SourceSlowError, SourceUnusableError
from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.records import BulkExport, export_of_row, read_export
from export_pipeline.exports.bulk.retry import RETRY
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ExportRecord, export_of
from export_pipeline.exports.control.tables import audit_log, bulk_exports, bulk_units, exports
from export_pipeline.exports.projects.late import LateDay, change_of, look_for_late_days, reason
from export_pipeline.exports.watch.notices import days_shrunk
from export_pipeline.sources.protocol import RunSource

LATE = "export.late"
_DAY = 24 * 3600 * 1_000_000


@dataclass(frozen=True)
class LateRound:
    """What a round over tables has found: sentences, how many tables it looked at, where the next one goes on.

    `failed` are sentences about tables that could not be looked at.
    """

    reopened: tuple[str, ...]
    looked_at: int
    cursor: str
    failed: tuple[str, ...] = ()


def follow_late_changes(
    control: ControlDatabase, source: RunSource, *, late_days: int, cursor: str = "", seconds: float = 20.0
) -> LateRound:
    """Puts late days of schedules' exports back to work, for about so many seconds, and says why.

    Exports are looked at while their schedule runs, they are Completed, and their window ended within `late_days` days.
    A change puts a day back once. Days that have shrunk are told of and left alone. A table that cannot be looked at
    for its own sake, or whose filter takes too long, is told of and passed over. Raises errors of a source that does
    not answer.
    """
    deadline = time.monotonic() + seconds
    reopened: list[str] = []
    failed: list[str] = []
    looked_at = 0
    for table, export in _watched(control, since=control.now() - late_days * _DAY, after=cursor):
        if time.monotonic() > deadline:
            return LateRound(tuple(reopened), looked_at, cursor, tuple(failed))
        cursor = str(table.export_id)
        try:
            found = look_for_late_days(control, source, table, export.window)
        except (InputError, SourceSlowError, SourceUnusableError) as error:
            failed.append(f"export {export.id} could not be looked at: {error}")
            continue
        if found.shrunk:
            at = control.now()
            control.run(
                lambda connection, table=table, export=export, shrunk=found.shrunk, at=at: days_shrunk(  # type: ignore[misc]
                    connection, table, shrunk, name=f"export {export.id}", at=at
                )
            )
        if found.late and reopen(control, export.id, table.export_id, found.late):
            number = len(found.late)
            reopened.append(f"{number} day{'s' * (number > 1)} of export {export.id}: {reason(found.late)}")
        looked_at += 1
    return LateRound(tuple(reopened), looked_at, "", tuple(failed))


def reopen(control: ControlDatabase, bulk_id: uuid.UUID, table_id: uuid.UUID, late: Sequence[LateDay]) -> bool:
    """Puts days of a Completed export back to work; False where it is not that any more, or the change is known."""
    change = change_of(late)

    def work(connection: sa.Connection) -> bool:
        export = read_export(connection, bulk_id, lock=True)
        if export.status != "Completed" or _is_known(connection, bulk_id, change):
            return False
        now = connection.execute(sa.select(control.now_sql)).scalar_one()
        here = sa.and_(bulk_units.c.export_id == str(table_id), bulk_units.c.day.in_([day.day for day in late]))
        again = bulk_units.c.attempt + 1
        fresh = dict.fromkeys(("not_before", "dagster_run_id", "started_at", "finished_at"))
        connection.execute(
            sa.update(bulk_units)
            .where(here)
            .values(status="Created", attempt=again, first_attempt=again, updated_at=now, **fresh)
        )
        values = {"status": "Created", "error": None, "started_at": None, "finished_at": None, "updated_at": now}
        connection.execute(sa.update(bulk_exports).where(bulk_exports.c.id == str(bulk_id)).values(values))
        days = [day.day.isoformat() for day in late]
        audit.record(
            connection,
            at=now,
            tenant_id=export.tenant_id,
            actor="schedule",
            action=LATE,
            subject=bulk_id,
            detail={"change": change, "days": days, "reason": reason(late)},
        )
        return True

    return control.run(work)


def read_again(connection: sa.Connection, export: BulkExport) -> Mapping[str, Any] | None:
    """What an export was put back to work for: `days`, and the `reason`; None where that was not late days."""
    if not export.reexport_late:
        return None
    query = (
        sa.select(audit_log.c.action, audit_log.c.detail)
        .where(
            audit_log.c.tenant_id == str(export.tenant_id),
            audit_log.c.at >= export.created_at,
            audit_log.c.subject == str(export.id),
            audit_log.c.action.in_((LATE, RETRY)),
        )
        .order_by(audit_log.c.at.desc())
        .limit(1)
    )
    last = connection.execute(query).one_or_none()
    return last.detail if last is not None and last.action == LATE else None


def _is_known(connection: sa.Connection, bulk_id: uuid.UUID, change: str) -> bool:
    query = sa.select(audit_log.c.detail).where(audit_log.c.subject == str(bulk_id), audit_log.c.action == LATE)
    return any(detail["change"] == change for detail in connection.execute(query).scalars())


def _watched(control: ControlDatabase, *, since: int, after: str) -> list[tuple[ExportRecord, BulkExport]]:
    """The tables of the exports that are looked at, by id, those after the one named."""
    schedules = bulk_exports.alias("schedules")
    query = (
        sa.select(exports.c.export_id, exports.c.bulk_id)
        .join(bulk_exports, bulk_exports.c.id == exports.c.bulk_id)
        .join(schedules, schedules.c.id == bulk_exports.c.source_id)
        .where(
            bulk_exports.c.reexport_late,
            bulk_exports.c.status == "Completed",
            bulk_exports.c.end_at >= since,
            schedules.c.status == "IntervalScheduled",
            exports.c.export_id > after,
        )
        .order_by(exports.c.export_id)
    )
    with control.read() as connection:
        return [
            (_table(connection, row.export_id), _export(connection, row.bulk_id)) for row in connection.execute(query)
        ]


def _table(connection: sa.Connection, table_id: str) -> ExportRecord:
    row = connection.execute(sa.select(exports).where(exports.c.export_id == table_id)).mappings().one()
    return export_of(row)  # type: ignore[arg-type]


def _export(connection: sa.Connection, bulk_id: str) -> BulkExport:
    return export_of_row(
        connection.execute(sa.select(bulk_exports).where(bulk_exports.c.id == bulk_id)).mappings().one()
    )

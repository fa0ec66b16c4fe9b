"""Exports of schedules that follow late changes: their days that differ from the trace store go back to work."""

import json
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import InputError, SourceSlowError, SourceUnreachableError, SourceUnusableError
from export_pipeline.exports.access import audit
from export_pipeline.exports.bulk.records import BulkExport, read_export
from export_pipeline.exports.bulk.retry import RETRY
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import table_of
from export_pipeline.exports.control.tables import audit_log, bulk_exports, bulk_units, exports
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.changed import ChangedDay, change_of, find_changed_days, reason
from export_pipeline.exports.turns import in_shares
from export_pipeline.exports.watch.notices import days_shrunk
from export_pipeline.runs.times import SECOND
from export_pipeline.sources.protocol import RunSource

LATE = "export.late"
COMPARING_SECONDS = 10.0
"""How long the days of one table may be compared: what somebody's filter costs is theirs to bear."""
_ROUND_SECONDS = 10.0
"""With the last table of a round this is well within the minute that Dagster waits for a sensor."""
_DAY = 24 * 3600 * SECOND


@dataclass
class ChangesRound:
    """What a round over tables has found: sentences, how many tables it looked at, where the next one goes on.

    `failed` are sentences about tables that could not be looked at. `cursor` is empty where every table had its turn.
    """

    reopened: list[str] = field(default_factory=list)
    looked_at: int = 0
    cursor: str = ""
    failed: list[str] = field(default_factory=list)


def follow_changes(
    control: ControlDatabase, source: RunSource, *, late_days: int, cursor: str = "", seconds: float = _ROUND_SECONDS
) -> ChangesRound:
    """Puts late days of schedules' exports back to work, and says why; the workspaces share about so many seconds.

    Exports are looked at while their schedule runs, they are Completed, and their window ended within `late_days` days.
    A change puts a day back once. Days that have shrunk are told of and left alone. A table that cannot be looked at
    for its own sake, or takes too long, is told of and passed over. Raises errors of a source that does not answer
    where no table could be looked at.
    """
    queues = _watched(control, since=control.now() - late_days * _DAY)
    reached = {tenant: last for tenant, last in _read_cursor(cursor).items() if tenant in queues}
    for tenant, last in reached.items():
        queues[tenant].rotate(-sum(each.table_id <= last for each in queues[tenant]))
    round_ = ChangesRound()
    unreachable: SourceUnreachableError | None = None
    for tables in in_shares(queues, seconds=seconds, at_most=2 * seconds):
        each = tables.popleft()
        reached[each.tenant_id] = each.table_id
        if not tables:
            del reached[each.tenant_id]
        try:
            _look_at(control, source, each, round_)
        except (InputError, SourceSlowError, SourceUnusableError, SourceUnreachableError) as error:
            round_.failed.append(f"export {each.bulk_id} could not be looked at: {error}")
            if isinstance(error, SourceUnreachableError):
                unreachable = error
                tables.clear()  # perhaps it was this very table that ended the connection
    if unreachable is not None and not round_.looked_at:
        raise unreachable
    round_.cursor = json.dumps({str(tenant): str(last) for tenant, last in reached.items()}) if reached else ""
    return round_


def _look_at(control: ControlDatabase, source: RunSource, watched: "_Watched", round_: ChangesRound) -> None:
    with control.read() as transaction:
        row = transaction.execute(sa.select(exports).where(exports.c.export_id == watched.table_id)).mappings().one()
        table = table_of(row)
        export = read_export(transaction, watched.bulk_id)
    name = f"export {export.id}"
    lateness = find_changed_days(control, source, table, export.window, seconds=COMPARING_SECONDS)
    if shrunk := lateness.shrunk:
        at = control.now()
        control.run(lambda transaction: days_shrunk(transaction, table, shrunk, name=name, at=at))
    if lateness.late and reopen(control, export.id, table.export_id, lateness.late):
        number = len(lateness.late)
        round_.reopened.append(f"{number} day{'s' * (number > 1)} of {name}: {reason(lateness.late)}")
    round_.looked_at += 1


def reopen(control: ControlDatabase, bulk_id: uuid.UUID, table_id: uuid.UUID, late: Sequence[ChangedDay]) -> bool:
    """Puts days of a Completed export back to work; False where it is not that any more, or the change is known."""
    change = change_of(late)

    def work(transaction: Transaction) -> bool:
        export = read_export(transaction, bulk_id, lock=True)
        if export.status != "Completed" or _is_known(transaction, bulk_id, change):
            return False
        now = transaction.now()
        here = sa.and_(bulk_units.c.export_id == table_id, bulk_units.c.day.in_([day.day for day in late]))
        again = bulk_units.c.attempt + 1
        fresh = dict.fromkeys(("not_before", "dagster_run_id", "started_at", "finished_at"))
        transaction.execute(
            sa.update(bulk_units)
            .where(here)
            .values(status="Created", attempt=again, first_attempt=again, updated_at=now, **fresh)
        )
        values = {"status": "Created", "error": None, "started_at": None, "finished_at": None, "updated_at": now}
        transaction.execute(sa.update(bulk_exports).where(bulk_exports.c.id == bulk_id).values(values))
        days = [day.day.isoformat() for day in late]
        audit.record(
            transaction,
            at=now,
            tenant_id=export.tenant_id,
            actor="schedule",
            action=LATE,
            subject=bulk_id,
            detail={"change": change, "days": days, "reason": reason(late)},
        )
        return True

    return control.run(work)


def read_again(transaction: Transaction, export: BulkExport) -> Mapping[str, Any] | None:
    """What an export was put back to work for: `days`, and the `reason`; None where that was not late days."""
    if not export.reexport_late:
        return None
    query = (
        sa.select(audit_log.c.action, audit_log.c.detail)
        .where(
            audit_log.c.tenant_id == export.tenant_id,
            audit_log.c.at >= export.created_at,
            audit_log.c.subject == str(export.id),
            audit_log.c.action.in_((LATE, RETRY)),
        )
        .order_by(audit_log.c.at.desc())
        .limit(1)
    )
    last = transaction.execute(query).one_or_none()
    return last.detail if last is not None and last.action == LATE else None


def _is_known(transaction: Transaction, bulk_id: uuid.UUID, change: str) -> bool:
    query = sa.select(audit_log.c.detail).where(audit_log.c.subject == str(bulk_id), audit_log.c.action == LATE)
    return any(detail["change"] == change for detail in transaction.execute(query).scalars())


@dataclass(frozen=True)
class _Watched:
    """A table to be looked at."""

    table_id: uuid.UUID
    bulk_id: uuid.UUID
    tenant_id: uuid.UUID


def _watched(control: ControlDatabase, *, since: int) -> dict[uuid.UUID, deque[_Watched]]:
    """By workspace the tables of the exports that are looked at, by id."""
    schedules = bulk_exports.alias("schedules")
    query = (
        sa.select(exports.c.export_id, exports.c.bulk_id, exports.c.tenant_id)
        .join(bulk_exports, bulk_exports.c.id == exports.c.bulk_id)
        .join(schedules, schedules.c.id == bulk_exports.c.source_id)
        .where(
            bulk_exports.c.reexport_late,
            bulk_exports.c.status == "Completed",
            bulk_exports.c.end_at >= since,
            schedules.c.status == "IntervalScheduled",
        )
        .order_by(exports.c.export_id)
    )
    queues: dict[uuid.UUID, deque[_Watched]] = {}
    with control.read() as transaction:
        for row in transaction.execute(query):
            queues.setdefault(row.tenant_id, deque()).append(_Watched(*row))
    return queues


def _read_cursor(cursor: str) -> dict[uuid.UUID, uuid.UUID]:
    """By workspace the last table that was looked at; nothing where the cursor is none of this version."""
    try:
        return {uuid.UUID(tenant): uuid.UUID(last) for tenant, last in json.loads(cursor).items()}
    except (ValueError, AttributeError, TypeError):
        return {}

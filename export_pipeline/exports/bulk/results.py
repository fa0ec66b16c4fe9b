"""What becomes of units: taken by a worker, begun, done or failed; each change is one transaction.

Whoever changes an export's state holds its row first, then those of its units, then those of days.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import DayCancelledError, DayReturnedError, DestinationRefusedError, ExportPipelineError
from export_pipeline.exports.bulk.late import read_again
from export_pipeline.exports.bulk.records import BulkExport, BulkUnit, read_export, read_units, rejected_of
from export_pipeline.exports.bulk.states import (
    UNFINISHED_EXPORTS,
    UNFINISHED_UNITS,
    ExportStatus,
    UnitStatus,
    may_retry,
    status_of_ended,
)
from export_pipeline.exports.commit.publish import DayOutcome
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, bulk_units
from export_pipeline.exports.watch.notices import EndKind, export_ended
from export_pipeline.runs.reasons import describe_rejected
from export_pipeline.settings import Settings

_MICROSECONDS = 1_000_000
_ERRORS_KEPT = 50
"""Of one day, the latest ones: attempts that do not count may be many."""
_NOTICES: dict[ExportStatus, EndKind] = {
    "Completed": "export.completed",
    "Failed": "export.failed",
    "TimedOut": "export.timed_out",
}


@dataclass(frozen=True)
class Retries:
    """How often a unit is tried again, and after how many seconds."""

    most: int
    seconds: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "Retries":
        """What the settings say."""
        return cls(settings.max_day_retries, settings.retry_seconds)


def take_units(
    control: ControlDatabase, bulk_id: uuid.UUID, attempts: Mapping[uuid.UUID, int], *, dagster_run_id: str
) -> tuple[BulkExport, list[BulkUnit]]:
    """Gives a Dagster run its units: those that still wait for exactly this attempt; none where the export has ended.

    No other run gets them until they are put back.
    """

    def take(connection: sa.Connection) -> tuple[BulkExport, list[BulkUnit]]:
        export = read_export(connection, bulk_id, lock=True)
        if export.status not in UNFINISHED_EXPORTS:
            return export, []
        now = connection.execute(sa.select(control.now_sql)).scalar_one()
        if export.status == "Created":
            begun = {"status": "Running", "started_at": now, "updated_at": now}
            connection.execute(sa.update(bulk_exports).where(bulk_exports.c.id == str(bulk_id)).values(begun))
            export = replace(export, status="Running", started_at=now)
        free = sa.or_(bulk_units.c.dagster_run_id.is_(None), bulk_units.c.dagster_run_id == dagster_run_id)
        waiting = read_units(connection, bulk_units.c.bulk_id == str(bulk_id), bulk_units.c.status == "Created", free)
        mine = [unit for unit in waiting if attempts.get(unit.id) == unit.attempt]
        taken = bulk_units.c.id.in_([str(unit.id) for unit in mine])
        connection.execute(sa.update(bulk_units).where(taken).values(dagster_run_id=dagster_run_id, updated_at=now))
        return export, mine

    return control.run(take)


def begin_unit(control: ControlDatabase, unit: BulkUnit) -> None:
    """Says that a unit is being worked on; raises `DayCancelledError` where it is no longer to be."""

    def begin(connection: sa.Connection) -> bool:
        # Held so that a cancel sees either a unit that has not begun, or one that it must stop.
        held = sa.select(bulk_exports.c.status).where(bulk_exports.c.id == str(unit.bulk_id))
        if connection.execute(held.with_for_update(read=True)).scalar_one() not in UNFINISHED_EXPORTS:
            return False
        here = sa.and_(is_attempt(unit.id, unit.attempt), bulk_units.c.status.in_(UNFINISHED_UNITS))
        begun = {"status": "Running", "started_at": control.now_sql, "updated_at": control.now_sql}
        return bool(connection.execute(sa.update(bulk_units).where(here).values(begun)).rowcount)

    if not control.run(begin):
        raise DayCancelledError(f"{unit.day} was cancelled before it began")


def record_results(
    control: ControlDatabase,
    bulk_id: uuid.UUID,
    results: Sequence[tuple[BulkUnit, DayOutcome | ExportPipelineError]],
    *,
    retries: Retries,
) -> None:
    """Records what came of units, and ends the export with its last one.

    A unit that is no longer at the attempt that the result is of, or that has ended, stays as it is.
    """

    def record(connection: sa.Connection) -> None:
        export = read_export(connection, bulk_id, lock=True)
        now = connection.execute(sa.select(control.now_sql)).scalar_one()
        for unit, result in results:
            if isinstance(result, DayOutcome):
                _complete(connection, unit, result, now=now)
            else:
                fail_unit(connection, unit, result, retries=retries, now=now)
            if isinstance(result, DestinationRefusedError):
                _fail_waiting(connection, bulk_id, result, now=now)
        end_if_done(connection, export, now=now)

    if results:
        control.run(record)


def fail_unit(
    connection: sa.Connection,
    unit: BulkUnit,
    error: ExportPipelineError,
    *only_if: sa.ColumnElement[bool],
    retries: Retries,
    now: int,
    last: UnitStatus = "Failed",
) -> None:
    """Ends an attempt: the unit waits for the next one, or is `last` where there is none.

    One that was not made in truth has a number of its own, by which Dagster starts it again, and does not count.
    """
    again = may_retry(error, attempt=unit.attempt, first_attempt=unit.first_attempt, most=retries.most)
    values: dict[str, Any] = {
        "errors": dict([*unit.errors.items(), (f"retry_{unit.attempt}", str(error))][-_ERRORS_KEPT:]),
        "updated_at": now,
        "started_at": None,
    }
    if again:
        values |= {
            "status": "Created",
            "attempt": unit.attempt + 1,
            "first_attempt": unit.first_attempt + isinstance(error, DayReturnedError),
            "not_before": now + retries.seconds * _MICROSECONDS,
            "dagster_run_id": None,
        }
    else:
        values |= {"status": last, "finished_at": now, "started_at": unit.started_at}
    here = sa.and_(is_attempt(unit.id, unit.attempt), bulk_units.c.status.in_(UNFINISHED_UNITS), *only_if)
    connection.execute(sa.update(bulk_units).where(here).values(values))


def end_if_done(connection: sa.Connection, export: BulkExport, *, now: int) -> None:
    """Ends an export whose units have all ended; the caller holds its row."""
    if export.status not in UNFINISHED_EXPORTS or export.planned_at is None:
        return
    statuses = sa.select(bulk_units.c.status, sa.func.count()).where(bulk_units.c.bulk_id == str(export.id))
    counts = {status: count for status, count in connection.execute(statuses.group_by(bulk_units.c.status))}  # noqa: C416 - typed
    status = status_of_ended(counts.keys())
    if status is None:
        return
    total = sum(counts.values())
    undone = total - counts.get("Completed", 0)
    why = _why(connection, export, undone=undone, total=total) if undone else None
    rejected = rejected_of(connection, export.id)
    warning = _warning(connection, export, rejected)
    values = {"status": status, "error": why, "warning": warning, "finished_at": now, "updated_at": now}
    connection.execute(sa.update(bulk_exports).where(bulk_exports.c.id == str(export.id)).values(values))
    if (kind := _NOTICES.get(status)) is not None:
        detail = {
            "days": total,
            "failed_days": undone,
            "rows_rejected": sum(rejected.values()),
            "source_id": export.source_id and str(export.source_id),
        }
        again = read_again(connection, export)
        export_ended(
            connection,
            kind,
            bulk_id=export.id,
            tenant_id=export.tenant_id,
            error=why,
            warning=warning,
            at=now,
            detail=detail,
            again=again,
        )


def is_attempt(unit_id: uuid.UUID, attempt: int) -> sa.ColumnElement[bool]:
    """The condition for a unit that is still at this attempt."""
    return sa.and_(bulk_units.c.id == str(unit_id), bulk_units.c.attempt == attempt)


def completed_values(outcome: DayOutcome) -> dict[str, Any]:
    """The columns of a unit whose day is committed."""
    return {
        "status": "Completed",
        "rows": outcome.rows,
        "rows_rejected": outcome.rejected,
        "rejected": dict(outcome.reasons) or None,
        "bytes": outcome.bytes,
        "key": outcome.key,
    }


def _complete(connection: sa.Connection, unit: BulkUnit, outcome: DayOutcome, *, now: int) -> None:
    done = {
        **completed_values(outcome),
        "started_at": sa.func.coalesce(bulk_units.c.started_at, now),
        "finished_at": now,
        "updated_at": now,
    }
    here = sa.and_(bulk_units.c.id == str(unit.id), bulk_units.c.status.in_(UNFINISHED_UNITS))
    connection.execute(sa.update(bulk_units).where(here).values(done))


def _fail_waiting(connection: sa.Connection, bulk_id: uuid.UUID, error: ExportPipelineError, *, now: int) -> None:
    """A destination that refuses one day refuses all: those that wait are not tried."""
    waiting = read_units(connection, bulk_units.c.bulk_id == str(bulk_id), bulk_units.c.status == "Created")
    for unit in waiting:
        fail_unit(connection, unit, error, retries=Retries(0, 0), now=now)


def _warning(connection: sa.Connection, export: BulkExport, rejected: Mapping[str, int]) -> str | None:
    """What is not in the files of finished days: rejected rows, and rows that were gone when their day was read."""
    read = bulk_units.c.rows + sa.func.coalesce(bulk_units.c.rows_rejected, 0)
    counted = bulk_units.c.planned_rows >= 0
    done = sa.select(sa.func.sum(read), sa.func.sum(bulk_units.c.planned_rows)).where(
        bulk_units.c.bulk_id == str(export.id), bulk_units.c.status == "Completed", counted
    )
    there, planned = (int(total or 0) for total in connection.execute(done).one())
    parts = [describe_rejected(rejected)] if rejected else []
    if there < planned:
        parts.append(f"{planned:,} rows were counted when the export was planned, {there:,} were there to read")
    return "; ".join(parts) or None


def _why(connection: sa.Connection, export: BulkExport, *, undone: int, total: int) -> str:
    ended = bulk_units.c.status.in_(("Failed", "TimedOut", "Cancelled"))
    first = read_units(connection, bulk_units.c.bulk_id == str(export.id), ended)[0]
    cause = first.errors.get(f"retry_{first.attempt}", "it was stopped")
    return f"{undone} of {total} days are not exported, the first of them {first.day}: {cause}"

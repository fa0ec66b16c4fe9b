"""One round of the sensor, without Dagster: what is read before planning, and what planning changes afterwards."""

import logging
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from export_pipeline.errors import (
    ControlSchemaError,
    ControlUnreachableError,
    DayReturnedError,
    ExportPipelineError,
    RetryableError,
)
from export_pipeline.exports.bulk.cancel import end_export, fail_export, stop_unit
from export_pipeline.exports.bulk.planner import MOST_UNITS, Planned
from export_pipeline.exports.bulk.records import (
    UNFINISHED_EXPORTS,
    UNFINISHED_UNITS,
    BulkExport,
    BulkUnit,
    UnitStatus,
    export_of_row,
    read_export,
    read_units,
    unit_of_row,
)
from export_pipeline.exports.bulk.schedules import spawn_children
from export_pipeline.exports.bulk.units import plan_units
from export_pipeline.exports.bulk.worker import Retries, end_if_done, fail_unit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, uploads
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.turns import in_turns
from export_pipeline.settings import Settings

log = logging.getLogger(__name__)

MOST_WAITING = 2_000
"""Waiting units of one workspace that a round looks at: more than it may have in the queue."""
LEAST_WAITING = MOST_UNITS
"""Of one export at least: those of a run."""
_SPAWNING_SECONDS = 5.0
_PLANNING_SECONDS = 10.0


@dataclass(frozen=True)
class Active:
    """Exports that are Created or Running, oldest first, and units of those of them that may be under way.

    `looked_at` are these; of each there are the unfinished units that a run has, and the next ones that wait.
    """

    exports: tuple[BulkExport, ...]
    units: tuple[BulkUnit, ...]
    now: int
    looked_at: frozenset[uuid.UUID]


def prepare(control: ControlDatabase, settings: Settings) -> None:
    """Spawns the children that are due, and records the units of exports that have none yet.

    Each for a limited time and with each workspace in turn; what is left is for the next round.
    """
    spawn_children(control, settings=settings, seconds=_SPAWNING_SECONDS)
    unplanned = sa.and_(bulk_exports.c.planned_at.is_(None), bulk_exports.c.status == "Created")
    with control.read() as transaction:
        rows = transaction.execute(sa.select(bulk_exports).where(unplanned).order_by(bulk_exports.c.created_at))
        waiting = [export_of_row(row) for row in rows.mappings()]
    deadline = time.monotonic() + _PLANNING_SECONDS
    for export in in_turns(waiting, lambda export: export.tenant_id, by_lot=True):
        if time.monotonic() > deadline:
            break
        try:
            plan_units(control, export, seconds=max(1.0, _PLANNING_SECONDS / len(waiting)))
        except (ControlUnreachableError, ControlSchemaError):
            raise
        except Exception as error:
            log.exception("export %s cannot be planned", export.id)
            fail_export(control, export.id, f"it cannot be planned: {error}")


def read_active(control: ControlDatabase, settings: Settings) -> Active:
    """What there is to plan. To be read before Dagster's records: whoever finishes in between is then seen as ended."""
    unfinished = bulk_exports.c.status.in_(UNFINISHED_EXPORTS)
    query = sa.select(bulk_exports).where(unfinished).order_by(bulk_exports.c.created_at, bulk_exports.c.id)
    with control.read() as transaction:
        exports = tuple(export_of_row(row) for row in transaction.execute(query).mappings())
        chosen = _may_be_under_way(exports, settings.max_exports)
        of_workspace = Counter(export.tenant_id for export in chosen)
        units: list[BulkUnit] = []
        for export in chosen:
            limit = max(LEAST_WAITING, MOST_WAITING // of_workspace[export.tenant_id])
            units += _unfinished(transaction, export.id, limit=limit)
        now = transaction.now()
    return Active(exports, tuple(units), now, frozenset(export.id for export in chosen))


def _may_be_under_way(exports: Iterable[BulkExport], most: int) -> list[BulkExport]:
    """The exports that have begun, and of each workspace as many of the others, the oldest, as its limit may admit."""
    chosen, created = [], Counter[uuid.UUID]()
    for export in exports:
        created[export.tenant_id] += export.status == "Created"
        if export.status == "Running" or created[export.tenant_id] <= most:
            chosen.append(export)
    return chosen


def _unfinished(transaction: Transaction, bulk_id: uuid.UUID, *, limit: int) -> list[BulkUnit]:
    """The units that a run has, and of those that wait the next ones: an export may have very many."""
    here = sa.and_(bulk_units.c.bulk_id == bulk_id, bulk_units.c.status.in_(UNFINISHED_UNITS))
    taken = bulk_units.c.dagster_run_id.is_not(None)
    units = read_units(transaction, here, taken)
    soonest = (sa.func.coalesce(bulk_units.c.not_before, 0), bulk_units.c.day, bulk_units.c.session_id)
    waiting = sa.select(bulk_units).where(here, sa.not_(taken)).order_by(*soonest).limit(limit)
    return units + [unit_of_row(row) for row in transaction.execute(waiting).mappings()]


def carry_out(control: ControlDatabase, planned: Planned, active: Active, *, settings: Settings) -> None:
    """Puts units that were lost or timed out back, and ends exports that timed out or whose end a worker missed."""
    retries = Retries.from_settings(settings)
    failures: dict[uuid.UUID, list[tuple[BulkUnit, ExportPipelineError, bool]]] = defaultdict(list)
    for lost in planned.lost:
        text = f"the Dagster run {lost.run_id} ended as {lost.status} before this day was done"
        # One that was ended may have given its place to another workspace: that is no fault of the day.
        error = DayReturnedError(text) if lost.status == "CANCELED" else RetryableError(text)
        failures[lost.unit.bulk_id].append((lost.unit, error, False))
    for unit in planned.timed_out_units:
        what = "the attempt took longer than" if unit.status == "Running" else "its Dagster run did nothing for"
        text = f"{what} EXPORT_PIPELINE_RUN_HOURS, {settings.run_hours:g} hours"
        failures[unit.bulk_id].append((unit, RetryableError(text), True))
    for bulk_id, its in failures.items():
        _fail(control, bulk_id, its, retries=retries)
    for export in planned.timed_out_exports:
        _time_out(control, export, settings=settings)
    with_units = {unit.bulk_id for unit in active.units}
    for export in active.exports:
        if export.planned_at is not None and export.id in active.looked_at - with_units:
            _repair(control, export.id)


def last_heard(control: ControlDatabase, runs: Collection[str], exports: Collection[uuid.UUID]) -> dict[str, int]:
    """When Dagster runs last took, began or ended a unit of these exports, in microseconds; for some few runs."""
    if not runs:
        return {}
    query = sa.select(bulk_units.c.dagster_run_id, sa.func.max(bulk_units.c.updated_at)).where(
        bulk_units.c.bulk_id.in_(exports), bulk_units.c.dagster_run_id.in_(runs)
    )
    with control.read() as transaction:
        return {run_id: at for run_id, at in transaction.execute(query.group_by(bulk_units.c.dagster_run_id))}  # noqa: C416 - typed


def leftovers(control: ControlDatabase) -> list[BulkUnit]:
    """Units of exports that have ended which a worker left with an upload open, or with a commit not carried out."""
    ended = bulk_units.c.bulk_id.in_(
        sa.select(bulk_exports.c.id).where(bulk_exports.c.status.not_in((*UNFINISHED_EXPORTS, "IntervalScheduled")))
    )
    left = sa.select(bulk_units.c.id).where(bulk_units.c.status.in_(UNFINISHED_UNITS), ended)
    open_uploads = sa.select(bulk_units.c.id).join(
        uploads, sa.and_(uploads.c.export_id == bulk_units.c.export_id, uploads.c.day == bulk_units.c.day)
    )
    with control.read() as transaction:
        return read_units(transaction, bulk_units.c.id.in_(sa.union(left, open_uploads.where(ended))))


def workspaces_of(control: ControlDatabase, exports: Iterable[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """Whose each of the exports is."""
    chosen = bulk_exports.c.id.in_(exports)
    with control.read() as transaction:
        rows = transaction.execute(sa.select(bulk_exports.c.id, bulk_exports.c.tenant_id).where(chosen)).all()
    return {row.id: row.tenant_id for row in rows}


def _fail(
    control: ControlDatabase,
    bulk_id: uuid.UUID,
    its: Iterable[tuple[BulkUnit, ExportPipelineError, bool]],
    *,
    retries: Retries,
) -> None:
    def fail(transaction: Transaction) -> None:
        export = read_export(transaction, bulk_id, lock=True)
        now = transaction.now()
        for unit, error, timed_out in its:
            # One that has not begun cannot any more: its attempt is over.
            if timed_out and unit.status == "Running" and not stop_unit(transaction, unit, now=now):
                continue  # its commit is decided
            same_run = bulk_units.c.dagster_run_id.is_not_distinct_from(unit.dagster_run_id)
            last: UnitStatus = "TimedOut" if timed_out else "Failed"
            fail_unit(transaction, unit, error, same_run, retries=retries, now=now, last=last)
        end_if_done(transaction, export, now=now)

    control.run(fail)


def _time_out(control: ControlDatabase, export: BulkExport, *, settings: Settings) -> None:
    def end(transaction: Transaction) -> None:
        current = read_export(transaction, export.id, lock=True)
        if current.status not in UNFINISHED_EXPORTS or current.started_at != export.started_at:
            return
        now = transaction.now()
        text = f"the export took longer than EXPORT_PIPELINE_EXPORT_HOURS, {settings.export_hours:g} hours"
        end_export(transaction, current, status="TimedOut", error=text, now=now)

    control.run(end)


def _repair(control: ControlDatabase, bulk_id: uuid.UUID) -> None:
    def end(transaction: Transaction) -> None:
        now = transaction.now()
        end_if_done(transaction, read_export(transaction, bulk_id, lock=True), now=now)

    control.run(end)

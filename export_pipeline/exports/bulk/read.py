"""Reading bulk exports and their units, each workspace its own."""

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import NotFoundError
from export_pipeline.exports.bulk.records import (
    BulkExport,
    BulkUnit,
    export_of_row,
    read_export,
    rejected_of,
    unit_of_row,
)
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord, read_commit, table_of
from export_pipeline.exports.control.records import table_of as table_of_row
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, days, exports
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.files.paths import data_key

_DONE = bulk_units.c.status == "Completed"
_PLANNED = sa.func.abs(bulk_units.c.planned_rows)
_LIVE = sa.and_(bulk_units.c.status == "Running", days.c.export_id.is_not(None))
# Made once, because clients poll: putting it together takes longer than running it.
_PROGRESS = (
    sa.select(
        sa.func.count(),
        sa.func.count().filter(bulk_units.c.status.not_in(("Created", "Running"))),
        sa.func.coalesce(sa.func.sum(bulk_units.c.rows).filter(_DONE), 0),
        sa.func.coalesce(sa.func.sum(days.c.rows_read).filter(_LIVE), 0),
        sa.func.sum(_PLANNED),
        sa.func.count().filter(bulk_units.c.planned_rows < 0),
        sa.func.coalesce(sa.func.sum(_PLANNED).filter(_DONE), 0),
        sa.func.coalesce(sa.func.sum(bulk_units.c.bytes).filter(_DONE), 0),
    )
    .select_from(bulk_units)
    .outerjoin(days, sa.and_(days.c.export_id == bulk_units.c.export_id, days.c.day == bulk_units.c.day))
    .where(bulk_units.c.bulk_id == sa.bindparam("bulk_id"))
)

_AT_ONCE = 500  # ids in one statement; SQLite takes 32,766 values


@dataclass(frozen=True)
class Progress:
    """How far an export is; `rows_written` holds what days under way have read so far.

    `percent` is of rows where they were counted, else of days. `rows_planned` is None where nothing was counted, or
    some days only roughly: these weigh as much as they may have rows. `rejected` are the rows that finished days have
    set aside, by reason. `estimated_finish` (microseconds since 1970) is None where nothing is done yet.
    """

    percent: float
    days_total: int
    days_done: int
    rows_written: int
    rows_planned: int | None
    rejected: Mapping[str, int]
    bytes: int
    estimated_finish: int | None


def list_bulk_exports(
    control: ControlDatabase, *, tenant_id: uuid.UUID, limit: int | None = None, offset: int = 0
) -> list[BulkExport]:
    """The workspace's exports, schedules and their children too, the newest first."""
    query = (
        sa.select(bulk_exports)
        .where(bulk_exports.c.tenant_id == tenant_id)
        .order_by(bulk_exports.c.created_at.desc(), bulk_exports.c.id)
        .limit(limit)
        .offset(offset)
    )
    with control.read() as transaction:
        return [export_of_row(row) for row in transaction.execute(query).mappings()]


def get_bulk_export(control: ControlDatabase, bulk_id: uuid.UUID, *, tenant_id: uuid.UUID) -> BulkExport:
    """An export of the workspace; raises `NotFoundError`."""
    with control.read() as transaction:
        return read_export(transaction, bulk_id, tenant_id=tenant_id)


def list_units(
    control: ControlDatabase, bulk_id: uuid.UUID, *, tenant_id: uuid.UUID, limit: int | None = None, offset: int = 0
) -> list[BulkUnit]:
    """The units of an export, by day and project; raises `NotFoundError`."""
    with control.read() as transaction:
        read_export(transaction, bulk_id, tenant_id=tenant_id)
        return _units(transaction, bulk_units.c.bulk_id == bulk_id, limit=limit, offset=offset)


def get_unit(control: ControlDatabase, bulk_id: uuid.UUID, unit_id: uuid.UUID, *, tenant_id: uuid.UUID) -> BulkUnit:
    """A unit of an export; raises `NotFoundError`."""
    with control.read() as transaction:
        read_export(transaction, bulk_id, tenant_id=tenant_id)
        here = sa.and_(bulk_units.c.bulk_id == bulk_id, bulk_units.c.id == unit_id)
        for unit in _units(transaction, here, limit=1, offset=0):
            return unit
    raise NotFoundError(f"The export {bulk_id} has no run {unit_id}.")


def list_child_units(
    control: ControlDatabase, source_id: uuid.UUID, *, tenant_id: uuid.UUID, limit: int | None = None, offset: int = 0
) -> list[BulkUnit]:
    """The units of all exports that a schedule has spawned; raises `NotFoundError`."""
    children = sa.select(bulk_exports.c.id).where(bulk_exports.c.source_id == source_id)
    with control.read() as transaction:
        read_export(transaction, source_id, tenant_id=tenant_id)
        return _units(transaction, bulk_units.c.bulk_id.in_(children), limit=limit, offset=offset)


def tables_of(control: ControlDatabase, bulk_id: uuid.UUID) -> list[TableRecord]:
    """The tables of an export, one for each project; none where there is no such export."""
    query = sa.select(exports).where(exports.c.bulk_id == bulk_id).order_by(exports.c.session_id)
    with control.read() as transaction:
        return [table_of_row(row) for row in transaction.execute(query).mappings()]


def tables_of_schedule(control: ControlDatabase, schedule_id: uuid.UUID) -> list[TableRecord]:
    """The tables of all exports that a schedule has spawned, the oldest first; none where there is no such schedule."""
    spawned = sa.select(bulk_exports.c.id).where(bulk_exports.c.source_id == schedule_id)
    query = sa.select(exports).where(exports.c.bulk_id.in_(spawned))
    with control.read() as transaction:
        rows = transaction.execute(query.order_by(exports.c.created_at, exports.c.session_id)).mappings()
        return [table_of_row(row) for row in rows]


def progress_of(control: ControlDatabase, bulk_id: uuid.UUID, *, tenant_id: uuid.UUID) -> Progress:
    """How far an export is; raises `NotFoundError`."""
    with control.read() as transaction:
        export = read_export(transaction, bulk_id, tenant_id=tenant_id)
        row = transaction.execute(_PROGRESS, {"bulk_id": bulk_id}).one()
        rejected = rejected_of(transaction, bulk_id)
        now = transaction.now()
    total, ended, committed, reading, planned, limits, planned_done, size = row
    planned_rows = None if planned is None else int(planned)
    days_share, rows = ended / total if total else 0.0, int(planned_done) + int(reading)
    share = share_done(export.status, days=days_share, rows=rows, planned_rows=planned_rows)
    return Progress(
        percent=round(share * 100, 1),
        days_total=total,
        days_done=ended,
        rows_written=int(committed) + int(reading),
        rows_planned=None if limits else planned_rows,
        rejected=dict(rejected),
        bytes=int(size),
        estimated_finish=estimated_finish(export, share=share, now=now),
    )


def share_done(status: str, *, days: float, rows: int, planned_rows: int | None) -> float:
    """The part of the work that is done, from 0 to 1: of rows where they were counted, else of days.

    `rows` are those that were counted of finished days, and those read of days under way: a finished day is whole,
    whatever has become of its rows since they were counted.
    """
    if status == "Completed":
        return 1.0
    return min(1.0, rows / planned_rows) if planned_rows else days


def estimated_finish(export: BulkExport, *, share: float, now: int) -> int | None:
    """When an export that is under way will be done if it goes on as until now."""
    if export.finished_at is not None:
        return export.finished_at
    if export.started_at is None or share <= 0.0:
        return None
    return now + round((now - export.started_at) * (1 - share) / share)


def _units(
    transaction: Transaction, condition: sa.ColumnElement[bool], *, limit: int | None, offset: int
) -> list[BulkUnit]:
    order = (bulk_units.c.day, bulk_units.c.session_id, bulk_units.c.id)
    query = sa.select(bulk_units).where(condition).order_by(*order).limit(limit).offset(offset)
    return [unit_of_row(row) for row in transaction.execute(query).mappings()]


@dataclass(frozen=True)
class RunDetails:
    """A unit, the table that it is a day of, and the rows that the attempt under way has read."""

    unit: BulkUnit
    table: TableRecord
    rows_read: int | None

    @property
    def folder(self) -> str:
        """The folder of the day's file, with the bucket in front."""
        key = data_key(self.table.prefix, self.table.key(self.unit.day), self.table.format_version)
        return f"{self.table.bucket}/{key.rpartition('/')[0]}"


def run_details(control: ControlDatabase, units: Sequence[BulkUnit]) -> list[RunDetails]:
    """The details of units, in their order."""
    tables: dict[uuid.UUID, TableRecord] = {}
    live: dict[tuple[uuid.UUID, date], int | None] = {}
    with control.read() as transaction:
        for ids in _slices({unit.export_id for unit in units}):
            query = sa.select(exports).where(exports.c.export_id.in_(ids))
            records = (table_of(row) for row in transaction.execute(query).mappings())
            tables.update({table.export_id: table for table in records})
        for ids in _slices({unit.export_id for unit in units if unit.status == "Running"}):
            rows = sa.select(days.c.export_id, days.c.day, days.c.rows_read)
            running = rows.where(days.c.export_id.in_(ids), days.c.status == "Running")
            for row in transaction.execute(running):
                live[row.export_id, row.day] = row.rows_read
    return [RunDetails(unit, tables[unit.export_id], live.get((unit.export_id, unit.day))) for unit in units]


def read_run_manifest(
    control: ControlDatabase, bulk_id: uuid.UUID, unit_id: uuid.UUID, *, tenant_id: uuid.UUID
) -> Mapping[str, Any]:
    """The manifest of a unit's commit; raises `NotFoundError`, also where nothing is committed yet."""
    unit = get_unit(control, bulk_id, unit_id, tenant_id=tenant_id)
    with control.read() as transaction:
        manifest = read_commit(transaction, unit.export_id, unit.day)
    if manifest is None:
        raise NotFoundError(f"The run {unit_id} has committed nothing yet.")
    return manifest


def _slices(ids: Iterable[uuid.UUID]) -> Iterable[list[uuid.UUID]]:
    in_order = iter(sorted(ids))
    while part := list(itertools.islice(in_order, _AT_ONCE)):
        yield part

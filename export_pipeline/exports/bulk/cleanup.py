"""Ending what a worker that died left of an export that has ended: uploads that are open, commits decided on."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import DayCancelledError, ExportPipelineError
from export_pipeline.exports.bulk.records import (
    UNFINISHED_EXPORTS,
    UNFINISHED_UNITS,
    BulkUnit,
    read_export,
    read_units,
)
from export_pipeline.exports.bulk.worker import Worked, Worker, completed_values
from export_pipeline.exports.commit.day import DayOutcome
from export_pipeline.exports.commit.publish import settle_day
from export_pipeline.exports.commit.publisher import Committer, PublishLimits
from export_pipeline.exports.control.tables import bulk_exports, bulk_units
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.files.signing import Signer

MOST = 20
"""Cleaning runs of one export, at most."""


def clean_up(worker: Worker, bulk_id: uuid.UUID, unit_ids: Collection[uuid.UUID]) -> Worked:
    """Carries out commits that were decided on, aborts open uploads, and ends the units; reads no rows.

    Does nothing where the export is under way. Raises where the destination cannot be opened.
    """
    with worker.control.read() as transaction:
        export = read_export(transaction, bulk_id)
        chosen = bulk_units.c.id.in_(unit_ids)
        units = read_units(transaction, bulk_units.c.bulk_id == bulk_id, chosen)
    worked = Worked(taken=len(units))
    if export.status in UNFINISHED_EXPORTS:
        return Worked()
    store = worker.open_store(export)
    committer = Committer(
        control=worker.control,
        store=store,
        limits=PublishLimits.from_settings(worker.settings),
        owner_ended=worker.owner_ended,
        on_step=worker.on_step,
        signer=Signer.from_settings(worker.settings),
    )
    try:
        for unit in units:
            request = worker.request(export, worker.table(unit.export_id), unit)
            result: DayOutcome | ExportPipelineError
            try:
                result = settle_day(committer, request)
            except ExportPipelineError as error:
                result = error
            _record(worker, unit, result)
            worked.add(unit, result)
    finally:
        store.close()
    return worked


def _record(worker: Worker, unit: BulkUnit, result: DayOutcome | ExportPipelineError) -> None:
    """A day whose commit was decided counts as done, whatever ended its export; the others end as the export did."""
    if not isinstance(result, DayOutcome | DayCancelledError):
        return

    def record(transaction: Transaction) -> None:
        here = bulk_units.c.id == unit.id
        ended = read_export(transaction, unit.bulk_id, lock=True)
        if ended.status in UNFINISHED_EXPORTS:
            return
        now = transaction.now()
        values: dict[str, Any] = {"finished_at": now, "updated_at": now}
        if isinstance(result, DayOutcome):
            values |= completed_values(result)
        else:
            values["status"] = "Cancelled" if ended.status == "Completed" else ended.status
            here = sa.and_(here, bulk_units.c.status.in_(UNFINISHED_UNITS))
        transaction.execute(sa.update(bulk_units).where(here).values(values))
        transaction.execute(sa.update(bulk_exports).where(bulk_exports.c.id == unit.bulk_id).values(updated_at=now))

    worker.control.run(record)


@dataclass(frozen=True)
class Cleaning:
    """A Dagster run to be started that reads no rows; `number` counts the export's earlier ones."""

    bulk_id: uuid.UUID
    units: tuple[BulkUnit, ...]
    number: int

    @property
    def run_key(self) -> str:
        """Dagster starts each key once, for ever."""
        return f"{self.bulk_id}:clean:{self.number}"


def plan_cleaning(
    left: Iterable[BulkUnit],
    *,
    live: Collection[uuid.UUID],
    earlier: Mapping[uuid.UUID, Sequence[float]],
    pause: float,
    now: float,
) -> list[Cleaning]:
    """The cleaning that is due: of exports without a live run, with a pause that doubles after each one.

    `left` are units of exports that have ended; `earlier` holds when cleaning runs of an export ended. Seconds.
    """
    by_export: dict[uuid.UUID, list[BulkUnit]] = defaultdict(list)
    for unit in left:
        if unit.bulk_id not in live:
            by_export[unit.bulk_id].append(unit)
    due = []
    for bulk_id, units in by_export.items():
        ends = earlier.get(bulk_id, ())
        if len(ends) < MOST and (not ends or now - max(ends) >= pause * 2 ** (len(ends) - 1)):
            due.append(Cleaning(bulk_id, tuple(units), len(ends)))
    return due

"""Ending what a worker that died left of an export that has ended: uploads that are open, commits decided on."""

import uuid
from collections.abc import Collection
from typing import Any, NoReturn

import sqlalchemy as sa

from export_pipeline.errors import DayCancelledError, ExportPipelineError
from export_pipeline.exports.bulk.records import BulkExport, BulkUnit, read_export, read_units
from export_pipeline.exports.bulk.results import completed_values
from export_pipeline.exports.bulk.states import UNFINISHED_EXPORTS, UNFINISHED_UNITS
from export_pipeline.exports.bulk.work import Worked, Worker
from export_pipeline.exports.commit.job import PublishLimits
from export_pipeline.exports.commit.publish import DayOutcome, publish_day
from export_pipeline.exports.control.tables import bulk_exports, bulk_units
from export_pipeline.files.signing import Signer
from export_pipeline.object_store.protocol import ObjectStore


def clean_up(worker: Worker, bulk_id: uuid.UUID, unit_ids: Collection[uuid.UUID]) -> Worked:
    """Carries out commits that were decided on, aborts open uploads, and ends the units; reads no rows.

    Does nothing where the export is under way. Raises where the destination cannot be opened.
    """
    with worker.control.read() as connection:
        export = read_export(connection, bulk_id)
        chosen = bulk_units.c.id.in_([str(unit_id) for unit_id in unit_ids])
        units = read_units(connection, bulk_units.c.bulk_id == str(bulk_id), chosen)
    worked = Worked(taken=len(units))
    if export.status in UNFINISHED_EXPORTS:
        return Worked()
    store = worker.open_store(export)
    try:
        for unit in units:
            result = _settle(worker, export, unit, store)
            _record(worker, unit, result)
            worked.add(unit, result)
    finally:
        store.close()
    return worked


def _settle(worker: Worker, export: BulkExport, unit: BulkUnit, store: ObjectStore) -> DayOutcome | ExportPipelineError:
    try:
        return publish_day(
            worker.request(export, worker.table(unit.export_id), unit),
            control=worker.control,
            store=store,
            source=NothingToRead(),  # type: ignore[arg-type]  # opened only where nothing was decided
            limits=PublishLimits.from_settings(worker.settings),
            owner_ended=worker.owner_ended,
            on_step=worker.on_step,
            signer=Signer.from_settings(worker.settings),
        )
    except ExportPipelineError as error:
        return error


class NothingToRead:
    """A trace store for days that are not to be read any more: whoever opens it learns that the day is cancelled."""

    epoch_unit = "s"

    def open(self, *_arguments: Any, **_options: Any) -> NoReturn:
        """Raises `DayCancelledError`."""
        raise DayCancelledError("the export has ended")


def _record(worker: Worker, unit: BulkUnit, result: DayOutcome | ExportPipelineError) -> None:
    """A day whose commit was decided counts as done, whatever ended its export; the others end as the export did."""
    if not isinstance(result, DayOutcome | DayCancelledError):
        return

    def record(connection: sa.Connection) -> None:
        here = bulk_units.c.id == str(unit.id)
        ended = read_export(connection, unit.bulk_id, lock=True)
        if ended.status in UNFINISHED_EXPORTS:
            return
        now = connection.execute(sa.select(worker.control.now_sql)).scalar_one()
        values: dict[str, Any] = {"finished_at": now, "updated_at": now}
        if isinstance(result, DayOutcome):
            values |= completed_values(result)
        else:
            values["status"] = "Cancelled" if ended.status == "Completed" else ended.status
            here = sa.and_(here, bulk_units.c.status.in_(UNFINISHED_UNITS))
        connection.execute(sa.update(bulk_units).where(here).values(values))
        connection.execute(sa.update(bulk_exports).where(bulk_exports.c.id == str(unit.bulk_id)).values(updated_at=now))

    worker.control.run(record)

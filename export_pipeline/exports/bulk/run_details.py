"""What the API says of a unit beyond its row: where it writes, and how far it is."""

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import NotFoundError
from export_pipeline.exports.bulk.read import get_unit
from export_pipeline.exports.bulk.records import BulkUnit
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ExportRecord, export_of, read_commit
from export_pipeline.exports.control.tables import days, exports
from export_pipeline.files.paths import data_key

_AT_ONCE = 500  # ids in one statement; SQLite takes 32,766 values


@dataclass(frozen=True)
class RunDetails:
    """A unit, the table that it is a day of, and the rows that the attempt under way has read."""

    unit: BulkUnit
    table: ExportRecord
    rows_read: int | None

    @property
    def folder(self) -> str:
        """The folder of the day's file, with the bucket in front."""
        key = data_key(self.table.prefix, self.table.key(self.unit.day), self.table.format_version)
        return f"{self.table.bucket}/{key.rpartition('/')[0]}"


def run_details(control: ControlDatabase, units: Sequence[BulkUnit]) -> list[RunDetails]:
    """The details of units, in their order."""
    tables: dict[uuid.UUID, ExportRecord] = {}
    live: dict[tuple[uuid.UUID, date], int | None] = {}
    with control.read() as connection:
        for ids in _slices({unit.export_id for unit in units}):
            query = sa.select(exports).where(exports.c.export_id.in_(ids))
            found = (export_of(row) for row in connection.execute(query).mappings())  # type: ignore[arg-type]
            tables.update({table.export_id: table for table in found})
        for ids in _slices({unit.export_id for unit in units if unit.status == "Running"}):
            rows = sa.select(days.c.export_id, days.c.day, days.c.rows_read)
            running = rows.where(days.c.export_id.in_(ids), days.c.status == "Running")
            for row in connection.execute(running):
                live[uuid.UUID(row.export_id), row.day] = row.rows_read
    return [RunDetails(unit, tables[unit.export_id], live.get((unit.export_id, unit.day))) for unit in units]


def read_run_manifest(
    control: ControlDatabase, bulk_id: uuid.UUID, unit_id: uuid.UUID, *, tenant_id: uuid.UUID
) -> Mapping[str, Any]:
    """The manifest of a unit's commit; raises `NotFoundError`, also where nothing is committed yet."""
    unit = get_unit(control, bulk_id, unit_id, tenant_id=tenant_id)
    with control.read() as connection:
        manifest = read_commit(connection, unit.export_id, unit.day)
    if manifest is None:
        raise NotFoundError(f"The run {unit_id} has committed nothing yet.")
    return manifest


def _slices(ids: Iterable[uuid.UUID]) -> Iterable[list[str]]:
    texts = iter(sorted(map(str, ids)))
    while part := list(itertools.islice(texts, _AT_ONCE)):
        yield part

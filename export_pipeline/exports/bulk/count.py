"""Counting the rows that an export will read, for its progress and to see which days are small."""

import time
import uuid

import sqlalchemy as sa

from export_pipeline.exports.bulk.records import instant, read_units
from export_pipeline.exports.bulk.states import UNFINISHED_EXPORTS, UNFINISHED_UNITS
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, exports
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import RunSource

DAYS_AT_ONCE = 31


def count_rows(control: ControlDatabase, source: RunSource, *, seconds: float) -> None:
    """Counts the rows of units that wait for it, oldest exports first, for about as long.

    A filter is left out of account: it can make counting as slow as exporting. Raises errors of the source.
    """
    deadline = time.monotonic() + seconds
    for table_id, project in uncounted(control):
        while time.monotonic() < deadline and _count_some(control, source, table_id, project):
            continue


def uncounted(control: ControlDatabase) -> list[tuple[uuid.UUID, str]]:
    """The tables with units whose rows are still to be counted, each with its project."""
    query = (
        sa.select(bulk_units.c.export_id, exports.c.project)
        .join(exports, exports.c.export_id == bulk_units.c.export_id)
        .join(bulk_exports, bulk_exports.c.id == bulk_units.c.bulk_id)
        .where(
            bulk_exports.c.status.in_(UNFINISHED_EXPORTS),
            bulk_units.c.status.in_(UNFINISHED_UNITS),
            bulk_units.c.planned_rows.is_(None),
        )
        .group_by(bulk_units.c.export_id, exports.c.project, bulk_exports.c.created_at)
        .order_by(bulk_exports.c.created_at, bulk_units.c.export_id)
    )
    with control.read() as connection:
        return [(uuid.UUID(table_id), project) for table_id, project in connection.execute(query)]


def _count_some(control: ControlDatabase, source: RunSource, table_id: uuid.UUID, project: str) -> bool:
    """Counts the next days of a table; False where all are counted."""
    uncounted = sa.and_(bulk_units.c.export_id == str(table_id), bulk_units.c.planned_rows.is_(None))
    with control.read() as connection:
        units = read_units(connection, uncounted)[:DAYS_AT_ONCE]
    if not units:
        return False
    window = Window(instant(units[0].start_at), instant(units[-1].end_at))
    found = source.days(project, window)
    counted = [{"unit": str(unit.id), "counted": found[unit.day].rows if unit.day in found else 0} for unit in units]
    update = (
        sa.update(bulk_units)
        .where(bulk_units.c.id == sa.bindparam("unit"))
        .values(planned_rows=sa.bindparam("counted"))
    )
    control.run(lambda connection: connection.execute(update, counted))
    return True

"""Counting the rows that an export will read, for its progress and to see which days are small."""

import time
import uuid
from dataclasses import dataclass

import sqlalchemy as sa

from export_pipeline.exports.bulk.records import instant, read_units
from export_pipeline.exports.bulk.states import UNFINISHED_EXPORTS, UNFINISHED_UNITS
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import export_of
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, exports
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.filter_tree import Filter, is_quick
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource

DAYS_AT_ONCE = 31
FILTERED_DAYS_AT_ONCE = 7
"""With a filter, counting takes two to five times as long, and a round of the sensor must not."""


def count_rows(control: ControlDatabase, source: RunSource, *, seconds: float) -> None:
    """Counts the rows of units that wait for it, oldest exports first, for about as long.

    Only the rows that match the export's filter count, where that is a quick one (`counted_filter`). Raises errors of
    the source.
    """
    deadline = time.monotonic() + seconds
    for table in uncounted(control):
        while time.monotonic() < deadline and _count_some(control, source, table):
            continue


def counted_filter(text: str | None) -> Filter | None:
    """The filter with which rows are counted; None where all of a day's rows are.

    That is so for a filter on inputs, outputs or feedback too: judging it may take ten times as long as counting, and
    would hold up the sensor, and with it every other export. The counts still say how much of the work lies in which
    day.
    """
    tree = None if text is None else parse_filter(text)
    return tree if tree is not None and is_quick(tree) else None


@dataclass(frozen=True)
class Uncounted:
    """A table with units whose rows are still to be counted."""

    table_id: uuid.UUID
    project: ProjectKey
    filter: str | None


def uncounted(control: ControlDatabase) -> list[Uncounted]:
    """The tables that wait to be counted, those of the oldest exports first."""
    query = (
        sa.select(exports)
        .join(exports, exports.c.export_id == bulk_units.c.export_id)
        .join(bulk_exports, bulk_exports.c.id == bulk_units.c.bulk_id)
        .where(
            bulk_exports.c.status.in_(UNFINISHED_EXPORTS),
            bulk_units.c.status.in_(UNFINISHED_UNITS),
            bulk_units.c.planned_rows.is_(None),
        )
        .group_by(exports.c.export_id, bulk_exports.c.created_at)
        .order_by(bulk_exports.c.created_at, exports.c.export_id)
    )
    with control.read() as connection:
        tables = [export_of(row) for row in connection.execute(query).mappings()]  # type: ignore[arg-type]
    return [Uncounted(table.export_id, table.project_key, table.filter) for table in tables]


def _count_some(control: ControlDatabase, source: RunSource, table: Uncounted) -> bool:
    """Counts the next days of a table; False where all are counted."""
    tree = counted_filter(table.filter)
    uncounted = sa.and_(bulk_units.c.export_id == str(table.table_id), bulk_units.c.planned_rows.is_(None))
    with control.read() as connection:
        units = read_units(connection, uncounted)[: DAYS_AT_ONCE if tree is None else FILTERED_DAYS_AT_ONCE]
    if not units:
        return False
    window = Window(instant(units[0].start_at), instant(units[-1].end_at))
    found = source.days(table.project, window, filter=tree)
    counted = [{"unit": str(unit.id), "counted": found[unit.day].rows if unit.day in found else 0} for unit in units]
    update = (
        sa.update(bulk_units)
        .where(bulk_units.c.id == sa.bindparam("unit"))
        .values(planned_rows=sa.bindparam("counted"))
    )
    control.run(lambda connection: connection.execute(update, counted))
    return True

"""Counting the rows that an export will read, for its progress and to see which days are small."""

import logging
import time
import uuid
from collections import deque
from dataclasses import dataclass

import sqlalchemy as sa

from export_pipeline.errors import PermanentError, RetryableError, SourceSlowError, SourceUnusableError
from export_pipeline.exports.bulk.ending import fail_export
from export_pipeline.exports.bulk.plan import ROWS_TOGETHER
from export_pipeline.exports.bulk.records import BulkUnit, instant, read_units
from export_pipeline.exports.bulk.states import UNFINISHED_EXPORTS, UNFINISHED_UNITS
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import export_of
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, exports
from export_pipeline.runs.filter import read_filter
from export_pipeline.runs.filter_tree import Filter, is_quick
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource

log = logging.getLogger(__name__)

DAYS_AT_ONCE = 31
FILTERED_DAYS_AT_ONCE = 7
"""With a filter, counting takes two to five times as long, and a round of the sensor must not."""
STATEMENT_SECONDS = 3.0
"""How long one count may take; what takes longer is planned without it."""
_FIRST_TURN_SECONDS = 30.0


@dataclass(frozen=True)
class Uncounted:
    """A table with units whose rows are still to be counted."""

    table_id: uuid.UUID
    bulk_id: uuid.UUID
    tenant_id: uuid.UUID
    project: ProjectKey
    filter: str | None


def count_rows(control: ControlDatabase, source: RunSource, *, seconds: float) -> None:
    """Counts the rows of units that wait for it, for about as long: each workspace in turn, its oldest exports first.

    Every workspace has a first turn. Only the rows that match the export's filter count, where that is a quick one
    (`counted_filter`). An export that cannot be counted for its own sake fails, and a table that cannot be read waits;
    the others go on. Raises errors of the source and of the control database, that of single tables at the end.
    """
    began = time.monotonic()
    queues: dict[uuid.UUID, deque[Uncounted]] = {}
    for table in uncounted(control):
        queues.setdefault(table.tenant_id, deque()).append(table)
    limit, unusable = _FIRST_TURN_SECONDS, None
    while queues:
        for tenant_id in list(queues):
            tables = queues[tenant_id]
            if time.monotonic() - began > limit:
                queues.clear()
                break
            try:
                more = _count_or_fail(control, source, tables[0])
            except SourceUnusableError as error:
                more, unusable = False, error
            if not more:
                tables.popleft()
            if not tables:
                del queues[tenant_id]
        limit = seconds
    if unusable is not None:
        raise unusable


def counted_filter(text: str | None) -> Filter | None:
    """The filter with which rows are counted; None where all of a day's rows are.

    That is so for a filter on inputs, outputs or feedback too: judging it may take ten times as long as counting, and
    would hold up the sensor, and with it every other export. The counts still say how much of the work lies in which
    day.
    """
    tree = None if text is None else read_filter(text)
    return tree if tree is not None and is_quick(tree) else None


def uncounted(control: ControlDatabase) -> list[Uncounted]:
    """The tables that wait to be counted, those of the oldest exports first."""
    waiting = sa.exists().where(
        bulk_units.c.export_id == exports.c.export_id,
        bulk_units.c.status.in_(UNFINISHED_UNITS),
        bulk_units.c.planned_rows.is_(None),
    )
    query = (
        sa.select(exports)
        .join(bulk_exports, bulk_exports.c.id == exports.c.bulk_id)
        .where(bulk_exports.c.status.in_(UNFINISHED_EXPORTS), waiting)
        .order_by(bulk_exports.c.created_at, exports.c.export_id)
    )
    with control.read() as connection:
        rows = [export_of(row) for row in connection.execute(query).mappings()]  # type: ignore[arg-type]
    return [Uncounted(row.export_id, row.layout_id, row.tenant_id, row.project_key, row.filter) for row in rows]


def _count_or_fail(control: ControlDatabase, source: RunSource, table: Uncounted) -> bool:
    """As `_count_some`; a filter or a record that cannot be used ends its export."""
    try:
        return _count_some(control, source, table)
    except (RetryableError, PermanentError):
        raise
    except Exception as error:
        log.exception("export %s cannot be counted", table.bulk_id)
        fail_export(control, table.bulk_id, f"its rows cannot be counted: {error}")
        return False


def _count_some(control: ControlDatabase, source: RunSource, table: Uncounted) -> bool:
    """Counts the next days of a table; False where all are counted."""
    tree = counted_filter(table.filter)
    waiting = sa.and_(bulk_units.c.export_id == str(table.table_id), bulk_units.c.planned_rows.is_(None))
    with control.read() as connection:
        units = read_units(connection, waiting)[: DAYS_AT_ONCE if tree is None else FILTERED_DAYS_AT_ONCE]
    if not units:
        return False
    counted = _counted(source, table.project, units, tree)
    update = (
        sa.update(bulk_units)
        .where(bulk_units.c.id == sa.bindparam("unit"))
        .values(planned_rows=sa.bindparam("counted"))
    )
    values = [{"unit": str(unit.id), "counted": rows} for unit, rows in counted]
    control.run(lambda connection: connection.execute(update, values))
    return True


def _counted(
    source: RunSource, project: ProjectKey, units: list[BulkUnit], tree: Filter | None
) -> list[tuple[BulkUnit, int]]:
    """Units with their rows. Where counting with the filter takes too long or fails, all rows of the days count.

    Where that takes too long, those of the first day alone; and where one day does, all are planned as large ones.
    """
    attempts = [(units, tree), (units, None), (units[:1], None)]
    for some, matching in attempts if tree is not None else attempts[1:]:
        window = Window(instant(some[0].start_at), instant(some[-1].end_at))
        try:
            found = source.days(project, window, filter=matching, seconds=STATEMENT_SECONDS)
        except SourceSlowError:
            continue
        except SourceUnusableError:
            if matching is None:
                raise
            continue
        return [(unit, found[unit.day].rows if unit.day in found else 0) for unit in some]
    return [(unit, ROWS_TOGETHER) for unit in units]

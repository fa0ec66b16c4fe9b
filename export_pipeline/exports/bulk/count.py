"""Counting the rows that an export will read, for its progress and to see which days are small."""

import logging
import uuid
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

import sqlalchemy as sa

from export_pipeline.errors import (
    PermanentError,
    RetryableError,
    SourceSlowError,
    SourceUnreachableError,
    SourceUnusableError,
)
from export_pipeline.exports.bulk.cancel import fail_export
from export_pipeline.exports.bulk.planner import ROWS_TOGETHER
from export_pipeline.exports.bulk.records import UNFINISHED_EXPORTS, UNFINISHED_UNITS, BulkUnit, unit_of_row
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import table_of
from export_pipeline.exports.control.tables import bulk_exports, bulk_units, exports
from export_pipeline.exports.turns import in_shares
from export_pipeline.runs.filter import read_filter
from export_pipeline.runs.filter_tree import Filter, is_quick
from export_pipeline.runs.times import instant
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import ProjectKey, RunSource

log = logging.getLogger(__name__)

DAYS_AT_ONCE = 31
FILTERED_DAYS_AT_ONCE = 7
"""With a filter, counting takes two to five times as long, and a round of the sensor must not."""
STATEMENT_SECONDS = 3.0
"""How long one count may take; what takes longer is planned without it."""
UNKNOWN = -ROWS_TOGETHER
"""What is planned for a day that could not be counted in time: a large one. Negative counts are upper limits."""
MOST_SLOW_DAYS = 3
"""Days of a table that may each take too long; after them the rest of it is not counted."""


@dataclass(frozen=True)
class Uncounted:
    """A table with units whose rows are still to be counted."""

    table_id: uuid.UUID
    bulk_id: uuid.UUID
    tenant_id: uuid.UUID
    project: ProjectKey
    filter: str | None


def count_rows(control: ControlDatabase, source: RunSource, *, seconds: float) -> None:
    """Counts the rows of units that wait for it, for about as long; of each workspace its oldest exports first.

    The workspaces share the time (`in_shares`). Only the rows that match the export's filter count, where that is a
    quick one (`counted_filter`). An export that cannot be counted for its own sake fails, and one whose table cannot be
    read waits; the others go on. Raises errors of the control database, and at the end those of the source.
    """
    queues: dict[Hashable, deque[_Counting]] = {}
    for table in uncounted(control):
        queues.setdefault(table.tenant_id, deque()).append(_Counting(control, source, table))
    failed: SourceUnusableError | SourceUnreachableError | None = None
    for tables in in_shares(queues, seconds=seconds, at_most=3 * seconds):
        failed = _turn(control, tables) or failed
    if failed is not None:
        raise failed


def _turn(control: ControlDatabase, tables: "deque[_Counting]") -> SourceUnusableError | SourceUnreachableError | None:
    """A step of a workspace; what cannot be read is left out of the round, and its error given back."""
    try:
        if not _count_or_fail(control, tables[0]):
            tables.popleft()
    except SourceUnusableError as error:
        tables.popleft()
        return error
    except SourceUnreachableError as error:
        tables.clear()  # perhaps it was this very count that ended the connection
        return error
    return None


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
    with control.read() as transaction:
        rows = [table_of(row) for row in transaction.execute(query).mappings()]
    return [Uncounted(row.export_id, row.layout_id, row.tenant_id, row.project_key, row.filter) for row in rows]


class _Counting:
    """A table on its way through a round; what took too long is not asked for again, in later rounds neither."""

    def __init__(self, control: ControlDatabase, source: RunSource, table: Uncounted) -> None:
        self._control, self._source, self.table = control, source, table
        self._tree: Filter | None = None
        self._days = 0

    def step(self) -> bool:
        """Counts some days more; False where nothing is left. Raises errors of the source and of the filter."""
        if not self._days and not self._begin():
            return False
        units = self._next_units()
        if not units:
            return False
        window = Window(instant(units[0].start_at), instant(units[-1].end_at))
        try:
            counted = self._source.days(self.table.project, window, filter=self._tree, seconds=STATEMENT_SECONDS)
        except (SourceSlowError, SourceUnusableError) as error:
            if self._ask_for_less(units, error):
                return self.step()
            self._days = 0
            self._record({units[0].id: UNKNOWN})
            return True
        sign = 1 if self.table.filter is None or self._tree is not None else -1
        self._record({unit.id: sign * (counted[unit.day].rows if unit.day in counted else 0) for unit in units})
        return True

    def _begin(self) -> bool:
        """Takes up the table where earlier rounds have left it; False where they have given it up."""
        here = bulk_units.c.export_id == self.table.table_id
        limits = sa.func.count().filter(bulk_units.c.planned_rows < 0)
        slow = sa.func.count().filter(bulk_units.c.planned_rows == UNKNOWN)
        with self._control.read() as transaction:
            with_limits, slow_days = transaction.execute(sa.select(limits, slow).where(here)).one()
        if slow_days >= MOST_SLOW_DAYS:
            rest = sa.update(bulk_units).where(here, bulk_units.c.planned_rows.is_(None))
            self._control.run(lambda transaction: transaction.execute(rest.values(planned_rows=UNKNOWN)))
            return False
        tree = counted_filter(self.table.filter)
        self._tree = None if with_limits else tree
        self._days = 1 if slow_days else DAYS_AT_ONCE if self._tree is None else FILTERED_DAYS_AT_ONCE
        return True

    def _ask_for_less(self, units: list[BulkUnit], error: SourceSlowError | SourceUnusableError) -> bool:
        """First without the filter, then for a day alone; False where even that took too long."""
        if self._tree is not None:
            self._tree, self._days = None, DAYS_AT_ONCE
        elif isinstance(error, SourceUnusableError):
            raise error
        elif len(units) > 1:
            self._days = 1
        else:
            return False
        return True

    def _next_units(self) -> list[BulkUnit]:
        waiting = sa.and_(bulk_units.c.export_id == self.table.table_id, bulk_units.c.planned_rows.is_(None))
        query = sa.select(bulk_units).where(waiting).order_by(bulk_units.c.day).limit(self._days)
        with self._control.read() as transaction:
            return [unit_of_row(row) for row in transaction.execute(query).mappings()]

    def _record(self, counted: dict[uuid.UUID, int]) -> None:
        update = (
            sa.update(bulk_units)
            .where(bulk_units.c.id == sa.bindparam("unit"))
            .values(planned_rows=sa.bindparam("counted"))
        )
        values = [{"unit": str(unit), "counted": rows} for unit, rows in counted.items()]
        self._control.run(lambda transaction: transaction.execute(update, values))


def _count_or_fail(control: ControlDatabase, counting: _Counting) -> bool:
    """A step of counting; a filter or a record that cannot be used ends its export."""
    try:
        return counting.step()
    except (RetryableError, PermanentError):
        raise
    except Exception as error:
        log.exception("export %s cannot be counted", counting.table.bulk_id)
        fail_export(control, counting.table.bulk_id, f"its rows cannot be counted: {error}")
        return False

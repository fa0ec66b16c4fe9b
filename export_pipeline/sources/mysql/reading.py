"""The rows of one window out of MySQL and MariaDB, streamed; with a filter each is judged as it comes."""

from collections.abc import Collection, Generator, Iterator
from typing import Any, Protocol

import pyarrow as pa
from typing_extensions import override

from export_pipeline.runs.arrays import flags_array
from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.window import Window
from export_pipeline.sources.mysql.queries import DaySql, MysqlQueries
from export_pipeline.sources.sql.counting import Counted, count_days
from export_pipeline.sources.sql.failing import ExpressionError, OrderedRows, read_around_failing
from export_pipeline.sources.sql.filter_rows import RowFilter
from export_pipeline.sources.sql.row_batches import raw_batch, row_chunks
from export_pipeline.sources.sql.source import Counted as SnapshotCounts
from export_pipeline.sources.sql.source import Reading, counted_records
from export_pipeline.sources.sql.unpack import payload

_MATCHES = "matches"
_RULING = {"id", "session_id", "start_time"}


class Session(Protocol):
    """What is needed of a session."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a small query."""

    def stream(self, sql: str) -> Generator[tuple[Any, ...]]:
        """The rows of a query one by one."""

    def failure(self, sql: str) -> ExpressionError | None:
        """How a small query fails on the values that it meets."""

    def tell(self, window: Window | None) -> None:
        """Tells a mapping's query what is read."""


class MysqlReading(Reading, OrderedRows):
    """The rows of a window."""

    def __init__(
        self, session: Session, *, queries: MysqlQueries, window: Window, fields: Collection[str] | None
    ) -> None:
        self._session, self._queries, self._window, self._fields = session, queries, window, fields
        self._filter = None if queries.tree is None else RowFilter(queries.tree, unit=queries.plan.mapping.epoch_unit)
        self._matching: Counted | None = None

    @property
    @override
    def counted(self) -> SnapshotCounts:
        if self._filter is not None:
            totals = self._counted_matching()
            with_superseded = totals.rows + totals.superseded if self._queries.has_versions else None
            return totals.rows, totals.newest, with_superseded, totals.digest
        self._session.tell(None)
        ((rows, newest, total, digest),) = self._session.rows(self._queries.fingerprint(self._window))
        return rows, newest, total, digest

    @property
    @override
    def records(self) -> tuple[int, int | None] | None:
        if self._filter is not None:
            totals = self._counted_matching()
            return None if self._queries.plan.feedbacks is None else (totals.records, totals.newest_record)
        return counted_records(self._session.rows, self._queries.feedback(self._window, by_day=False))

    def _counted_matching(self) -> Counted:
        if self._matching is None:
            self._session.tell(self._window)
            unit = self._queries.plan.mapping.epoch_unit
            days = count_days(self._session.stream, self._queries, self._window, unit=unit)
            self._matching = sum(days.values(), Counted())
        return self._matching

    @override
    def batches(self) -> Generator[pa.RecordBatch]:
        self._session.tell(self._window)
        day = self._queries.day(self._window, self._fields)
        fields = [output.field.name for output in day.outputs if output.sql and output.field.name not in _RULING]
        around = self._queries.has_places and not self._queries.is_plain
        for batch in read_around_failing(self, fields) if around else self.stream(0):
            yield batch if self._filter is None else _matching(batch)
            del batch

    @override
    def stream(
        self, first: int, count: int | None = None, *, without: Collection[str] = ()
    ) -> Generator[pa.RecordBatch]:
        day = self._queries.day(self._window, self._fields, first=first, count=count, without=without)
        present = [output.field for output in day.outputs if output.sql is not None]
        rows = self._session.stream(day.sql)
        try:
            for chunk in row_chunks(self._judged(_unpacked(rows, day), day), present):
                batch = raw_batch(chunk, day.outputs, instants=day.instants)
                if self._filter is not None:
                    batch = batch.append_column(_MATCHES, flags_array([row[-1] for row in chunk]))
                del chunk
                yield batch
                del batch
        finally:
            rows.close()

    def _judged(self, rows: Iterator[tuple[Any, ...]], day: DaySql) -> Iterator[tuple[Any, ...]]:
        """Rows with whether they match in place of what the filter reads."""
        if self._filter is None:
            return rows
        judged, size = self._filter, sum(output.sql is not None for output in day.outputs)
        return ((*row[:size], judged.matches(dict(zip(day.filtered, row[size:], strict=True)))) for row in rows)

    @override
    def failure(self, first: int, count: int, fields: Collection[str]) -> ExpressionError | None:
        return self._session.failure(self._queries.failing(self._window, first, count, fields))


def _unpacked(rows: Iterator[tuple[Any, ...]], day: DaySql) -> Iterator[tuple[Any, ...]]:
    """Rows with the bytes of JSON columns unpacked."""
    names = [output.field.name for output in day.outputs if output.sql is not None] + list(day.filtered)
    packed = {place for place, name in enumerate(names) if name in day.packed}
    if not packed:
        return rows
    return (
        tuple(payload(cell) if place in packed and cell is not None else cell for place, cell in enumerate(row))
        for row in rows
    )


def _matching(batch: pa.RecordBatch) -> pa.RecordBatch:
    matches = batch.column(_MATCHES)
    return batch.select([field.name for field in RUN_FIELDS]).filter(matches)

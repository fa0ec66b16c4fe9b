"""The rows of one window out of SQLite: keys are sorted, then payloads looked up in their order."""

from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa
from typing_extensions import override

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.schema import DEFAULT_FIELDS
from export_pipeline.runs.window import Window
from export_pipeline.sources.sql.failing import ExpressionError, OrderedRows, read_around_failing
from export_pipeline.sources.sql.queries import Output, RunQueries
from export_pipeline.sources.sql.row_batches import raw_batch, row_chunks
from export_pipeline.sources.sql.source import Counted, Reading, counted_records
from export_pipeline.sources.sqlite.spool import spool, spool_whole

_INSTANTS = frozenset({"start_time"})
_KEYS = 'temp."export pipeline keys"'


class Session(Protocol):
    """What is needed of an SQLite session."""

    def run(self, sql: str) -> None:
        """Runs a statement that gives no rows."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a small query."""

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one."""

    def failure(self, sql: str) -> ExpressionError | None:
        """How a small query fails on the values that it meets."""


class SqliteReading(Reading, OrderedRows):
    """The rows of a window. Memory: a batch; the sorted keys wait in a temporary file."""

    def __init__(
        self, session: Session, *, queries: RunQueries, window: Window, fields: Collection[str] | None
    ) -> None:
        self._session, self._feedback = session, queries.feedback(window, by_day=False)
        self._fields = frozenset(DEFAULT_FIELDS if fields is None else fields)
        if queries.row_key is None:
            queries = self._copied(queries, window)
        self._queries = queries
        session.run(f"CREATE TEMP TABLE {_KEYS.removeprefix('temp.')} AS {queries.keys(window)}")
        ((rows, newest, digest),) = session.rows(f"SELECT count(*), max(changed), sum(hashed) FROM {_KEYS}")
        total_sql = queries.total(window)
        total = None if total_sql is None else session.rows(total_sql)[0][0]
        self._counted: Counted = (rows, newest, total, digest)

    @property
    @override
    def counted(self) -> Counted:
        return self._counted

    @property
    @override
    def records(self) -> tuple[int, int | None] | None:
        return counted_records(self._session.rows, self._feedback)

    def _copied(self, queries: RunQueries, window: Window) -> RunQueries:
        if queries.is_plain:
            copy, copied = spool(queries, window, fields=self._fields)
        else:
            copy, copied = spool_whole(queries, window)
        self._session.run(copy)
        return copied

    @override
    def batches(self) -> Generator[pa.RecordBatch]:
        rows_read = 0
        fields = [output.field.name for output in self._outputs() if output.sql is not None and not _is_start(output)]
        for batch in self.stream(0) if self._queries.is_plain else read_around_failing(self, fields):
            rows_read += batch.num_rows
            yield batch
            del batch
        if rows_read != self.counted[0]:
            raise SourceUnreachableError("the trace store changed while a snapshot of it was read")

    def _outputs(self, without: Collection[str] = ()) -> list[Output]:
        outputs = self._queries.outputs(self._fields)
        return [replace(output, sql="NULL") if output.field.name in without else output for output in outputs]

    @override
    def stream(
        self, first: int, count: int | None = None, *, without: Collection[str] = ()
    ) -> Generator[pa.RecordBatch]:
        outputs = self._outputs(without)
        present = [output for output in outputs if output.sql is not None]
        columns = ["wanted.instant" if _is_start(output) else str(output.sql) for output in present]
        rows = self._session.stream(f"{self._select(columns, first, count)} ORDER BY wanted.rowid")
        for chunk in row_chunks(rows, [output.field for output in present]):
            yield raw_batch(chunk, outputs, instants=_INSTANTS)
            del chunk

    @override
    def failure(self, first: int, count: int, fields: Collection[str]) -> ExpressionError | None:
        counts = [f"count({output.sql})" for output in self._outputs() if output.field.name in fields]
        return self._session.failure(self._select(["count(*)", *counts], first, count))

    def _select(self, columns: Sequence[str], first: int, count: int | None) -> str:
        last = "" if count is None else f" AND wanted.rowid <= {first + count}"
        return (
            f"SELECT {', '.join(columns)} FROM {_KEYS} AS wanted CROSS JOIN {self._queries.source} "
            f"ON {self._queries.row_key} = wanted.found WHERE wanted.rowid > {first}{last}"
        )


def _is_start(output: Output) -> bool:
    return output.field.name == "start_time"

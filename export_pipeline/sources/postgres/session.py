"""One read-only transaction on one PostgreSQL connection."""

import json
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
from typing_extensions import override

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.arrays import text_array
from export_pipeline.runs.ids import canonical
from export_pipeline.runs.schema import RUN_FIELDS, Kind, RunField
from export_pipeline.runs.window import Window
from export_pipeline.sources.postgres.adbc import BATCH_BYTES, Adbc
from export_pipeline.sources.postgres.dialect import PROJECT_SETTING, TENANT_SETTING, can_be_text
from export_pipeline.sources.postgres.errors import LOCK_SECONDS, RefusedByServerError, is_lost
from export_pipeline.sources.postgres.filter import SETTING
from export_pipeline.sources.postgres.tables import NO_TABLES, REWRITTEN, Tables, definition
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.failing import ExpressionError, OrderedRows, read_around_failing
from export_pipeline.sources.sql.queries import Output, RunQueries
from export_pipeline.sources.sql.source import Counted, Reading, Session, counted_records
from export_pipeline.sources.sql.unpack import payload

_BEGIN = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; "
    "SET LOCAL TimeZone = 'UTC'; SET LOCAL client_encoding = 'UTF8'; SET LOCAL extra_float_digits = 1; "
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL DateStyle = 'ISO'; "
    f"SET LOCAL standard_conforming_strings = on; SET LOCAL lock_timeout = '{LOCK_SECONDS}s'; "
)
# The first statement that needs a snapshot takes it: everything that must come before is in `_BEGIN`, or a lock.
# In a database without an encoding text is whatever bytes it is, which the transform mends and counts.
_FIRST = f"""SELECT pg_is_in_recovery(), {{definition}}, current_setting('server_version_num')::int,
set_config('client_encoding',
  CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, true),
CASE WHEN current_setting('server_version_num')::int >= 170000 THEN set_config('transaction_timeout', '0', true) END,
set_config('{PROJECT_SETTING}', $1, true),
set_config('{TENANT_SETTING}', $2, true)"""

_OLDEST = 140_000
"""The first version in which `extract` gives exact numbers."""


class PostgresSession(Session):
    """A read-only transaction on a connection of the pool. `tables` are locked before the snapshot is taken."""

    def __init__(
        self, adbc: Adbc, project: ProjectKey | None, *, tables: Tables = NO_TABLES, row_security: bool
    ) -> None:
        """`row_security`: read what the role may see; otherwise the server refuses to leave rows out."""
        self._adbc, self._cancelled = adbc, False
        self._connection = self._begun(
            f"{_BEGIN}SET LOCAL row_security = {'on' if row_security else 'off'}{tables.lock}"
        )
        try:
            # A bound value in the streamed query itself would make the driver collect the whole answer.
            keys = ("", "") if project is None else (project.id, canonical(project.tenant or ""))
            bound = [key if can_be_text(key) else "" for key in keys]
            first = self.rows(_FIRST.format(definition=definition(tables.names)), bound)[0]
            self._adbc.on_replica, self.definition, self._adbc.version = first[:3]
            if self._adbc.version < _OLDEST:
                raise SourceUnusableError(
                    f"the trace store ({self._adbc.place}) is PostgreSQL {self._adbc.version // 10_000}, which reckons "
                    "times in floating point and loses microseconds; PostgreSQL 14 or newer is needed"
                )
        except BaseException:
            self.close()
            raise

    def _begun(self, statements: str) -> Any:
        """A connection in a transaction: one that was kept, or a new one where there is none that the server knows."""
        if (kept := self._adbc.pool.take()) is not None:
            try:
                self._adbc.run(kept, statements)
            except ExportPipelineError as error:
                kept.close()
                if not is_lost(error):
                    raise
            else:
                return kept
        connection = self._adbc.connect()
        try:
            self._adbc.run(connection, statements)
        except BaseException:
            connection.close()
            raise
        return connection

    @override
    def confirm(self) -> None:
        if changed := self.rows(REWRITTEN):
            raise SourceUnreachableError(
                f"the trace store ({self._adbc.place}): {changed[0][0]} was rewritten, truncated or replaced while it "
                "was about to be read, so that rows may be missing; it is read again"
            )

    @override
    def rows(self, sql: str, parameters: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        return self._adbc.rows(self._connection, sql, parameters)

    @override
    def failure(self, sql: str) -> ExpressionError | None:
        try:
            with self.guarded():
                self.rows(sql)
        except ExpressionError as error:
            return error
        return None

    def run(self, sql: str) -> None:
        """Statements that give no rows."""
        self._adbc.run(self._connection, sql)

    @override
    def bind(self, values: Sequence[str | int]) -> None:
        named = json.dumps({f"{SETTING}{number}": str(value) for number, value in enumerate(values, 1)})
        self.rows("SELECT count(set_config(key, value, true)) FROM json_each_text($1::json)", [named])

    def names(self, sql: str) -> list[str]:
        """The names of a query's columns."""
        return self._adbc.names(self._connection, sql)

    @override
    def read(self, queries: RunQueries, window: Window, fields: Collection[str] | None) -> "PostgresReading":
        return PostgresReading(self, queries=queries, window=window, fields=fields)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """A refused statement in the block leaves the transaction usable."""
        self.run("SAVEPOINT export_pipeline")
        try:
            yield
        except RefusedByServerError:
            self.run("ROLLBACK TO SAVEPOINT export_pipeline")
            raise
        self.run("RELEASE SAVEPOINT export_pipeline")

    def stream(self, sql: str) -> Generator[pa.RecordBatch]:
        """The batches of a query as they come."""
        return self._adbc.stream(self._connection, sql, cancel=self.cancel)

    @override
    def cancel(self) -> None:
        self._cancelled = True
        self._adbc.cancel(self._connection)

    @override
    def close(self) -> None:
        """The connection is kept, unless a cancel may still be on its way to it."""
        try:
            self._adbc.run(self._connection, "ROLLBACK")
        except ExportPipelineError:
            self._connection.close()  # it is lost, and the transaction with it
            return
        if self._cancelled:
            self._connection.close()
        else:
            self._adbc.pool.give(self._connection)


class PostgresReading(Reading, OrderedRows):
    """The rows of a window, streamed."""

    def __init__(
        self,
        session: PostgresSession,
        *,
        queries: RunQueries,
        window: Window,
        fields: Collection[str] | None,
    ) -> None:
        self._session, self._queries, self._window = session, queries, window
        self._count, self._feedback = queries.fingerprint(window), queries.feedback(window, by_day=False)
        self._outputs = queries.outputs(fields)

    @property
    @override
    def counted(self) -> Counted:
        rows, newest, total, digest = self._session.rows(self._count)[0]
        return rows, newest, total, digest

    @property
    @override
    def records(self) -> tuple[int, int | None] | None:
        return counted_records(self._session.rows, self._feedback)

    @override
    def batches(self) -> Generator[pa.RecordBatch]:
        if self._queries.has_places and not self._queries.is_plain:
            fields = [output.field.name for output in self._outputs if output.sql and not _rules(output.field)]
            return read_around_failing(self, fields)
        return self._read(self._outputs, "OFFSET 0")

    @override
    def stream(
        self, first: int, count: int | None = None, *, without: Collection[str] = ()
    ) -> Generator[pa.RecordBatch]:
        outputs = [
            replace(output, sql=f"CASE WHEN false THEN {output.sql} END") if output.field.name in without else output
            for output in self._outputs
        ]
        with self._session.guarded():
            yield from self._read(outputs, _places(first, count))

    @override
    def failure(self, first: int, count: int, fields: Collection[str]) -> ExpressionError | None:
        counts = [f"count({output.sql})" for output in self._outputs if output.field.name in fields]
        rows = f"({self._queries.stream(self._window)} {_places(first, count)}) AS r"
        return self._session.failure(f"SELECT {', '.join(['count(*)', *counts])} FROM {rows}")

    def _read(self, outputs: Sequence[Output], places: str) -> Generator[pa.RecordBatch]:
        stream = self._session.stream(stream_sql(self._queries, self._window, outputs, places=places))
        try:
            for batch in stream:
                for part in unpacked_parts(batch):
                    yield _raw(part, outputs)
                    del part
                del batch
        finally:
            stream.close()


def _rules(field: RunField) -> bool:
    """Whether rows are chosen and ordered by the field, so that they have no places where it fails."""
    return field.name in {"id", "session_id", "start_time"}


def _places(first: int, count: int | None) -> str:
    return f"OFFSET {first}" if count is None else f"OFFSET {first} LIMIT {count}"


def stream_sql(queries: RunQueries, window: Window, outputs: Sequence[Output], *, places: str = "OFFSET 0") -> str:
    """Ordered inside, cast outside: without an index the server then sorts pointers to payloads, not their text."""
    casts = ", ".join(f'{output.sql} AS "{output.field.name}"' for output in outputs if output.sql is not None)
    return f"SELECT {casts} FROM ({queries.stream(window)} {places}) AS r"


def unpacked_parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The batch with the bytes in it unpacked (`unpack`), cut where they become too many; mostly it as it is."""
    packed = [name for name, each in zip(batch.schema.names, batch.schema.types, strict=True) if each == pa.binary()]
    if not packed:
        yield batch
        return
    start, size = 0, 0
    values: dict[str, list[bytes | None]] = {name: [] for name in packed}
    for row in range(batch.num_rows):
        for name, cells in values.items():
            cell = batch.column(name)[row].as_py()
            cells.append(None if cell is None else payload(cell))
            size += len(cells[-1] or b"")
        if size >= BATCH_BYTES or row + 1 == batch.num_rows:
            part = batch.slice(start, row + 1 - start)
            for name, cells in values.items():
                part = part.set_column(part.schema.get_field_index(name), name, text_array(cells))
            yield part
            start, size = row + 1, 0
            values = {name: [] for name in packed}


def _raw(batch: pa.RecordBatch, outputs: Sequence[Output]) -> pa.RecordBatch:
    arrays = []
    for output in outputs:
        if output.sql is None:
            arrays.append(pa.nulls(batch.num_rows, _null_type(output.field)))
            continue
        array = batch.column(output.field.name)
        if output.field.name == "start_time" and pa.types.is_integer(array.type):
            array = array.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, names=[field.name for field in RUN_FIELDS])


def _null_type(field: RunField) -> pa.DataType:
    return pa.timestamp("us", tz="UTC") if field.kind is Kind.TIME else pa.string()

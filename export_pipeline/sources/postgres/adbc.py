"""PostgreSQL through low-level ADBC: Arrow batches without a Python object a row, and errors by what to do.

The driver's `dbapi` module is left alone: importing it pulls in pandas.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from export_pipeline.database_url import libpq_uri, shown
from export_pipeline.errors import ExportPipelineError
from export_pipeline.runs.arrays import text_array
from export_pipeline.sources.postgres.codes import refusals
from export_pipeline.sources.postgres.connection_pool import ConnectionPool
from export_pipeline.sources.postgres.errors import PostgresErrors

BATCH_BYTES = 4 * 1024 * 1024

_CONNECTION_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "export-pipeline",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "90000",
}


class Adbc:
    """One `AdbcDatabase`, shared by all connections: a new database costs 31 ms, a new connection 2 ms."""

    def __init__(self, url: Any) -> None:
        self._uri = libpq_uri(url, defaults=_CONNECTION_DEFAULTS)
        self.place = shown(url)
        secrets = {text for text in (url.password, unquote(str(url.password or ""))) if text}
        self.errors = PostgresErrors(place=self.place, secrets=secrets)
        self.pool = ConnectionPool()
        self.on_replica = False
        """Whether the server is one; known once a session has begun."""
        self.version = 0
        """The server's, as its `server_version_num` has it; known once a session has begun."""
        self._database: Any = None

    def connect(self) -> Any:
        """A new `AdbcConnection`; raises `SourceUnusableError` or `SourceUnreachableError`."""
        import adbc_driver_manager
        import adbc_driver_postgresql

        try:
            if self._database is None:
                self._database = adbc_driver_postgresql.connect(self._uri)
            return adbc_driver_manager.AdbcConnection(self._database)
        except adbc_driver_manager.Error as error:
            raise self._refused(str(error)) from None

    def _refused(self, text: str) -> ExportPipelineError:
        return self.errors.of_connecting(text, refusals(self._uri) if self.errors.is_by_the_server(text) else [])

    def failed(self, error: BaseException) -> ExportPipelineError:
        """The error of a query or of a stream."""
        return self.errors.of_query(str(error), getattr(error, "sqlstate", None), on_replica=self.on_replica)

    def rows(self, connection: Any, sql: str, parameters: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """The rows of a small query; timestamps as microseconds. Parameters are text, `$1` and so on."""
        with self._statement(connection, sql) as statement:
            if parameters:
                values = [text_array([value.encode()]) for value in parameters]
                statement.bind(pa.RecordBatch.from_arrays(values, names=[str(value) for value in range(len(values))]))
            handle, _ = statement.execute_query()
            table = _reader(handle).read_all()
        columns = [_python_values(column) for column in table.columns]
        return list(zip(*columns, strict=True))

    def names(self, connection: Any, sql: str) -> list[str]:
        """The names of a query's columns."""
        with self._statement(connection, sql) as statement:
            handle, _ = statement.execute_query()
            reader = _reader(handle)
            schema = reader.schema
            reader.close()
        return list(schema.names)

    def run(self, connection: Any, sql: str) -> None:
        """Statements that give no rows."""
        with self._statement(connection, sql) as statement:
            statement.execute_update()

    def stream(self, connection: Any, sql: str, *, cancel: Callable[[], None]) -> Generator[pa.RecordBatch]:
        """The batches of a query as they come, of about `BATCH_BYTES`; `cancel` is called where that is ended early."""
        with self._statement(connection, sql) as statement:
            statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
            handle, _ = statement.execute_query()
            reader = _reader(handle)
            ended = False
            try:
                while True:
                    try:
                        batch = reader.read_next_batch()
                    except StopIteration:
                        ended = True
                        return
                    yield batch
                    del batch
            finally:
                if not ended:
                    cancel()
                reader.close()

    def cancel(self, connection: Any) -> None:
        """Asks the server to stop what the connection is doing; safe from another thread, and when it is idle."""
        import adbc_driver_manager

        try:
            connection.cancel()
        except adbc_driver_manager.Error:
            return  # the connection is gone, and with it the query

    def _statement(self, connection: Any, sql: str) -> "_Statement":
        return _Statement(self, connection, sql)

    def close(self) -> None:
        """Closes what was kept, and gives the database back unless a connection hangs: that one ends it some day."""
        self.pool.close()
        database, self._database = self._database, None
        if database is not None:
            with suppress(RuntimeError):
                database.close()


class _Statement:
    """An `AdbcStatement` for one query, whose errors are translated."""

    def __init__(self, owner: Adbc, connection: Any, sql: str) -> None:
        import adbc_driver_manager

        self._owner = owner
        self._errors = (adbc_driver_manager.Error, OSError, pa.ArrowException)
        self._statement = adbc_driver_manager.AdbcStatement(connection)
        self._statement.set_sql_query(sql)

    def __enter__(self) -> Any:
        return self._statement

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._statement.close()
        if isinstance(error, self._errors):
            raise self._owner.failed(error) from None


def _reader(handle: Any) -> Any:
    """A reader whose errors carry the SQLSTATE.

    `RecordBatchReader.from_stream` raises `OSError` without any for what fails in the middle of a stream, and by its
    SQLSTATE alone it is told whether that passes.
    """
    from adbc_driver_manager._reader import AdbcRecordBatchReader

    return AdbcRecordBatchReader._import_from_c(handle.address)  # noqa: SLF001 - the only way to make one


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_string(column.type):
        # A database without an encoding holds any bytes.
        texts = [value for chunk in column.chunks for value in chunk.view(pa.binary()).to_pylist()]
        return [None if value is None else value.decode("utf-8", "replace") for value in texts]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
        return [None if value is None else int(value) for value in column.to_pylist()]
    return list(column.to_pylist())

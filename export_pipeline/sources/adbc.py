"""PostgreSQL through low-level ADBC: Arrow batches without a Python object a row, and errors by what to do.

The driver's `dbapi` module is left alone: importing it pulls in pandas.
"""

import re
from collections.abc import Callable, Generator, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from export_pipeline.errors import ExportPipelineError, SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.arrays import text_array
from export_pipeline.settings import PREFIX
from export_pipeline.sources.kept import KeptConnections

BATCH_BYTES = 4 * 1024 * 1024

_CONNECTION_DEFAULTS = {
    "connect_timeout": "10",
    "application_name": "export-pipeline",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "90000",
}
_REFUSED = (
    "password authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
    "not permitted to log in",
    "does not support SSL",
    "certificate verify failed",
    "invalid connection option",
    "invalid URI",
    "invalid port",
    "invalid integer",
    "invalid sslmode",
    "authentication method",
    "root certificate file",
    "no password",
)
# Class 42 is wrong SQL or missing rights, 22 data that an expression cannot take, 0A, 3D, 3F what is not there.
_UNUSABLE_STATES = ("42", "22", "0A", "3D", "3F", "28", "2F", "39", "XX002")
_PASSING = re.compile(
    r"cancel(?:l)?ing statement|terminat|conflict with recovery|shutting down|starting up|recovery mode|timeout|"
    r"deadlock|too many|out of memory|disk full|No space left|could not (?:read|write|extend|open|fsync)",
    re.IGNORECASE,
)


def libpq_uri(url: Any) -> str:
    """The libpq form of a SQLAlchemy URL, with time-outs where the URL sets none."""
    query = {**_CONNECTION_DEFAULTS, **url.query}
    plain: str = url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)
    return plain


class Adbc:
    """One `AdbcDatabase`, shared by all connections: a new database costs 31 ms, a new connection 2 ms."""

    def __init__(self, url: Any) -> None:
        self._uri = libpq_uri(url)
        self._secrets = {text for text in (url.password, unquote(str(url.password or ""))) if text}
        self.place = url.render_as_string(hide_password=True)
        self.kept = KeptConnections()
        self._database: Any = None

    def connect(self) -> Any:
        """A new `AdbcConnection`; raises `SourceUnusableError` or `SourceUnreachableError`."""
        import adbc_driver_manager
        import adbc_driver_postgresql

        try:
            if self._database is None:
                driver = adbc_driver_postgresql._driver_path()  # noqa: SLF001 - the only way to it without pandas
                self._database = adbc_driver_manager.AdbcDatabase(driver=driver, uri=self._uri)
            return adbc_driver_manager.AdbcConnection(self._database)
        except adbc_driver_manager.Error as error:
            raise self._refused(str(error)) from None

    def _refused(self, text: str) -> ExportPipelineError:
        reason = self.hide(text)
        if any(sign in reason for sign in _REFUSED):
            return SourceUnusableError(
                f"{PREFIX}SOURCE_URL ({self.place}): PostgreSQL refuses the connection: {reason}"
            )
        return SourceUnreachableError(f"{PREFIX}SOURCE_URL ({self.place}): PostgreSQL does not answer: {reason}")

    def hide(self, text: str) -> str:
        """The gist of a driver's message on one line, never with the password."""
        text = re.sub(r"^[A-Z_]+: |\[libpq\] |Failed to connect: |Execution error \[\w+\]: ", "", text)
        text = re.sub(r"\n?\s*Query was:.*", "", text, flags=re.DOTALL).split("\nLINE ")[0]
        text = re.sub(r"\. SQLSTATE: \w+$", "", text.strip())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())

    def failed(self, error: BaseException) -> ExportPipelineError:
        """The error of a query or of a stream, which carries no SQLSTATE and only the server's words."""
        text, state = str(error), getattr(error, "sqlstate", None)
        reason = self.hide(text)
        wrong = state.startswith(_UNUSABLE_STATES) if state else "ERROR:" in text and not _PASSING.search(text)
        if wrong:
            return SourceUnusableError(f"the trace store ({self.place}) cannot be read: {reason}")
        return SourceUnreachableError(f"the trace store ({self.place}) broke off: {reason}")

    def rows(self, connection: Any, sql: str, parameters: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """The rows of a small query; timestamps as microseconds. Parameters are text, `$1` and so on."""
        with self._statement(connection, sql) as statement:
            if parameters:
                values = [text_array([value.encode()]) for value in parameters]
                statement.bind(pa.RecordBatch.from_arrays(values, names=[str(value) for value in range(len(values))]))
            handle, _ = statement.execute_query()
            table = pa.RecordBatchReader._import_from_c(handle.address).read_all()  # noqa: SLF001 - PyArrow's documented C interface
        columns = [_python_values(column) for column in table.columns]
        return list(zip(*columns, strict=True))

    def names(self, connection: Any, sql: str) -> list[str]:
        """The names of a query's columns."""
        with self._statement(connection, sql) as statement:
            handle, _ = statement.execute_query()
            reader = pa.RecordBatchReader._import_from_c(handle.address)  # noqa: SLF001 - as above
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
            reader = pa.RecordBatchReader._import_from_c(handle.address)  # noqa: SLF001 - as above
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
        """Gives the database back; no connection may be in use."""
        self.kept.close()
        if self._database is not None:
            self._database.close()
            self._database = None


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


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us")).cast(pa.int64())
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
        return [None if value is None else int(value) for value in column.to_pylist()]
    return list(column.to_pylist())

"""One read-only transaction on one connection of MySQL or MariaDB."""

from collections.abc import Collection, Generator, Hashable, Sequence
from typing import Any

from typing_extensions import override

from export_pipeline.runs.times import microseconds
from export_pipeline.runs.window import Window
from export_pipeline.sources.mysql.client import Mysql, close, hang_up
from export_pipeline.sources.mysql.dialect import bound
from export_pipeline.sources.mysql.queries import MysqlQueries
from export_pipeline.sources.mysql.reading import MysqlReading
from export_pipeline.sources.mysql.tables import NO_TABLES, Tables
from export_pipeline.sources.protocol import ProjectKey
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sql.source import Session


class MysqlSession(Session):
    """A read-only transaction. `tables` are locked before the snapshot is taken."""

    def __init__(self, mysql: Mysql, project: ProjectKey | None, *, tables: Tables = NO_TABLES) -> None:
        self._mysql, self._connection = mysql, mysql.connect()
        self._cancelled = False
        try:
            self._server = mysql.server_of(self._connection)
            self.run("START TRANSACTION READ ONLY")
            self.definition = self.defined(tables)
            if tables.first is not None:
                self.rows(tables.first)  # which takes the snapshot
            self._project = "NULL" if project is None else f"CONVERT({bound(project.id)} USING utf8mb4)"
        except BaseException:
            self.close()
            raise

    def defined(self, tables: Tables) -> Hashable:
        """Another value where the columns or keys of the tables are other ones; locks them."""
        columns = [] if tables.lock is None else self.described(tables.lock)
        keys = [] if tables.keys is None else self.rows(tables.keys)
        return tuple(columns), frozenset(keys)

    def run(self, sql: str) -> None:
        """A statement that gives no rows."""
        self._mysql.run(self._connection, sql)

    @override
    def bind(self, values: Sequence[str | int]) -> None:
        """Filters are judged row by row."""

    @override
    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Text comes as bytes."""
        return self._mysql.rows(self._connection, sql)

    def stream(self, sql: str) -> Generator[tuple[Any, ...]]:
        """The rows of a query one by one."""
        return self._mysql.each(self._connection, sql)

    def described(self, sql: str) -> list[tuple[str, int]]:
        """The names of a query's columns, with the protocol's codes of their types."""
        return self._mysql.described(self._connection, sql)

    def explained(self, sql: str) -> list[str]:
        """The query as the server has understood it, with the full names of its tables."""
        return self._mysql.explained(self._connection, sql)

    def tell(self, window: Window | None) -> None:
        """Tells a mapping's query which project and window are read; None: it is counted only."""
        project, start, end = "NULL", "NULL", "NULL"
        if window is not None:
            project, start, end = self._project, str(microseconds(window.start)), str(microseconds(window.end))
        self.run(
            f"SET @export_pipeline_project = {project}, @export_pipeline_start = {start}, @export_pipeline_end = {end}"
        )

    @override
    def read(self, queries: RunQueries, window: Window, fields: Collection[str] | None) -> MysqlReading:
        assert isinstance(queries, MysqlQueries)  # noqa: S101
        return MysqlReading(self, queries=queries, window=window, fields=fields)

    @override
    def confirm(self) -> None:
        """Nobody could change the tables since before the snapshot."""

    @override
    def cancel(self) -> None:
        """The server ends the connection; where it does not answer, this side does."""
        if not self._cancelled:
            self._cancelled = True
            self._mysql.kill(self._connection.thread_id(), self._server)
            hang_up(self._connection)

    @override
    def close(self) -> None:
        close(self._connection)

"""A session with ClickHouse: queries under ids of their own, so that they can be stopped."""

import uuid
from collections.abc import Collection, Generator, Sequence
from typing import Any

import pyarrow as pa
from typing_extensions import override

from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.sources.clickhouse.client import Clickhouse
from export_pipeline.sources.clickhouse.queries import ClickhouseQueries
from export_pipeline.sources.clickhouse.reading import ClickhouseReading
from export_pipeline.sources.sql.queries import RunQueries
from export_pipeline.sources.sql.source import Session

_DEFINITION = """SELECT groupBitXor(cityHash64(database, name, uuid, create_table_query)) FROM system.tables
WHERE database NOT IN ('system', 'INFORMATION_SCHEMA', 'information_schema')"""


class ClickhouseSession(Session):
    """Each query sees one moment of each table, and the next query a later one."""

    def __init__(self, clickhouse: Clickhouse, *, unit: EpochUnit) -> None:
        self._clickhouse, self._unit = clickhouse, unit
        self._query_id = ""
        clickhouse.connect()
        self.definition = self.rows(_DEFINITION)[0][0]

    def _next_id(self) -> str:
        self._query_id = f"export-pipeline-{uuid.uuid4()}"
        return self._query_id

    @override
    def bind(self, values: Sequence[str | int]) -> None:
        """Values stand in the queries, as numbers or as hexadecimal digits."""

    @override
    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Text comes as bytes."""
        return self._clickhouse.rows(sql, query_id=self._next_id())

    def stream(self, sql: str, *, fails_early: bool = False) -> Generator[pa.RecordBatch]:
        """The batches of a query as they come; `fails_early`: with the first one all values have been computed."""
        return self._clickhouse.stream(sql, query_id=self._next_id(), fails_early=fails_early)

    @override
    def read(self, queries: RunQueries, window: Window, fields: Collection[str] | None) -> ClickhouseReading:
        assert isinstance(queries, ClickhouseQueries)  # noqa: S101
        return ClickhouseReading(self, queries=queries, window=window, fields=fields, unit=self._unit)

    @override
    def confirm(self) -> None:
        """A query of ClickHouse keeps the parts that it began with."""

    @override
    def cancel(self) -> None:
        self._clickhouse.kill(self._query_id)

    @override
    def close(self) -> None:
        """Connections belong to the source."""

"""The statements for BigQuery and Athena, translated for DuckDB and run over a copy of the files.

What a service makes of them cannot be tried here; that they load the right rows into the right columns, once, can.
The external table is DuckDB's view instead.
"""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from export_pipeline.files.statements.table import Step, Table
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements.engine import check, texts
from export_pipeline_tests.files.statements.house import FORMS, House


class Translated:
    """A database in memory that takes another system's statements."""

    def __init__(self, system: str, connection: duckdb.DuckDBPyConnection, table: Table, folder: Path) -> None:
        self.system, self._connection = system, connection
        self.refuses = system == "bigquery"
        (view,) = texts("duckdb", table)[Step.FILES]
        view = view.replace(f"s3://{table.bucket}/", f"{folder}/").replace(" VIEW ", " VIEW llm.")
        connection.execute(f"SET TimeZone = 'UTC'; CREATE SCHEMA llm; {view}")

    def run(self, text: str) -> list[tuple[Any, ...]]:
        """Runs statements one by one; gives back the rows of the last that has some."""
        rows: list[tuple[Any, ...]] = []
        for statement in sqlglot.parse(text, dialect=self.system):
            assert statement is not None
            if isinstance(statement, exp.Alias):
                self._assert(statement)
            elif not self._is_there(statement):
                rows = self._connection.execute(self._translation(statement)).fetchall() or rows
        return rows

    def _is_there(self, statement: exp.Expr) -> bool:
        """Whether it is about the schema or the external table."""
        if isinstance(statement, exp.Command | exp.Alter):
            return True
        if not isinstance(statement, exp.Create):
            return False
        if statement.kind in {"SCHEMA", "DATABASE"}:
            return True
        return any(table.name.endswith("_files") for table in statement.find_all(exp.Table))

    def _translation(self, statement: exp.Expr) -> str:
        for kind in statement.find_all(exp.DataType):
            if kind.is_type(exp.DataType.Type.BIGDECIMAL):
                kind.replace(exp.DataType.build(f"DECIMAL({COST_PRECISION}, {COST_SCALE})"))
        return statement.sql("duckdb").replace("FORMAT('%", "PRINTF('%")

    def _assert(self, statement: exp.Alias) -> None:
        """BigQuery's ASSERT, which the parser takes for a function: it ends the transaction."""
        asserted = statement.this.sql("duckdb")
        assert asserted.startswith("ASSERT(SELECT ")
        condition = asserted.removeprefix("ASSERT")
        if self._connection.execute(f"SELECT {condition}").fetchone() != (True,):
            self._connection.execute("ROLLBACK")
            raise RuntimeError(statement.alias)


Translate = Callable[[str, Table], Translated]


@pytest.fixture
def translate(house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Translate]:
    """Makes a database that takes a system's statements on a table."""
    caplog.set_level(logging.CRITICAL, logger="sqlglot")  # it says of what it takes as it is that it does
    with duckdb.connect() as connection:

        def made(system: str, table: Table) -> Translated:
            house.mirror(table, tmp_path)
            return Translated(system, connection, table, tmp_path)

        yield made


@pytest.mark.parametrize("system", ["bigquery", "athena"])
@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_loads_come_to_what_the_trace_store_has(
    house: House, translate: Translate, system: str, version: FormatVersion, compression: Compression
) -> None:
    check(translate(system, house.table(version, compression)), house, version, compression)

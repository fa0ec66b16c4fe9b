"""The statements for DuckDB, run over a copy of the files; `test_engines.py` runs them over the bucket."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements.engine import check
from export_pipeline_tests.files.statements.house import FORMS, House


class OverACopy:
    """A database in memory, to which a folder is the bucket."""

    system, refuses = "duckdb", True

    def __init__(self, connection: duckdb.DuckDBPyConnection, bucket: str, folder: Path) -> None:
        self._connection = connection
        self._in_bucket, self._in_folder = f"s3://{bucket}/", f"{folder}/"

    def run(self, text: str) -> list[tuple[Any, ...]]:
        """Runs statements one by one; gives back the rows of the last that has some. Secrets are not needed."""
        rows: list[tuple[Any, ...]] = []
        for statement in self._connection.extract_statements(text.replace(self._in_bucket, self._in_folder)):
            if "CREATE OR REPLACE SECRET" in statement.query:
                continue
            try:
                rows = self._connection.execute(statement).fetchall() or rows
            except duckdb.Error:
                self._connection.execute("ROLLBACK")
                raise
        return rows


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_every_statement_comes_to_what_the_trace_store_has(
    house: House,
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    version: FormatVersion,
    compression: Compression,
) -> None:
    house.mirror(house.table(version, compression), tmp_path)
    check(OverACopy(connection, house.bucket, tmp_path), house, version, compression)

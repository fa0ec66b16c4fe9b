"""The statements for DuckDB, run over a copy of the files; `test_engines.py` runs them over the bucket."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements.embedded_engines import OverACopy
from export_pipeline_tests.files.statements.engine import check
from export_pipeline_tests.files.statements.house import FORMS, House


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

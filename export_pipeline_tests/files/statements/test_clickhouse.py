"""The statements for ClickHouse, run by its engine, which reads the bucket itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements.embedded_engines import ClickHouse
from export_pipeline_tests.files.statements.engine import check
from export_pipeline_tests.files.statements.house import FORMS, House


@pytest.fixture
def clickhouse(house: House, tmp_path: Path) -> Iterator[ClickHouse]:
    session = ClickHouse(tmp_path / "clickhouse", house)
    yield session
    session.close()


@pytest.mark.parametrize(("version", "compression"), FORMS)
def test_every_statement_comes_to_what_the_trace_store_has(
    house: House, clickhouse: ClickHouse, version: FormatVersion, compression: Compression
) -> None:
    check(clickhouse, house, version, compression)

"""The statements for ClickHouse, run by its engine, which reads the bucket itself."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline_tests.files.statements.engine import check
from export_pipeline_tests.files.statements.house import FORMS, House

_BEGIN = '{\n\t"meta":'
"""Of an answer."""


class ClickHouse:
    """A session with an Atomic database, as servers have."""

    system, refuses = "clickhouse", True

    def __init__(self, folder: Path, house: House) -> None:
        from chdb import session

        make: Any = session.Session  # has no types
        self._session = make(str(folder))
        self._house = house
        self.run("CREATE DATABASE work ENGINE = Atomic;\nUSE work;")

    def run(self, text: str) -> list[list[Any]]:
        """Runs statements one by one; gives back the rows of the last."""
        rows: list[list[Any]] = []
        for statement in filter(str.strip, self._house.filled_in(text).split(";\n")):
            answer = str(self._session.query(statement.rstrip(";"), "JSONCompact"))
            # What a query that failed had written comes with the answer of a later one, before it.
            begin = answer.rfind(_BEGIN)
            rows = json.loads(answer[begin:], parse_float=Decimal)["data"] if begin >= 0 else []
        return rows

    def close(self) -> None:
        """Ends the session."""
        self._session.close()


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

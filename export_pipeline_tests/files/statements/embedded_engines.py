"""Engines that run in this process."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb

from export_pipeline_tests.files.statements.house import House

_BEGIN = '{\n\t"meta":'
"""Of an answer of ClickHouse's."""


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

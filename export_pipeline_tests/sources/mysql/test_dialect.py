"""What is made for MySQL where it differs from MariaDB, on which the other tests of this folder run."""

import pytest
import sqlalchemy as sa

from export_pipeline.sources.mysql.client import Mysql
from export_pipeline.sources.mysql.dialect import MysqlDialect
from export_pipeline.sources.mysql.types import type_of
from export_pipeline.sources.sql.dialect import Column

MYSQL_JSON, BLOB, VARCHAR = 245, 252, 253


@pytest.mark.parametrize(
    ("code", "collation", "is_json", "expected"),
    [
        (MYSQL_JSON, "binary", False, "json utf8mb4_bin"),
        (BLOB, "binary", False, "binary"),
        (VARCHAR, "utf8mb4_0900_ai_ci", False, "text utf8mb4_0900_ai_ci"),
        (BLOB, "utf8mb4_bin", True, "json utf8mb4_bin"),
    ],
)
def test_json_is_json_whatever_its_collation_is_called(code: int, collation: str, is_json: bool, expected: str) -> None:
    assert type_of(code, collation, is_json=is_json) == expected


@pytest.mark.parametrize("kind", ["integer", "decimal"])
def test_patterns_are_asked_of_texts_and_never_of_bytes(kind: str) -> None:
    condition = MysqlDialect("s").finds(Column("r.id", kind, "id"), "w.parent")
    assert condition is not None
    assert "CASE WHEN (CONVERT(w.parent USING utf8mb4) COLLATE utf8mb4_bin) REGEXP '" in condition


class Connection:
    """One to MySQL 9, which tells of the tables behind a view in the traditional form alone, no default there."""

    def __init__(self) -> None:
        self._asked = ""

    def get_server_info(self) -> str:
        return "9.7.4"

    def query(self, sql: str) -> None:
        self._asked = sql

    def show_warnings(self) -> list[tuple[str, int, bytes]]:
        is_told = self._asked.startswith("EXPLAIN FORMAT=TRADITIONAL SELECT")
        return [("Note", 1003, b"select `d`.`t`.`a` from `d`.`t`")] if is_told else []


def test_the_tables_behind_a_view_are_asked_for_in_the_form_that_tells_of_them() -> None:
    mysql = Mysql(sa.make_url("mysql://me@db/traces"))
    assert mysql.explained(Connection(), "SELECT * FROM v") == ["select `d`.`t`.`a` from `d`.`t`"]

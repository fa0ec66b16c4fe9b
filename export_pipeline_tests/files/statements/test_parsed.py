"""Every statement for every system, for every kind of table, is one of that system's SQL to a parser of it.

A few are opaque to the parser: they are named here, in full where nothing runs them.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from functools import cache

import pytest
import sqlglot
from sqlglot import exp

from export_pipeline.files.paths import day_folder
from export_pipeline.files.statements.systems import SYSTEMS
from export_pipeline.files.statements.table import DAY, Day, Step, Table
from export_pipeline.runs.schema import FORMAT_VERSIONS, RUN_FIELDS, FormatVersion, select_fields
from export_pipeline_tests.files.statements.house import PREFIX

SQL = [name for name, system in SYSTEMS.items() if system.comment == "--"]
FIRST, WANTED = Day(date(2026, 11, 8), 5), Day(date(2026, 11, 9), 412)
ELSEWHERE = ("https://storage.googleapis.com", "https://s3.example.com")
FIELDS = (RUN_FIELDS, select_fields(), select_fields(["id", "tags", "inputs"]), select_fields(["name"]))
OPAQUE = {
    "bigquery": ("CREATE OR REPLACE EXTERNAL TABLE",),
    "snowflake": ("ALTER EXTERNAL TABLE",),
    "redshift": ("CREATE EXTERNAL SCHEMA", "CREATE EXTERNAL TABLE", "ALTER TABLE llm_files."),
    "athena": ("MSCK REPAIR TABLE",),
    "databricks": ("SET TIME ZONE", "MSCK REPAIR TABLE"),
    "spark": ("MSCK REPAIR TABLE",),
    "clickhouse": ("EXCHANGE TABLES",),
    "duckdb": ("CREATE OR REPLACE SECRET",),
}
"""How statements begin that the parser takes as they are; Spark's, ClickHouse's and DuckDB's are run elsewhere."""


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture) -> None:
    """The parser says of each opaque statement that it is one."""
    caplog.set_level(logging.CRITICAL, logger="sqlglot")


def tables(version: FormatVersion) -> Iterator[Table]:
    """Every choice of columns, every place, and a day that has become empty."""
    table = Table(
        name="runs_chat",
        about="project chat",
        bucket="lake",
        root=f"{PREFIX}/export_id=6f1c/tenant_id=5f0c/session_id=7e02/runs/",
        region="eu-central-1",
        endpoint_url=None,
        fields=RUN_FIELDS,
        format_version=version,
        days=(FIRST, WANTED),
        wanted=WANTED,
    )
    yield from (replace(table, fields=fields) for fields in FIELDS)
    yield from (replace(table, endpoint_url=place) for place in ELSEWHERE)
    empty = replace(WANTED, rows=0)
    yield replace(table, days=(FIRST, empty), wanted=empty)


@cache
def parsed(system: str, text: str) -> list[exp.Expr]:
    """The statements of a text; the opaque ones must be those that are known."""
    found = [each for each in sqlglot.parse(text, dialect=system) if each is not None]
    opaque = [each.sql() for each in found if isinstance(each, exp.Command)]
    assert [text for text in opaque if not text.startswith(OPAQUE[system])] == []
    return found


@pytest.mark.parametrize("version", FORMAT_VERSIONS)
@pytest.mark.parametrize("system", SQL)
def test_every_statement_is_parsed(system: str, version: FormatVersion) -> None:
    for table in tables(version):
        for each in SYSTEMS[system].statements(table):
            assert parsed(system, each.text), each.text


@pytest.mark.parametrize("version", FORMAT_VERSIONS)
@pytest.mark.parametrize("system", SQL)
def test_tables_that_are_loaded_have_the_columns_of_the_files_and_the_day(system: str, version: FormatVersion) -> None:
    for table in tables(version):
        (text,) = [each.text for each in SYSTEMS[system].statements(table) if each.step == Step.CREATE]
        (create,) = parsed(system, text)
        assert [column.name for column in create.find_all(exp.ColumnDef)] == [*table.columns, DAY]


@pytest.mark.parametrize("version", FORMAT_VERSIONS)
@pytest.mark.parametrize("system", [system for system in SQL if system != "athena"])  # which has a MERGE, below
def test_each_value_goes_into_the_column_of_its_name(system: str, version: FormatVersion) -> None:
    seen = 0
    for table in tables(version):
        for text in [each.text for each in SYSTEMS[system].statements(table) if each.step.startswith("load")]:
            for insert in [each for each in parsed(system, text) if isinstance(each, exp.Insert | exp.Copy)]:
                into, values = columns_of(insert, table)
                assert into in (list(table.columns), [*table.columns, DAY])
                assert values[: len(table.columns)] == list(table.columns)
                assert len(values) == len(into)
                seen += 1
    assert seen > 0


def columns_of(insert: exp.Insert | exp.Copy, table: Table) -> tuple[list[str], list[str]]:
    """The columns that a statement fills, and the names of what it fills them with ("" where that has none)."""
    select = insert.find(exp.Select)
    if select is None:  # Redshift's COPY takes the files' columns by their place
        return list(table.columns), list(table.columns)
    values = [named(each) for each in select.expressions]
    if not isinstance(insert.this, exp.Schema):  # all of the table's, the day apart where it is given as a partition
        return [*table.columns, DAY][: len(values)], values
    return [each.name for each in insert.this.expressions], values


def named(value: exp.Expr) -> str:
    """The name of a column, also where it is cast or taken out of a value."""
    found = value.find(exp.Column, exp.JSONExtract)
    if isinstance(found, exp.JSONExtract):
        return str(found.expression.find(exp.JSONPathKey).this)
    return "" if found is None or value.find(exp.Func) else found.name


@pytest.mark.parametrize("version", FORMAT_VERSIONS)
def test_athenas_merge_fills_each_column_with_the_files_value(version: FormatVersion) -> None:
    for table in tables(version):
        texts = [each.text for each in SYSTEMS["athena"].statements(table) if each.step.startswith("load")]
        merges = [each for text in texts for each in parsed("athena", text) if isinstance(each, exp.Merge)]
        assert merges
        for merge in merges:
            (insert,) = merge.find_all(exp.Insert)
            assert [each.name for each in insert.this.expressions] == [*table.columns, DAY]
            assert [each.name for each in insert.expression.expressions] == [*table.columns, DAY]
            rows, days = merge.find_all(exp.Select)
            assert len(rows.expressions) == len(days.expressions) == len(table.columns) + 2


def test_no_statement_is_printed_for_a_bucket_that_a_system_cannot_read() -> None:
    """Redshift and Athena read AWS, BigQuery reads Google's: elsewhere the bucket is left to be filled in."""
    for table in tables("v1"):
        for system, reads in (("redshift", "aws"), ("athena", "aws"), ("bigquery", "google")):
            texts = [each.text for each in SYSTEMS[system].statements(table)]
            assert any("//lake/" in text for text in texts) == (table.cloud == reads)
            assert any("//YOUR_BUCKET/" in text for text in texts) == (table.cloud != reads)


@pytest.mark.parametrize("version", FORMAT_VERSIONS)
def test_redshifts_external_table_has_the_columns_of_the_files_and_every_day_with_rows(version: FormatVersion) -> None:
    """The parser does not know Redshift's form of it; Athena's is the same but for the properties' name."""
    for table in tables(version):
        (text,) = [each.text for each in SYSTEMS["redshift"].statements(table) if each.step == Step.FILES]
        create, *additions = sqlglot.parse(text.replace("\nTABLE PROPERTIES", "\nTBLPROPERTIES"), dialect="athena")
        assert create is not None
        assert [column.name for column in create.find_all(exp.ColumnDef)] == [*table.columns, "year", "month", "day"]
        folders = [
            folder for each in additions if each for folder in re.findall(r"year=\d+/month=\d+/day=\d+", str(each))
        ]
        assert folders == [day_folder(day.day) for day in table.days if day.rows]

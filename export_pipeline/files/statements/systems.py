"""The systems that statements are made for, and how statements are written down."""

from collections.abc import Callable
from dataclasses import dataclass

from export_pipeline.files.statements import athena, bigquery, clickhouse, duckdb, python, redshift, snowflake, spark
from export_pipeline.files.statements.table import Statement, Table


@dataclass(frozen=True)
class System:
    """A system, as it is called, its comments' sign, and what makes its statements."""

    title: str
    statements: Callable[[Table], list[Statement]]
    comment: str = "--"


SYSTEMS: dict[str, System] = {
    "bigquery": System("BigQuery", bigquery.statements),
    "snowflake": System("Snowflake", snowflake.statements),
    "redshift": System("Redshift", redshift.statements),
    "athena": System("Athena", athena.statements),
    "databricks": System("Databricks", spark.databricks),
    "spark": System("Spark", spark.spark),
    "clickhouse": System("ClickHouse", clickhouse.statements),
    "duckdb": System("DuckDB", duckdb.statements),
    "polars": System("Polars", python.polars, "#"),
    "pandas": System("pandas", python.pandas, "#"),
}


def written(system: System, table: Table) -> str:
    """All statements for a table, each below a comment that says what it does."""
    heading = _commented(system, f"{system.title}: {table.about}")
    pieces = [f"{_commented(system, each.about)}\n{each.text}\n" for each in system.statements(table)]
    return "\n".join([f"{heading}\n", *pieces])


def _commented(system: System, text: str) -> str:
    return "\n".join(f"{system.comment} {line}" for line in text.splitlines())

"""BigQuery: an external table over the files, a table with a partition a day."""

from export_pipeline.files.statements import sql
from export_pipeline.files.statements.table import DAY, Statement, Step, Table
from export_pipeline.runs.schema import Kind

TYPES = {
    Kind.ID: "STRING",
    Kind.TEXT: "STRING",
    Kind.TIME: "TIMESTAMP",
    Kind.JSON: "STRING",
    Kind.STRINGS: "ARRAY<STRING>",
    Kind.COUNT: "INT64",
    Kind.COST: "BIGNUMERIC",
    Kind.FLAG: "BOOL",
}
MODEL = "JSON_VALUE(extra, '$.metadata.ls_model_name')"


def statements(table: Table) -> list[Statement]:
    """GoogleSQL."""
    name, files = f"llm.{table.name}", f"llm.{table.files}"
    columns = sql.listed(table.columns)
    return [
        Statement(
            Step.ACCESS,
            sql.about_access(
                table, "google", "A dataset, in the bucket's location.", reads="BigQuery reads Cloud Storage"
            ),
            "CREATE SCHEMA IF NOT EXISTS llm;",
        ),
        Statement(
            Step.FILES,
            f"{sql.ABOUT_FILES}\nCosts have twelve decimal places, NUMERIC holds nine: hence BIGNUMERIC.",
            _files(table, files),
        ),
        Statement(
            Step.CREATE,
            "A table to load into, with a partition a day.",
            f"CREATE TABLE IF NOT EXISTS {name} (\n{_definitions(table)}\n) PARTITION BY {DAY};",
        ),
        Statement(
            Step.LOAD_ALL,
            sql.about_all(table),
            _load(table, "true", f"SELECT {columns},\n    DATE(year, month, day)\nFROM {files};", rows=table.rows),
        ),
        _load_day(table, files, columns),
        *sql.readings(table, name, MODEL),
    ]


def _definitions(table: Table) -> str:
    """Arrays are never null, and must not be declared so."""
    lines = [
        f"    {field.name} {kind}{' NOT NULL' if field.required and not kind.startswith('ARRAY') else ''}"
        for field, kind in table.types(TYPES)
    ]
    return ",\n".join([*lines, f"    {DAY} DATE NOT NULL"])


def _files(table: Table, files: str) -> str:
    root = table.uri_in("google")
    return (
        f"CREATE OR REPLACE EXTERNAL TABLE {files}\n"
        "WITH PARTITION COLUMNS (year INT64, month INT64, day INT64)\n"
        "OPTIONS (\n"
        "    format = 'PARQUET',\n"
        f"    uris = [{sql.escaped(f'{root}*')}],\n"
        f"    hive_partition_uri_prefix = {sql.escaped(root.rstrip('/'))},\n"
        "    decimal_target_types = ['NUMERIC', 'BIGNUMERIC'],\n"
        "    enable_list_inference = true\n"
        ");"
    )


def _load_day(table: Table, files: str, columns: str) -> Statement:
    day = f"DATE '{table.wanted.day}'"
    select = f"SELECT {columns},\n    {day}\nFROM {files}\nWHERE {sql.of_wanted_day(table)};"
    load = _load(table, f"{DAY} = {day}", select if table.wanted.rows else None, rows=table.wanted.rows)
    return Statement(Step.LOAD_DAY, sql.about_day(table), load)


def _load(table: Table, those: str, select: str | None, *, rows: int) -> str:
    """Replaces rows in one transaction, which another number of rows than expected rolls back."""
    name = f"llm.{table.name}"
    insert = "" if select is None else f"INSERT INTO {name} ({sql.listed((*table.columns, DAY))})\n{select}\n"
    return (
        f"BEGIN TRANSACTION;\nDELETE FROM {name} WHERE {those};\n{insert}"
        f"ASSERT (SELECT count(*) FROM {name} WHERE {those}) = {rows}\n    AS '{sql.expected(rows)}';\n"
        "COMMIT TRANSACTION;"
    )

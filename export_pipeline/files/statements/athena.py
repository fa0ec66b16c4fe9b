"""Athena: a table over the files, an Iceberg table to load into."""

from export_pipeline.files.statements import sql
from export_pipeline.files.statements.table import DAY, Statement, Step, Table
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, Kind

TYPES = {
    Kind.ID: "string",
    Kind.TEXT: "string",
    Kind.TIME: "timestamp",
    Kind.JSON: "string",
    Kind.STRINGS: "array<string>",
    Kind.COUNT: "bigint",
    Kind.COST: f"decimal({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "boolean",
}
MODEL = "json_extract_scalar(extra, '$.metadata.ls_model_name')"


def statements(table: Table) -> list[Statement]:
    """Athena engine version 3."""
    name, files = f"llm.{table.name}", f"llm.{table.files}"
    return [
        Statement(
            Step.ACCESS,
            sql.about_access(
                table,
                "aws",
                "A database. Run the statements one by one, in the bucket's region.",
                reads="Athena reads S3 of AWS",
            ),
            "CREATE DATABASE IF NOT EXISTS llm;",
        ),
        Statement(
            Step.FILES,
            f"{sql.ABOUT_FILES}\nMSCK REPAIR TABLE finds new days. Athena reads times in milliseconds.",
            _files(table, files),
        ),
        Statement(
            Step.CREATE,
            "An Iceberg table to load into. Its partitions are months, since Athena writes 100 partitions at once.",
            f"CREATE TABLE IF NOT EXISTS {name} (\n{sql.definitions(table, TYPES, not_null=False, day='date')}\n)\n"
            f"PARTITIONED BY (month({DAY}))\nLOCATION 's3://YOUR_WAREHOUSE_BUCKET/llm/{table.name}/'\n"
            "TBLPROPERTIES ('table_type' = 'ICEBERG');",
        ),
        Statement(Step.LOAD_ALL, sql.about_all(table), _load_all(table, name, files)),
        Statement(Step.LOAD_DAY, sql.about_day(table), _load_day(table, name, files)),
        *sql.readings(table, name, MODEL),
    ]


def _files(table: Table, files: str) -> str:
    uri = table.uri_in("aws")
    return (
        f"CREATE EXTERNAL TABLE IF NOT EXISTS {files} (\n{sql.definitions(table, TYPES, not_null=False)}\n)\n"
        f"PARTITIONED BY (year int, month int, day int)\nSTORED AS PARQUET\nLOCATION {sql.escaped(uri)};\n"
        f"MSCK REPAIR TABLE {files};"
    )


def _counted(name: str, those: str, rows: int) -> str:
    return f"SELECT count(*) AS runs, count(*) = {rows} AS as_expected FROM {name} WHERE {those};"


def _load_all(table: Table, name: str, files: str) -> str:
    day = "date(format('%04d-%02d-%02d', year, month, day))"
    merge = _merge(table, name, f"{day} AS {DAY}", files, f"{DAY}\n    FROM {name} GROUP BY {DAY}")
    return f"MSCK REPAIR TABLE {files};\n{merge}\n{_counted(name, 'true', table.rows)}"


def _load_day(table: Table, name: str, files: str) -> str:
    day, of = f"DATE '{table.wanted.day}'", table.wanted.day
    those = f"{DAY} = {day}"
    if not table.wanted.rows:
        return f"DELETE FROM {name} WHERE {those};\n{_counted(name, those, 0)}"
    location = sql.escaped(table.uri_in("aws") + table.folder)
    merge = _merge(table, name, f"{day} AS {DAY}", f"{files} WHERE {sql.of_wanted_day(table)}", day)
    return (
        f"ALTER TABLE {files} ADD IF NOT EXISTS\n"
        f"PARTITION (year = {of.year}, month = {of.month}, day = {of.day}) LOCATION {location};\n"
        f"{_counted(files, sql.of_wanted_day(table), table.wanted.rows)}\n{merge}\n"
        f"{_counted(name, those, table.wanted.rows)}"
    )


def _merge(table: Table, name: str, day: str, files: str, replaced: str) -> str:
    """One statement, which is atomic: a row that names a day meets all that are there, the files' rows none."""
    columns = (*table.columns, DAY)
    nothing = sql.listed(f"CAST(NULL AS {_QUERY_TYPES.get(kind, kind)})" for _, kind in table.types(TYPES))
    return (
        f"MERGE INTO {name} AS loaded\nUSING (\n"
        f"    SELECT {sql.listed(table.columns)},\n    {day}, CAST(NULL AS date) AS replaced\n    FROM {files}\n"
        f"    UNION ALL\n    SELECT {nothing},\n    CAST(NULL AS date), {replaced}\n"
        f") AS files\nON loaded.{DAY} = files.replaced\nWHEN MATCHED THEN DELETE\n"
        f"WHEN NOT MATCHED AND files.replaced IS NULL THEN INSERT ({sql.listed(columns)})\n"
        f"VALUES ({sql.listed(f'files.{column}' for column in columns)});"
    )


_QUERY_TYPES = {"string": "varchar", "array<string>": "array(varchar)"}
"""Queries name types as Trino does, tables as Hive does."""

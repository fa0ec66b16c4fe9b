"""Spark and Databricks: a table over the files, and one to load into, of Parquet or of Delta."""

from export_pipeline.files.statements import sql
from export_pipeline.files.statements.table import DAY, Statement, Step, Table
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, Kind

TYPES = {
    Kind.ID: "STRING",
    Kind.TEXT: "STRING",
    Kind.TIME: "TIMESTAMP",
    Kind.JSON: "STRING",
    Kind.STRINGS: "ARRAY<STRING>",
    Kind.COUNT: "BIGINT",
    Kind.COST: f"DECIMAL({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "BOOLEAN",
}
MODEL = "get_json_object(extra, '$.metadata.ls_model_name')"


def spark(table: Table) -> list[Statement]:
    """Spark SQL 3.4 and newer."""
    uri = f"s3a://{table.bucket}/{table.root}"
    columns = sql.listed(table.columns)
    return [
        Statement(Step.ACCESS, _access(table), "SET spark.sql.session.timeZone = UTC;"),
        Statement(Step.FILES, _ABOUT_FILES, _files(table, uri)),
        Statement(
            Step.CREATE,
            "A table to load into, with a partition a day.",
            f"CREATE TABLE IF NOT EXISTS {table.name} (\n{sql.definitions(table, TYPES, not_null=False, day='DATE')}\n"
            f") USING PARQUET PARTITIONED BY ({DAY});",
        ),
        Statement(
            Step.LOAD_ALL,
            sql.about_all(table),
            "SET spark.sql.sources.partitionOverwriteMode = STATIC;\n"
            f"MSCK REPAIR TABLE {table.files};\nREFRESH TABLE {table.files};\n"
            f"INSERT OVERWRITE TABLE {table.name}\n"
            f"SELECT {columns},\n    make_date(year, month, day)\nFROM {table.files};\n"
            f"{_asserted(table.name, table.rows)}",
        ),
        Statement(Step.LOAD_DAY, sql.about_day(table), _overwrite_day(table, uri, columns)),
        *sql.readings(table, table.name, MODEL),
    ]


def databricks(table: Table) -> list[Statement]:
    """Databricks SQL, with Delta tables."""
    uri = f"{'gs' if table.cloud == 'google' else 's3'}://{table.bucket}/{table.root}"
    columns, name, files = sql.listed(table.columns), f"llm.{table.name}", f"llm.{table.files}"
    select = f"SELECT {columns},\n    make_date(year, month, day) AS {DAY}\nFROM {files};"
    return [
        Statement(
            Step.ACCESS,
            "The bucket must be an external location of Unity Catalog that you may read; days are days of UTC.",
            "SET TIME ZONE 'UTC';\nCREATE SCHEMA IF NOT EXISTS llm;",
        ),
        Statement(Step.FILES, _ABOUT_FILES, _files(table, uri, schema="llm.")),
        Statement(
            Step.CREATE,
            "A Delta table to load into.",
            f"CREATE TABLE IF NOT EXISTS {name} (\n{sql.definitions(table, TYPES, day='DATE')}\n) CLUSTER BY ({DAY});",
        ),
        Statement(
            Step.LOAD_ALL,
            sql.about_all(table),
            f"MSCK REPAIR TABLE {files};\nREFRESH TABLE {files};\nINSERT OVERWRITE {name}\n{select}\n"
            f"{_asserted(name, table.rows)}",
        ),
        Statement(Step.LOAD_DAY, sql.about_day(table), _replace_day(table, uri, name, columns)),
        *sql.readings(table, name, MODEL),
    ]


_ABOUT_FILES = (
    f"{sql.ABOUT_FILES}\n"
    "It has no row before MSCK REPAIR TABLE, which finds new days too; REFRESH TABLE forgets days that were replaced."
)


def _access(table: Table) -> str:
    about = (
        "Days are days of UTC. To read the bucket, start with --packages org.apache.hadoop:hadoop-aws:VERSION\n"
        "(that of Spark's Hadoop), and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
    )
    if table.endpoint_url is None:
        return about
    path_style = "false" if table.virtual_host else "true"
    return (
        f"{about} For this bucket also:\n--conf spark.hadoop.fs.s3a.endpoint={table.endpoint_url} "
        f"--conf spark.hadoop.fs.s3a.path.style.access={path_style}"
    )


def _files(table: Table, uri: str, *, schema: str = "") -> str:
    definitions = sql.definitions(table, TYPES, not_null=False)
    return (
        f"CREATE TABLE IF NOT EXISTS {schema}{table.files} (\n{definitions},\n    year INT,\n    month INT,\n"
        f"    day INT\n) USING PARQUET PARTITIONED BY (year, month, day)\nLOCATION {sql.escaped(uri)};\n"
        f"MSCK REPAIR TABLE {schema}{table.files};"
    )


def _asserted(source: str, rows: int, *, where: str = "") -> str:
    return f"SELECT assert_true(count(*) = {rows}, '{sql.expected(rows)}') FROM {source}{where};"


def _overwrite_day(table: Table, uri: str, columns: str) -> str:
    day = f"DATE'{table.wanted.day}'"
    if not table.wanted.rows:
        return f"ALTER TABLE {table.name} DROP IF EXISTS PARTITION ({DAY} = {day});"
    file = f"parquet.`{uri}{table.folder}`"
    return (
        f"{_asserted(file, table.wanted.rows)}\n"
        f"INSERT OVERWRITE TABLE {table.name} PARTITION ({DAY} = {day})\nSELECT {columns}\nFROM {file};\n"
        f"{_asserted(table.name, table.wanted.rows, where=f' WHERE {DAY} = {day}')}"
    )


def _replace_day(table: Table, uri: str, name: str, columns: str) -> str:
    day = f"DATE'{table.wanted.day}'"
    if not table.wanted.rows:
        return f"DELETE FROM {name} WHERE {DAY} = {day};"
    file = f"parquet.`{uri}{table.folder}`"
    return (
        f"{_asserted(file, table.wanted.rows)}\n"
        f"INSERT INTO {name} REPLACE WHERE {DAY} = {day}\nSELECT {columns},\n    {day} AS {DAY}\nFROM {file};\n"
        f"{_asserted(name, table.wanted.rows, where=f' WHERE {DAY} = {day}')}"
    )

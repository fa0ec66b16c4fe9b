"""DuckDB: a view over the files, a table of its own."""

from urllib.parse import urlsplit

from export_pipeline.files.paths import DATA_FILE
from export_pipeline.files.statements import sql
from export_pipeline.files.statements.table import DAY, KEY_ID, SECRET, Statement, Step, Table
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, Kind

TYPES = {
    Kind.ID: "VARCHAR",
    Kind.TEXT: "VARCHAR",
    Kind.TIME: "TIMESTAMPTZ",
    Kind.JSON: "VARCHAR",
    Kind.STRINGS: "VARCHAR[]",
    Kind.COUNT: "BIGINT",
    Kind.COST: f"DECIMAL({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "BOOLEAN",
}
MODEL = "json_extract_string(extra, '$.metadata.ls_model_name')"
"""The model's name as LangChain's tracing writes it."""


def statements(table: Table) -> list[Statement]:
    """DuckDB 1.4 and newer."""
    uri = f"s3://{table.bucket}/{table.root}"
    columns = sql.listed(table.columns)
    return [
        Statement(
            Step.ACCESS,
            "Access to the bucket, as long as the connection is open; days are days of UTC.\n"
            "With the machine's own AWS credentials: PROVIDER credential_chain instead of KEY_ID and SECRET.",
            f"SET TimeZone = 'UTC';\n{_secret(table)}",
        ),
        Statement(
            Step.FILES,
            sql.ABOUT_FILES,
            f"CREATE OR REPLACE VIEW {table.files} AS\nSELECT {columns},\n    year, month, day\n"
            f"FROM read_parquet({sql.quoted(f'{uri}*/*/*/{DATA_FILE}')}, hive_partitioning = true,\n"
            "    hive_types = {'year': INT, 'month': INT, 'day': INT});",
        ),
        Statement(
            Step.CREATE,
            "A table to load into.",
            f"CREATE TABLE IF NOT EXISTS {table.name} (\n{sql.definitions(table, TYPES, day='DATE')}\n);",
        ),
        Statement(
            Step.LOAD_ALL,
            sql.about_all(table),
            _load(
                table,
                "true",
                f"SELECT {columns},\n    make_date(year, month, day)\nFROM {table.files};",
                rows=table.rows,
            ),
        ),
        _load_day(table, uri, columns),
        *sql.readings(table, table.name, MODEL),
    ]


def _secret(table: Table) -> str:
    region = table.region or ("us-east-1" if table.endpoint_url else "YOUR_REGION")
    options = [f"TYPE s3, KEY_ID '{KEY_ID}', SECRET '{SECRET}', REGION '{region}'"]
    if table.endpoint_url is not None:
        endpoint = urlsplit(table.endpoint_url)
        ssl = "true" if endpoint.scheme == "https" else "false"
        style = "vhost" if table.virtual_host else "path"
        options.append(f"ENDPOINT '{endpoint.netloc}', URL_STYLE '{style}', USE_SSL {ssl}")
    options.append(f"SCOPE {sql.quoted(f's3://{table.bucket}/{table.root}')}")
    return f"CREATE OR REPLACE SECRET {table.name} (\n    " + ",\n    ".join(options) + "\n);"


def _load_day(table: Table, uri: str, columns: str) -> Statement:
    day = f"DATE '{table.wanted.day}'"
    rows = None
    if table.wanted.rows:
        file = sql.quoted(uri + table.file)
        rows = f"SELECT {columns},\n    {day}\nFROM read_parquet({file}, hive_partitioning = false);"
    return Statement(Step.LOAD_DAY, sql.about_day(table), _load(table, f"{DAY} = {day}", rows, rows=table.wanted.rows))


def _load(table: Table, those: str, select: str | None, *, rows: int) -> str:
    """Replaces rows in one transaction, which another number of rows than expected ends."""
    into = f"({sql.listed((*table.columns, DAY))})"
    insert = "" if select is None else f"INSERT INTO {table.name} {into}\n{select}\n"
    return (
        f"BEGIN;\nDELETE FROM {table.name} WHERE {those};\n{insert}"
        f"SELECT CASE WHEN count(*) = {rows} THEN count(*) ELSE error('{sql.expected(rows)}') END AS runs\n"
        f"FROM {table.name} WHERE {those};\nCOMMIT;"
    )

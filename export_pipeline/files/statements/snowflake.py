"""Snowflake: a stage and an external table over the files, a table to copy into."""

from urllib.parse import urlsplit

from export_pipeline.files.statements import sql
from export_pipeline.files.statements.table import DAY, KEY_ID, SECRET, Statement, Step, Table
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, Kind

TYPES = {
    Kind.ID: "VARCHAR",
    Kind.TEXT: "VARCHAR",
    Kind.TIME: "TIMESTAMP_LTZ",
    Kind.JSON: "VARCHAR",
    Kind.STRINGS: "ARRAY",
    Kind.COUNT: "NUMBER(19, 0)",
    Kind.COST: f"NUMBER({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "BOOLEAN",
}
MODEL = "TRY_PARSE_JSON(extra):metadata.ls_model_name::VARCHAR"
_PARQUET = "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE)"
_COPIED = "FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE USE_VECTORIZED_SCANNER = TRUE)"
_DAY_OF_PATH = (
    "DATE_FROM_PARTS(\n"
    "        REGEXP_SUBSTR(METADATA$FILENAME, 'year=([0-9]{4})', 1, 1, 'e')::INT,\n"
    "        REGEXP_SUBSTR(METADATA$FILENAME, 'month=([0-9]{2})', 1, 1, 'e')::INT,\n"
    "        REGEXP_SUBSTR(METADATA$FILENAME, 'day=([0-9]{2})', 1, 1, 'e')::INT)"
)


def statements(table: Table) -> list[Statement]:
    """Snowflake on any cloud."""
    return [
        Statement(
            Step.ACCESS,
            "The folder, as a stage; days are days of UTC, in every session.\n" + _credentials(table),
            f"ALTER SESSION SET TIMEZONE = 'UTC';\n{_create_stage(table)}",
        ),
        Statement(
            Step.FILES,
            f"Reads the files where they lie; a condition on {DAY} leaves other days' files unopened.\n"
            "REFRESH finds new days, and must be repeated for days that were exported again.",
            _files(table),
        ),
        Statement(
            Step.CREATE,
            "A table to load into. A text of more than 16 MB needs VARCHAR(134217728) instead of VARCHAR.",
            f"CREATE TABLE IF NOT EXISTS {table.name} (\n{sql.definitions(table, TYPES, day='DATE')}\n)\n"
            f"CLUSTER BY ({DAY});",
        ),
        Statement(
            Step.LOAD_ALL,
            f"{sql.about_all(table)}\n{_WHY_FORCE}",
            _load(table, "true", _copy(table, _DAY_OF_PATH), rows=table.rows),
        ),
        _load_day(table),
        *sql.readings(table, table.name, MODEL),
    ]


_WHY_FORCE = (
    "A day that is exported again keeps its file's name, which Snowflake takes for loaded: FORCE loads it all\n"
    "the same, and DELETE keeps rows from coming twice. Where the count is wrong, the division by zero stops you\n"
    "before COMMIT: ROLLBACK then."
)


def _credentials(table: Table) -> str:
    if table.cloud == "google":
        return "The storage integration is one for gcs://, with rights to read the folder and to list it."
    if table.cloud == "aws":
        return "Better than keys: STORAGE_INTEGRATION = YOUR_INTEGRATION instead of CREDENTIALS."
    return "The account must be allowed to reach the endpoint: Snowflake's support adds it, over https only."


def _create_stage(table: Table) -> str:
    place = f"{table.bucket}/{table.root}"
    keys = f"CREDENTIALS = (AWS_KEY_ID = '{KEY_ID}' AWS_SECRET_KEY = '{SECRET}')"
    if table.cloud == "google":
        url, access = f"gcs://{place}", "STORAGE_INTEGRATION = YOUR_INTEGRATION"
    elif table.cloud == "aws":
        url, access = f"s3://{place}", keys
    else:
        url, access = f"s3compat://{place}", f"ENDPOINT = '{urlsplit(table.endpoint_url or '').netloc}'\n    {keys}"
    return f"CREATE OR REPLACE STAGE {table.stage}\n    URL = {sql.quoted(url)}\n    {access}\n    {_PARQUET};"


def _files(table: Table) -> str:
    columns = [f"    {field.name} {kind} AS (value:{field.name}::{kind})" for field, kind in table.types(TYPES)]
    columns.append(f"    {DAY} DATE AS ({_DAY_OF_PATH})")
    return (
        f"CREATE OR REPLACE EXTERNAL TABLE {table.files} (\n" + ",\n".join(columns) + f"\n) PARTITION BY ({DAY})\n"
        f"LOCATION = @{table.stage} AUTO_REFRESH = FALSE {_PARQUET};\n"
        f"ALTER EXTERNAL TABLE {table.files} REFRESH;"
    )


def _copy(table: Table, day: str, *, file: str | None = None) -> str:
    values = [f"    $1:{field.name}::{kind}" for field, kind in table.types(TYPES)]
    values.append(f"    {day}")
    files = "" if file is None else f"FILES = ('{file}')\n"
    return (
        f"COPY INTO {table.name} ({sql.listed((*table.columns, DAY))})\nFROM (SELECT\n"
        + ",\n".join(values)
        + f"\n  FROM @{table.stage})\n{files}{_COPIED} FORCE = TRUE;"
    )


def _load_day(table: Table) -> Statement:
    day = f"'{table.wanted.day}'::DATE"
    copy = _copy(table, day, file=table.file) if table.wanted.rows else None
    about = f"{sql.about_day(table)}\n{_WHY_FORCE}" if copy else sql.about_day(table)
    return Statement(Step.LOAD_DAY, about, _load(table, f"{DAY} = {day}", copy, rows=table.wanted.rows))


def _load(table: Table, those: str, copy: str | None, *, rows: int) -> str:
    """Replaces rows in one transaction; the check is an error where another number of rows came."""
    loaded = "" if copy is None else f"{copy}\n"
    return (
        f"BEGIN TRANSACTION;\nDELETE FROM {table.name} WHERE {those};\n{loaded}"
        f"SELECT count(*) AS runs, 1 / IFF(count(*) = {rows}, 1, 0) AS as_expected\nFROM {table.name} WHERE {those};\n"
        "COMMIT;"
    )

"""ClickHouse: a view over the files, a table with a partition a day."""

from urllib.parse import quote

from export_pipeline.files.paths import DATA_FILE
from export_pipeline.files.statements import sql
from export_pipeline.files.statements.table import DAY, KEY_ID, SECRET, Statement, Step, Table
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, Kind

TYPES = {
    Kind.ID: "String",
    Kind.TEXT: "String",
    Kind.TIME: "DateTime64(6, 'UTC')",
    Kind.JSON: "String",
    Kind.STRINGS: "Array(String)",
    Kind.COUNT: "Int64",
    Kind.COST: f"Decimal({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "Bool",
}
MODEL = "JSONExtractString(extra, 'metadata', 'ls_model_name')"


def statements(table: Table) -> list[Statement]:
    """ClickHouse 25.3 and newer, where a database is Atomic or Replicated."""
    return [
        Statement(
            Step.FILES,
            f"{sql.ABOUT_FILES}\nThe view holds the credentials: where others may see it, use a named collection.",
            f"CREATE OR REPLACE VIEW {table.files} AS\nSELECT {sql.listed(table.columns)},\n    year, month, day\n"
            f"FROM {_s3(table, f'*/*/*/{DATA_FILE}')}\nSETTINGS use_hive_partitioning = 1;",
        ),
        Statement(Step.CREATE, "A table to load into, with a partition a day.", _create(table)),
        Statement(Step.LOAD_ALL, sql.about_all(table), _load_all(table)),
        Statement(Step.LOAD_DAY, sql.about_day(table), _load_day(table)),
        *sql.readings(table, table.name, MODEL),
    ]


def _s3(table: Table, name: str) -> str:
    address = _address(table) + name
    if "*" in name:
        address = address.replace("%24", "%3F")  # among wildcards a dollar matches nothing, a question mark any sign
    return f"s3({sql.quoted(address)},\n    '{KEY_ID}', '{SECRET}', 'Parquet')"


def _address(table: Table) -> str:
    key = quote(table.root, safe="/=")
    endpoint = table.endpoint_url or f"https://s3.{table.region or 'YOUR_REGION'}.amazonaws.com"
    if table.virtual_host or (table.endpoint_url is None and "." not in table.bucket):
        return f"{endpoint.replace('://', f'://{table.bucket}.', 1)}/{key}"
    return f"{endpoint.rstrip('/')}/{table.bucket}/{key}"


def _create(table: Table) -> str:
    nullable = {False: "Nullable({})", True: "{}"}
    lines = [f"    {field.name} {nullable[field.required].format(kind)}" for field, kind in table.types(TYPES)]
    lines.append(f"    {DAY} Date32")
    order = [field.name for field in table.fields if field.name in {"start_time", "id"}]
    return (
        f"CREATE TABLE IF NOT EXISTS {table.name} (\n"
        + ",\n".join(lines)
        + f"\n) ENGINE = MergeTree PARTITION BY {DAY} ORDER BY ({', '.join(sorted(order, reverse=True))});"
    )


def _staged(table: Table, select: str, *, rows: int) -> str:
    """The rows in a table of their own, counted."""
    return (
        f"DROP TABLE IF EXISTS {table.stage};\nCREATE TABLE {table.stage} AS {table.name};\n"
        f"INSERT INTO {table.stage} ({sql.listed((*table.columns, DAY))})\n{select}\n"
        f"SELECT throwIf(count() != {rows}, '{sql.expected(rows)}') FROM {table.stage};\n"
    )


def _load_all(table: Table) -> str:
    select = (
        f"SELECT {sql.listed(table.columns)},\n    makeDate32(year, month, day)\nFROM {table.files}\n"
        "SETTINGS max_partitions_per_insert_block = 0;"
    )
    return (
        _staged(table, select, rows=table.rows)
        + f"EXCHANGE TABLES {table.stage} AND {table.name};\nDROP TABLE {table.stage};"
    )


def _load_day(table: Table) -> str:
    day = table.wanted.day
    if not table.wanted.rows:
        return f"ALTER TABLE {table.name} DROP PARTITION '{day}';"
    select = (
        f"SELECT {sql.listed(table.columns)},\n    toDate32('{day}')\nFROM {_s3(table, table.file)}\n"
        "SETTINGS use_hive_partitioning = 0;"
    )
    return (
        _staged(table, select, rows=table.wanted.rows)
        + f"ALTER TABLE {table.name} REPLACE PARTITION '{day}' FROM {table.stage};\nDROP TABLE {table.stage};"
    )

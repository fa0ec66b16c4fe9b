"""Redshift: a Spectrum table over the files, a table to copy into."""

from export_pipeline.files.paths import day_folder
from export_pipeline.files.statements import sql
from export_pipeline.files.statements.table import DAY, Day, Statement, Step, Table
from export_pipeline.runs.schema import COST_PRECISION, COST_SCALE, Kind

_TEXT = "VARCHAR(65535)"
_EXTERNAL = {
    Kind.ID: "VARCHAR(36)",
    Kind.TEXT: _TEXT,
    Kind.TIME: "TIMESTAMP",
    Kind.JSON: _TEXT,
    Kind.STRINGS: f"ARRAY<{_TEXT}>",
    Kind.COUNT: "BIGINT",
    Kind.COST: f"DECIMAL({COST_PRECISION}, {COST_SCALE})",
    Kind.FLAG: "BOOLEAN",
}
_LOADED = {**_EXTERNAL, Kind.JSON: "SUPER", Kind.STRINGS: "SUPER"}
MODEL = "JSON_EXTRACT_PATH_TEXT(extra::VARCHAR, 'metadata', 'ls_model_name', TRUE)"
_MOST_PARTITIONS = 100
"""That one ALTER TABLE adds."""


def statements(table: Table) -> list[Statement]:
    """Redshift, provisioned or serverless."""
    name, files = f"llm.{table.name}", f"llm_files.{table.files}"
    return [
        Statement(
            Step.ACCESS,
            sql.about_access(
                table,
                "aws",
                "Schemas. The default IAM role must be allowed to read the bucket, which lies in Redshift's region.",
                reads="Redshift reads S3 of AWS",
            ),
            "CREATE SCHEMA IF NOT EXISTS llm;\nCREATE EXTERNAL SCHEMA IF NOT EXISTS llm_files FROM DATA CATALOG "
            "DATABASE 'llm'\nIAM_ROLE DEFAULT CREATE EXTERNAL DATABASE IF NOT EXISTS;",
        ),
        Statement(
            Step.FILES,
            f"{sql.ABOUT_FILES}\n"
            "Each new day must be added. A text of more than 65,535 bytes fails the query, instead of being null.",
            _files(table, files),
        ),
        Statement(
            Step.CREATE,
            "A table to load into, times in UTC. A text of more than 65,535 bytes goes into SUPER where the parameter\n"
            "enable_large_strings_opt_in is Yes (SELECT is_large_string_enabled()), and fails the load elsewhere.",
            f"CREATE TABLE IF NOT EXISTS {name} (\n{_definitions(table)}\n) SORTKEY ({DAY});",
        ),
        Statement(Step.LOAD_ALL, f"{sql.about_all(table)} {_DIVISION}", _load_all(table, name)),
        _load_day(table, name),
        *sql.readings(table, name, MODEL),
    ]


_DIVISION = "Where the count is wrong, the division by zero ends the transaction."


def _definitions(table: Table) -> str:
    """Errors are texts of any length as well."""
    lines = []
    for field, kind in table.types(_LOADED):
        of = "SUPER" if field.payload else kind
        lines.append(f"    {field.name} {of}{' NOT NULL' if field.required else ''}")
    return ",\n".join([*lines, f"    {DAY} DATE NOT NULL"])


def _files(table: Table, files: str) -> str:
    uri = table.uri_in("aws")
    create = (
        f"CREATE EXTERNAL TABLE {files} (\n{sql.definitions(table, _EXTERNAL, not_null=False)}\n)\n"
        f"PARTITIONED BY (year INT, month INT, day INT)\nSTORED AS PARQUET\nLOCATION {sql.quoted(uri)}\n"
        "TABLE PROPERTIES ('data_cleansing_enabled' = 'true', 'surplus_char_handling' = 'FAIL');"
    )
    days = _with_rows(table)
    at_once = [days[first : first + _MOST_PARTITIONS] for first in range(0, len(days), _MOST_PARTITIONS)]
    return "\n".join([create, *(_add(some, files, uri) for some in at_once)])


def _add(days: list[Day], files: str, uri: str) -> str:
    partitions = [
        f"PARTITION (year = {of.day.year}, month = {of.day.month}, day = {of.day.day})\n"
        f"LOCATION {sql.quoted(f'{uri}{day_folder(of.day)}/')}"
        for of in days
    ]
    return f"ALTER TABLE {files} ADD IF NOT EXISTS\n" + "\n".join(partitions) + ";"


def _with_rows(table: Table) -> list[Day]:
    return [day for day in table.days if day.rows]


def _load_all(table: Table, name: str) -> str:
    """By one COPY; where the rows do not tell their day, by one a day."""
    if table.has("start_time"):
        copies = _copied(table, name, "", f"TRUNC(start_time) AS {DAY}")
    else:
        days = _with_rows(table)
        copies = "".join(_copied(table, name, f"{day_folder(of.day)}/", f"DATE '{of.day}'") for of in days)
    return _replaced(name, "TRUE", copies, rows=table.rows)


def _load_day(table: Table, name: str) -> Statement:
    day = f"DATE '{table.wanted.day}'"
    copies = _copied(table, name, table.folder, day) if table.wanted.rows else ""
    about = f"{sql.about_day(table)} {_DIVISION}"
    return Statement(Step.LOAD_DAY, about, _replaced(name, f"{DAY} = {day}", copies, rows=table.wanted.rows))


def _copied(table: Table, name: str, folder: str, day: str) -> str:
    """COPY takes columns by their place and adds none, so that the rows go through a table like the files."""
    columns, uri = sql.listed(table.columns), table.uri_in("aws") + folder
    return (
        f"CREATE TEMP TABLE {table.stage} AS SELECT {columns}\nFROM {name} LIMIT 0;\n"
        f"COPY {table.stage} FROM {sql.quoted(uri)}\n"
        "IAM_ROLE DEFAULT FORMAT AS PARQUET SERIALIZETOJSON;\n"
        f"INSERT INTO {name} ({columns}, {DAY})\nSELECT {columns},\n    {day}\nFROM {table.stage};\n"
        f"DROP TABLE {table.stage};\n"
    )


def _replaced(name: str, those: str, copies: str, *, rows: int) -> str:
    return (
        f"BEGIN;\nDELETE FROM {name} WHERE {those};\n{copies}"
        f"SELECT count(*) AS runs, 1 / CASE WHEN count(*) = {rows} THEN 1 ELSE 0 END AS as_expected\n"
        f"FROM {name} WHERE {those};\nCOMMIT;"
    )

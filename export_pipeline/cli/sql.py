"""`export-pipeline sql`: the statements that read and load a table elsewhere."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from export_pipeline.cli import output, stores

if TYPE_CHECKING:
    from export_pipeline.exports.control.database import ControlDatabase
    from export_pipeline.exports.control.records import TableRecord


class Target(StrEnum):
    """What statements are made for; listed here because help and wrong usage answer without the statements' modules."""

    BIGQUERY = "bigquery"
    SNOWFLAKE = "snowflake"
    REDSHIFT = "redshift"
    ATHENA = "athena"
    DATABRICKS = "databricks"
    SPARK = "spark"
    CLICKHOUSE = "clickhouse"
    DUCKDB = "duckdb"
    POLARS = "polars"
    PANDAS = "pandas"


def sql(
    target: Annotated[Target, typer.Option("--for", help="The system that reads.", show_default=False)],
    export: Annotated[
        str | None,
        typer.Argument(
            metavar="PROJECT|EXPORT",
            help="A project (name, asset or id), or the id of an export or schedule; without it all projects.",
            show_default=False,
        ),
    ] = None,
    day: Annotated[
        datetime | None,
        typer.Option(
            metavar="DATE", formats=["%Y-%m-%d"], help="The day to load; without it the newest that has rows."
        ),
    ] = None,
    as_json: output.AsJson = False,
) -> None:
    """Print the statements that read a table in another system, and load it there.

    Ready to paste: a table over the files, a table to load into, loading everything, loading one day in place of what
    is there of it, what must come out, queries. Types, columns, place and counts are those of the table; of an export
    with several projects each has one. Credentials are left to be filled in. Reads the control database only.

    Example: export-pipeline sql --for snowflake checkout_bot --day 2026-11-09
    """
    from export_pipeline.exports.proof.readable import readable
    from export_pipeline.files.statements.systems import SYSTEMS, written

    system = SYSTEMS[target.value]
    with stores.open_control(stores.load()) as control:
        tables, left_out = readable(control, _exports(control, export), day=day.date() if day else None)
    for sentence in left_out:
        output.warn(f"Left out: {sentence}")
    if as_json:
        output.print_json(
            [
                {"table": table.name, "step": each.step, "about": each.about, "text": each.text}
                for table in tables
                for each in system.statements(table)
            ]
        )
        return
    print("\n".join(written(system, table) for table in tables), end="")


def _exports(control: "ControlDatabase", named: str | None) -> "list[TableRecord]":
    from export_pipeline.exports.bulk.read import tables_of_schedule
    from export_pipeline.exports.projects.standing import list_tables
    from export_pipeline.runs.ids import parse_uuid

    if named is not None:
        as_uuid = parse_uuid(named)
        spawned = [] if as_uuid is None else tables_of_schedule(control, as_uuid)
        return spawned or stores.find_tables(control, named)
    return [export for export in list_tables(control) if export.superseded_at is None]

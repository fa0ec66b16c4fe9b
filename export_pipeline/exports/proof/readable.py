"""What readers are told of tables: their place, their columns, their committed days."""

from collections.abc import Iterable
from datetime import date
from urllib.parse import urlsplit, urlunsplit

from export_pipeline.errors import InputError, NotFoundError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord, TableRecord, read_days
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.destinations.records import read_destination
from export_pipeline.exports.projects.registry import project_by_session
from export_pipeline.files.paths import project_root
from export_pipeline.files.statements.table import Day, Table
from export_pipeline.runs.schema import select_fields

_LONGEST_NAME = 80


def readable(
    control: ControlDatabase, exports: Iterable[TableRecord], *, day: date | None = None
) -> tuple[list[Table], list[str]]:
    """The tables that have rows, and a sentence on each that has none.

    The day to be loaded is `day`, else the newest that has rows. Raises `InputError` where no table is left.
    """
    tables, left_out = [], []
    with control.read() as transaction:
        for table in exports:
            project = project_by_session(transaction, table.session_id, tenant_id=table.tenant_id)
            of = _called(table, project)
            days = [
                Day(record.day, record.rows or 0)
                for record in read_days(transaction, table.export_id)
                if record.committed
            ]
            with_rows = [day_record for day_record in days if day_record.rows]
            wanted = (
                next((day_record for day_record in days if day_record.day == day), None)
                if day
                else next(reversed(with_rows), None)
            )
            if not with_rows or wanted is None:
                left_out.append(
                    f"{of}: {f'{day} is not exported' if with_rows else 'no day with rows is exported yet'}"
                )
                continue
            tables.append(_table(transaction, table, project, of=of, days=days, wanted=wanted))
    if not tables:
        raise InputError(
            "; ".join(left_out) or "no project is exported yet; `export-pipeline status` says what is missing"
        )
    return tables, left_out


def _table(
    transaction: Transaction,
    table: TableRecord,
    project: ProjectRecord | None,
    *,
    of: str,
    days: list[Day],
    wanted: Day,
) -> Table:
    endpoint_url, virtual_host = _endpoint(transaction, table)
    return Table(
        name=_name(table, project),
        about=of,
        bucket=table.bucket,
        root=project_root(table.prefix, table.layout_id, table.tenant_id, table.session_id, table.format_version),
        region=table.region,
        endpoint_url=endpoint_url,
        virtual_host=virtual_host,
        fields=select_fields(table.fields),
        format_version=table.format_version,
        days=tuple(days),
        wanted=wanted,
    )


def _name(table: TableRecord, project: ProjectRecord | None) -> str:
    """That of the project's asset, with the export's id where it is not the project's current table."""
    name = f"runs_{table.session_id.hex[:8] if project is None else project.asset_name}"
    is_current = table.bulk_id is None and table.superseded_at is None
    return name if is_current else f"{name}_{table.layout_id.hex[:8]}"


def _called(table: TableRecord, project: ProjectRecord | None) -> str:
    name = "" if project is None else f" {_on_one_line(project.name)}"
    return f"project{name} ({table.session_id}), export {table.layout_id}"


def _on_one_line(text: str) -> str:
    """Without what would end a comment or steer a terminal."""
    shown = "".join(sign if sign.isprintable() else " " for sign in text)
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[: _LONGEST_NAME - 1]}…"


def _endpoint(transaction: Transaction, table: TableRecord) -> tuple[str | None, bool]:
    """The endpoint without the bucket, and whether the bucket's name goes before its host."""
    if table.endpoint_url is None or table.destination_id is None:
        return table.endpoint_url, False
    try:
        config = read_destination(transaction, table.destination_id, tenant_id=None).config
    except NotFoundError:
        return table.endpoint_url, False
    if config.include_bucket_in_prefix:
        return table.endpoint_url, config.config_kwargs_s3.addressing_style == "virtual"
    parts = urlsplit(table.endpoint_url)
    return urlunsplit(parts._replace(netloc=parts.netloc.removeprefix(f"{table.bucket}."))), True

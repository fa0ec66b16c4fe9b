"""Reads committed days back from the bucket, for downstream assets."""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from export_pipeline.errors import InputError
from export_pipeline.orchestration.parts import Parts
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    import polars as pl

    from export_pipeline.exports.control.records import DayRecord, ExportRecord


def committed_frame(
    parts: Parts, *, asset_name: str, days: Sequence[date], allow_missing: bool = False
) -> "pl.LazyFrame":
    """A LazyFrame over the committed files of a project's days; nothing is read before it is collected.

    Days without rows have no file and add none; where no day has any the frame is empty, with the columns of the
    export. Raises `InputError` that names the days that were never exported, unless `allow_missing`, and for an
    asset that is no project's.
    """
    import polars as pl

    from export_pipeline.files.paths import data_key
    from export_pipeline.runs.schema import polars_schema, select_fields

    export, records = _committed(parts, asset_name, days)
    if export is None or (missing := [day for day in days if day not in records]):
        if not allow_missing:
            raise InputError(_never_exported(asset_name, days if export is None else missing))
        if export is None:
            return pl.LazyFrame(schema=polars_schema(select_fields(), parts.settings.format_version))
    files = [
        f"s3://{export.bucket}/{data_key(export.prefix, export.key(day), export.format_version)}"
        for day in sorted(records)
        if records[day].rows
    ]
    if not files:
        return pl.LazyFrame(schema=polars_schema(select_fields(export.fields), export.format_version))
    return pl.scan_parquet(files, hive_partitioning=False, storage_options=storage_options(parts.settings))


def storage_options(settings: Settings) -> dict[str, Any]:
    """What Polars needs to read the destination's bucket; without keys it takes the process's own, as boto3 does."""
    options: dict[str, str | None] = {
        "aws_region": settings.region or ("us-east-1" if settings.endpoint_url else None),
        "aws_endpoint_url": settings.endpoint_url,
        "aws_allow_http": "true" if settings.private_endpoints else None,
        "aws_access_key_id": settings.access_key_id,
        "aws_secret_access_key": settings.secret_access_key.get_secret_value() if settings.secret_access_key else None,
        "aws_session_token": settings.session_token.get_secret_value() if settings.session_token else None,
    }
    return {name: value for name, value in options.items() if value is not None}


def _committed(
    parts: Parts, asset_name: str, days: Sequence[date]
) -> "tuple[ExportRecord | None, dict[date, DayRecord]]":
    from export_pipeline.exports.control.records import read_days
    from export_pipeline.exports.projects.registry import list_projects
    from export_pipeline.exports.projects.standing import current_export

    parts.control.check_schema()
    known = {p.asset_name: p for p in list_projects(parts.control, only_assets=False, settings=parts.settings)}
    if asset_name not in known:
        raise InputError(f"there is no project with the asset runs/{asset_name}")
    export = current_export(parts.control, known[asset_name], parts.settings)
    if export is None or not days:
        return export, {}
    with parts.control.read() as connection:
        found = read_days(connection, export.export_id, first=min(days), last=max(days))
    wanted = set(days)
    return export, {record.day: record for record in found if record.committed and record.day in wanted}


def _never_exported(asset_name: str, days: Sequence[date]) -> str:
    shown = ", ".join(str(day) for day in sorted(days)[:10]) + (", …" if len(days) > 10 else "")
    return f"{len(days)} days of runs/{asset_name} were never exported: {shown}; materialize them first"

"""Reads committed days back from the bucket, for downstream assets."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from export_pipeline.errors import InputError
from export_pipeline.orchestration.parts import Parts
from export_pipeline.settings import Settings

_LOOKS_AT_ONCE = 16
_BLOCK_BYTES = 8 * 1024 * 1024

if TYPE_CHECKING:
    import polars as pl

    from export_pipeline.exports.control.records import DayRecord, ExportRecord
    from export_pipeline.object_store.protocol import ObjectInfo


def committed_frame(
    parts: Parts, *, asset_name: str, days: Sequence[date], allow_missing: bool = False
) -> "pl.LazyFrame":
    """A LazyFrame over the committed files of a project's days; no row is read before it is collected.

    Days without rows have no file and add none; where no day has any the frame is empty, with the columns of the
    export. Raises `InputError` that names the days that were never exported, unless `allow_missing`, and for an
    asset that is no project's; `ForeignCommitError` where a file is not the one that was committed.
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
    keys = {
        day: data_key(export.prefix, export.key(day), export.format_version)
        for day in sorted(records)
        if records[day].rows
    }
    if not keys:
        return pl.LazyFrame(schema=polars_schema(select_fields(export.fields), export.format_version))
    _refuse_others(parts, export, keys)
    files = [f"s3://{export.bucket}/{key}" for key in keys.values()]
    return pl.scan_parquet(files, hive_partitioning=False, storage_options=storage_options(parts.settings))


def _refuse_others(parts: Parts, export: "ExportRecord", keys: Mapping[date, str]) -> None:
    """Raises `ForeignCommitError` where an object is not the one that was committed, by size, and by ETag or hash.

    Whoever can write to the bucket can put a file there that unpacks to more than the memory there is. A day that is
    exported meanwhile is looked at once more.
    """
    from concurrent.futures import ThreadPoolExecutor

    from export_pipeline.errors import ForeignCommitError

    with ThreadPoolExecutor(_LOOKS_AT_ONCE, thread_name_prefix="look") as pool:
        for (day, key), same in zip(keys.items(), pool.map(partial(_is_committed, parts, export), keys), strict=True):
            if not same:
                raise ForeignCommitError(
                    f"{day}: {key} is not the file that was committed; `export-pipeline verify {export.export_id}` "
                    "says what is there"
                )


def _is_committed(parts: Parts, export: "ExportRecord", day: date) -> bool:
    from export_pipeline.exports.control.records import read_commit
    from export_pipeline.files.paths import data_key

    key = data_key(export.prefix, export.key(day), export.format_version)
    for _ in range(2):
        found = parts.store.stat(key)
        with parts.control.read() as connection:
            commit = read_commit(connection, export.export_id, day)
        file = None if commit is None else commit["file"]
        if file is None or found is None:
            continue
        if found.size == file["bytes"] and (found.etag == file["etag"] or _has_sha256(parts, found, file["sha256"])):
            return True
    return False


def _has_sha256(parts: Parts, found: "ObjectInfo", expected: str) -> bool:
    """Whether the object's bytes have this hash: a bucket that was copied has other ETags."""
    digest = hashlib.sha256()
    for start in range(0, found.size, _BLOCK_BYTES):
        digest.update(parts.store.read(found.key, start, min(start + _BLOCK_BYTES, found.size)))
    return digest.hexdigest() == expected


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

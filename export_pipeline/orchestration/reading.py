"""Reads committed days back from the bucket, for downstream assets."""

from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

from export_pipeline.errors import InputError
from export_pipeline.orchestration.parts import Parts

if TYPE_CHECKING:
    import polars as pl

    from export_pipeline.exports.control.records import DayRecord, ExportRecord
    from export_pipeline.exports.proof.scan import CommittedFile


def committed_frame(
    parts: Parts, *, asset_name: str, days: Sequence[date], allow_missing: bool = False
) -> "pl.LazyFrame":
    """A LazyFrame over the committed files of a project's days; no row is read before it is collected.

    Days without rows have no file and add none; where no day has any the frame is empty, with the columns of the
    export. Raises `InputError` that names the days that were never exported, unless `allow_missing`, and for an
    asset that is no project's; `ForeignCommitError` where a file is not the one that was committed.
    """
    from export_pipeline.exports.proof.scan import empty_frame, scan_committed
    from export_pipeline.files.paths import data_key
    from export_pipeline.runs.schema import DEFAULT_FIELDS

    export, records = _committed(parts, asset_name, days)
    if export is None or (missing := [day for day in days if day not in records]):
        if not allow_missing:
            raise InputError(_never_exported(asset_name, days if export is None else missing))
        if export is None:
            return empty_frame(DEFAULT_FIELDS, parts.settings.format_version)
    keys = {
        day: data_key(export.prefix, export.key(day), export.format_version)
        for day in sorted(records)
        if records[day].rows
    }
    return scan_committed(
        parts.store,
        keys,
        partial(_file_of, parts, export),
        export_id=export.export_id,
        fields=export.fields,
        format_version=export.format_version,
    )


def _file_of(parts: Parts, export: "ExportRecord", day: date) -> "CommittedFile | None":
    from export_pipeline.exports.control.records import read_commit
    from export_pipeline.exports.proof.scan import CommittedFile

    with parts.control.read() as connection:
        commit = read_commit(connection, export.export_id, day)
    file = None if commit is None else commit["file"]
    return None if file is None else CommittedFile(file["bytes"], file["etag"], file["sha256"])


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

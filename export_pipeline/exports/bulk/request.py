"""What a bulk export is asked for with, and the rules that need no database."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from export_pipeline.errors import InputError
from export_pipeline.runs.filter import parse_filter
from export_pipeline.runs.schema import FormatVersion, select_fields
from export_pipeline.runs.times import microseconds
from export_pipeline.settings import Compression

LONGEST_WINDOW = timedelta(days=36_525)
MOST_HOURS = 168


@dataclass(frozen=True)
class BulkExportRequest:
    """What a person asks for: one project or all experiments, a window or a repetition, and the form of the files.

    Times without a zone are UTC; `start` is included, `end` is not. `export_fields` None: the 29 default columns.
    """

    destination_id: uuid.UUID
    start: datetime
    end: datetime | None = None
    session_id: uuid.UUID | None = None
    all_experiments: bool = False
    filter: str | None = None
    format_version: FormatVersion = "v1"
    compression: Compression = "zstandard"
    export_fields: Sequence[str] | None = None
    interval_hours: int | None = None
    reexport_late: bool = False


def row_values(request: BulkExportRequest) -> dict[str, Any]:
    """The columns of `bulk_exports` that a request decides on; raises `InputError` that names the wrong field."""
    if (request.session_id is None) == (not request.all_experiments):
        raise InputError("Give exactly one of session_id and all_experiments.")
    start, end = in_utc(request.start), None if request.end is None else in_utc(request.end)
    _refuse_times(start, end, interval_hours=request.interval_hours)
    if request.reexport_late and request.interval_hours is None:
        raise InputError("reexport_late needs interval_hours: it is for scheduled exports.")
    _refuse_unknown("format_version", request.format_version, get_args(FormatVersion))
    _refuse_unknown("compression", request.compression, get_args(Compression))
    fields = None
    if request.export_fields is not None:
        fields = [field.name for field in select_fields(request.export_fields)]
    return {
        "destination_id": request.destination_id,
        "session_id": request.session_id,
        "all_experiments": request.all_experiments,
        "start_at": microseconds(start),
        "end_at": None if end is None else microseconds(end),
        "filter": None if request.filter is None else str(parse_filter(request.filter)),
        "format_version": request.format_version,
        "compression": request.compression,
        "export_fields": fields,
        "interval_hours": request.interval_hours,
        "reexport_late": request.reexport_late,
    }


def _refuse_times(start: datetime, end: datetime | None, *, interval_hours: int | None) -> None:
    if interval_hours is not None:
        if not 1 <= interval_hours <= MOST_HOURS:
            raise InputError(f"interval_hours is from 1 to {MOST_HOURS}, not {interval_hours}.")
        if end is not None:
            raise InputError("Give either end_time or interval_hours: a scheduled export has no end_time.")
        return
    if end is None:
        raise InputError("end_time is missing; only a scheduled export, with interval_hours, has none.")
    if end <= start:
        raise InputError(f"end_time {end.isoformat()} is not after start_time {start.isoformat()}.")
    if end - start > LONGEST_WINDOW:
        raise InputError(f"The window from start_time to end_time is longer than {LONGEST_WINDOW.days:,} days.")


def _refuse_unknown(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{name} is one of {', '.join(known)}, not {value!r}.")


def in_utc(moment: datetime) -> datetime:
    """A time in UTC; without a zone it is that already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

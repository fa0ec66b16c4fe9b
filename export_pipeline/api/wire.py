"""What the wire's values are made of: times, enums, and the base of all bodies."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from export_pipeline.runs.times import instant


class Body(BaseModel):
    """A body of a request or an answer; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", use_enum_values=True, validate_default=True)


def _utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies outside the years 1 to 9999") from None


Time = Annotated[datetime, AfterValidator(_utc), PlainSerializer(datetime.isoformat, return_type=str, when_used="json")]
"""A time; one without a zone is UTC, and answers have +00:00."""


Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0)]

_LARGEST_OFFSET = 2**62


def offset_within(offset: int) -> int:
    """An offset that a database can take; beyond it there is nothing in any case."""
    return min(offset, _LARGEST_OFFSET)


def time_of(value: int | None) -> datetime | None:
    """Control database microseconds as a time."""
    return None if value is None else instant(value)


def _any_case(enum: type[StrEnum]) -> Callable[[Any], Any]:
    known = {member.value.lower(): member.value for member in enum}
    return lambda value: known.get(value.lower(), value) if isinstance(value, str) else value


class BulkExportStatus(StrEnum):
    """Where an export is."""

    CANCELLED = "Cancelled"
    COMPLETED = "Completed"
    CREATED = "Created"
    INTERVAL_SCHEDULED = "IntervalScheduled"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    RUNNING = "Running"


class BulkExportRunStatus(StrEnum):
    """Where a run of an export is."""

    CANCELLED = "Cancelled"
    COMPLETED = "Completed"
    CREATED = "Created"
    FAILED = "Failed"
    TIMED_OUT = "TimedOut"
    RUNNING = "Running"


class BulkExportUpdatableStatus(StrEnum):
    """What the status of an export can be set to."""

    CANCELLED = "Cancelled"


class BulkExportFormat(StrEnum):
    """The format of files."""

    PARQUET = "Parquet"


class BulkExportFormatVersion(StrEnum):
    """The layout of files and folders."""

    V1 = "v1"
    V2_BETA = "v2_beta"


class BulkExportCompression(StrEnum):
    """The compression of files."""

    NONE = "none"
    GZIP = "gzip"
    SNAPPY = "snappy"
    ZSTANDARD = "zstandard"


class BulkExportDestinationType(StrEnum):
    """The kinds of destinations."""

    S3 = "s3"


AnyCaseUpdatableStatus = Annotated[BulkExportUpdatableStatus, BeforeValidator(_any_case(BulkExportUpdatableStatus))]
"""Tolerant of `CANCELLED`."""

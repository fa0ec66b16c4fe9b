"""The days as Dagster partitions: one definition that all assets share."""

from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg

from export_pipeline.errors import InputError

DAYS_PER_RUN = 31
"""The most days that one run of a backfill or of the schedule holds."""

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
_PARTITION_TAG = "dagster/partition"


def daily_partitions(start: date) -> dg.DailyPartitionsDefinition:
    """Every UTC day from `start` that is over."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=0)


def days_of_run(tags: Mapping[str, str], *, start: date, today: date) -> tuple[date, ...]:
    """The days that a run's tags ask for, oldest first.

    Raises `InputError` where one of them is no partition: a day before `start`, today, the future.
    Dagster itself checks keys that come through the UI and the CLI but not those in tags, and where a key has no
    partition it hands the IO manager none and calls the run a success.
    """
    single = tags.get(_PARTITION_TAG)
    first, last = tags.get(RANGE_START_TAG, single), tags.get(RANGE_END_TAG, single)
    if first is None or last is None:
        raise InputError("no day was asked for; choose a partition such as 2026-03-01, or a range of them")
    days = _span(first, last)
    for day in (days[0], days[-1]):
        if day < start:
            raise InputError(f"{day} is no partition: the first one is {start}, see EXPORT_PIPELINE_START_DATE")
        if day >= today:
            raise InputError(
                f"{day} is no partition yet: a day can be exported when it is over in UTC; the last one is "
                f"{today - timedelta(days=1)}"
            )
    return days


def _span(first: str, last: str) -> tuple[date, ...]:
    try:
        start, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise InputError(f"{first!r} to {last!r}: a partition is a day such as 2026-03-01") from None
    if end < start:
        raise InputError(f"the range from {first} to {last} ends before it starts")
    return tuple(start + timedelta(days=offset) for offset in range((end - start).days + 1))

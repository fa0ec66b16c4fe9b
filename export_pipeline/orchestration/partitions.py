"""The days as Dagster partitions: one definition that all assets share."""

from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg

from export_pipeline.errors import InputError
from export_pipeline.exports.projects.planning import refuse_outside

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
_PARTITION_TAG = "dagster/partition"


def daily_partitions(start: date) -> dg.DailyPartitionsDefinition:
    """Every UTC day from `start` that is over."""
    return dg.DailyPartitionsDefinition(start_date=start.isoformat(), timezone="UTC", end_offset=0)


def days_of_run(tags: Mapping[str, str], *, start: date, today: date) -> tuple[date, ...]:
    """The days that a run's tags ask for, oldest first.

    Raises `InputError` with a sentence where one of them is no partition: a day before `start`, today, the future.
    Dagster itself checks keys that come through the UI and the CLI but not those in tags, and where a key has no
    partition it hands the IO manager none and calls the run a success.
    """
    single = tags.get(_PARTITION_TAG)
    first, last = tags.get(RANGE_START_TAG, single), tags.get(RANGE_END_TAG, single)
    if first is None or last is None:
        raise InputError("no day was asked for; choose a partition such as 2026-03-01, or a range of them")
    try:
        begin, end = date.fromisoformat(first), date.fromisoformat(last)
    except ValueError:
        raise InputError(f"{first!r} to {last!r}: a partition is a day such as 2026-03-01") from None
    refuse_outside(begin, end, start=start, today=today)
    return tuple(begin + timedelta(days=offset) for offset in range((end - begin).days + 1))

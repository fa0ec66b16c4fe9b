"""What the sensor for late days starts, as pure functions: which days go into one run, and when one is tried again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from export_pipeline.exports.projects.late import LateDay, change_of, reason
from export_pipeline.exports.projects.planning import DayRange, day_ranges

MOST_ATTEMPTS = 5
_FIRST_PAUSE = timedelta(minutes=10)


@dataclass(frozen=True)
class LateRange:
    """Days in a row of one export that are read again together; `change` names what has changed in them."""

    days: DayRange
    change: str
    reason: str


@dataclass(frozen=True)
class Attempt:
    """An earlier run for the same change. `ended` is None while it is queued or runs."""

    succeeded: bool
    canceled: bool
    ended: datetime | None


def late_ranges(late: Iterable[LateDay]) -> list[LateRange]:
    """The ranges, oldest first. A day whose last attempt failed goes alone, so that it does not hold others up."""
    days = {day.day: day for day in late}
    alone = [DayRange(day.day, day.day) for day in days.values() if day.failed]
    together = day_ranges(day.day for day in days.values() if not day.failed)
    found = []
    for span in sorted([*alone, *together]):
        inside = [day for at, day in sorted(days.items()) if span.first <= at <= span.last]
        found.append(LateRange(span, change_of(inside), reason(inside)))
    return found


def next_attempt(earlier: Sequence[Attempt], *, now: datetime) -> int | None:
    """The number of the attempt to be started now, from 0 on, or None where none is.

    A change is read once where that succeeds. After a failure it is tried again, with growing pauses; a person's
    cancel is final.
    """
    if any(attempt.succeeded or attempt.canceled or attempt.ended is None for attempt in earlier):
        return None
    if not earlier:
        return 0
    if is_given_up(earlier):
        return None
    last = max(attempt.ended for attempt in earlier if attempt.ended is not None)
    return len(earlier) if now >= last + _FIRST_PAUSE * 3 ** (len(earlier) - 1) else None


def is_given_up(earlier: Sequence[Attempt]) -> bool:
    """Whether every attempt failed and no other one is made for this change."""
    return len(earlier) >= MOST_ATTEMPTS and all(
        attempt.ended is not None and not attempt.succeeded and not attempt.canceled for attempt in earlier
    )

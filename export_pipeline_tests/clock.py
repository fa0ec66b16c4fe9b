"""The day turns at any moment, also while a test runs: what tests do about it."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TypeVar

Found = TypeVar("Found")


def today() -> date:
    """The day that it is, UTC."""
    return datetime.now(UTC).date()


def days_over(since: date) -> int:
    """How many days from one on are over by now: the partitions that begin with it."""
    return (today() - since).days


def on_one_day(look: Callable[[date], Found]) -> Found:
    """What `look` finds, given today's date; it looks again where the day has turned meanwhile."""
    while True:
        day = today()
        found = look(day)
        if today() == day:
            return found


def half_a_day_away() -> str:
    """A time of day for `DAILY_AT` at which no schedule starts, and by which no day becomes overdue, during a test."""
    return f"{datetime.now(UTC) + timedelta(hours=12):%H:%M}"

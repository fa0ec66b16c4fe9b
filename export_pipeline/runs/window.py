"""Half-open stretches of UTC time, and the days in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta


@dataclass(frozen=True, order=True)
class Window:
    """The instants `start <= t < end`, both aware and in UTC."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for value in (self.start, self.end):
            if value.utcoffset() != timedelta(0):
                raise ValueError(f"a window needs times in UTC, not {value.isoformat()}")
        if self.end <= self.start:
            raise ValueError(f"a window must end after it starts: {self}")

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"

    @classmethod
    def of_day(cls, day: date) -> "Window":
        """The 24 hours of a UTC day."""
        start = datetime.combine(day, time(), tzinfo=UTC)
        return cls(start, start + timedelta(days=1))

    @classmethod
    def of_days(cls, first: date, last: date) -> "Window":
        """All of the UTC days from `first` to `last`, both included."""
        return cls(cls.of_day(first).start, cls.of_day(last).end)

    @property
    def day_count(self) -> int:
        """How many UTC days the window touches."""
        return ((self.end - timedelta(microseconds=1)).date() - self.start.date()).days + 1

    def days(self) -> Iterator["DayWindow"]:
        """The UTC days that the window touches, oldest first, each cut at the window's ends."""
        day = self.start.date()
        while (whole := Window.of_day(day)).start < self.end:
            yield DayWindow(day, Window(max(self.start, whole.start), min(self.end, whole.end)))
            day += timedelta(days=1)


@dataclass(frozen=True, order=True)
class DayWindow:
    """A UTC day and the part of it that is exported."""

    day: date
    window: Window

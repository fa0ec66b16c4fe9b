"""Which days are to be exported: pure functions over days, and the one query that they start from."""

import uuid
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import sqlalchemy as sa

from export_pipeline.errors import InputError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.control.tables import days
from export_pipeline.exports.projects.standing import current_table
from export_pipeline.settings import PREFIX, Settings

LONGEST_RANGE = 31
"""Days that one run holds at most."""

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True, order=True)
class DayRange:
    """All days from `first` to `last`, both included."""

    first: date
    last: date

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first} to {self.last}"


def days_to_export(first: date, last: date, completed: Container[date]) -> list[date]:
    """The days from `first` to `last`, both included, that are not completed; oldest first."""
    days_between = (first + timedelta(days=offset) for offset in range((last - first).days + 1))
    return [day for day in days_between if day not in completed]


def day_ranges(wanted: Iterable[date], *, longest: int = LONGEST_RANGE, newest_first: bool = False) -> list[DayRange]:
    """The days as ranges without holes of at most `longest` days, in the order in which they are to be exported.

    Ranges are full where they come first: counted from the newest day where `newest_first`.
    """
    step = -_ONE_DAY if newest_first else _ONE_DAY
    stretches: list[list[date]] = []
    for day in sorted(set(wanted), reverse=newest_first):
        if stretches and day - stretches[-1][-1] == step and len(stretches[-1]) < longest:
            stretches[-1].append(day)
        else:
            stretches.append([day])
    return [DayRange(min(stretch), max(stretch)) for stretch in stretches]


def refuse_outside(first: date, last: date, *, start: date, today: date) -> None:
    """Raises `InputError` unless the days from `first` to `last` are partitions: not before `start`, over by now."""
    if last < first:
        raise InputError(f"the days {first} to {last} end before they begin")
    if first < start:
        raise InputError(f"{first} is before the first day {start}, which {PREFIX}START_DATE set at the first sync")
    if last >= today:
        over = "lies in the future" if last > today else "is not over yet"
        raise InputError(f"{last} {over} (UTC); the newest day that can be exported is {today - _ONE_DAY}")


def completed_days(control: ControlDatabase, project: ProjectRecord, settings: Settings) -> set[date]:
    """The days of the project that need nothing; none where the settings name a table that has not begun."""
    table = current_table(control, project, settings)
    return set() if table is None else completed_days_of(control, table.export_id)


def completed_days_of(control: ControlDatabase, export_id: uuid.UUID) -> set[date]:
    """The days of an export with a finished commit, empty ones too, and no commit that was decided on since.

    A commit that `recover` found damaged is not a finished one.
    """
    query = sa.select(days.c.day).where(
        days.c.export_id == export_id, days.c.completed_at.is_not(None), days.c.intent.is_(None)
    )
    with control.read() as transaction:
        return set(transaction.execute(query).scalars())

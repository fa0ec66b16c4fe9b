"""Which days are exported, in which runs, and which are overdue."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from export_pipeline.errors import InputError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import days, projects
from export_pipeline.exports.projects.planning import (
    DayRange,
    completed_days,
    day_ranges,
    days_to_export,
    refuse_outside,
)
from export_pipeline.exports.projects.registry import find_project, sync_projects
from export_pipeline.exports.projects.standing import standing_table
from export_pipeline.exports.watch.overdue import last_due, progress
from export_pipeline.settings import Settings
from export_pipeline_tests.control_rows import known_for_years
from export_pipeline_tests.exports.conftest import MakeSettings, project
from export_pipeline_tests.exports.memory_source import MemorySource

D = date(2026, 3, 1)


def day(offset: int) -> date:
    return D + timedelta(days=offset)


def overdue_days(
    control: ControlDatabase, settings: Settings, *, now: datetime | None = None
) -> dict[str, tuple[date, ...]]:
    return {found.project.asset_name: found.overdue for found in progress(control, settings, now=now)}


def test_every_day_that_is_not_completed_is_to_be_exported() -> None:
    assert days_to_export(D, day(4), {day(1), day(3), day(9)}) == [D, day(2), day(4)]
    assert days_to_export(D, D, set()) == [D]
    assert days_to_export(D, D, {D}) == []
    assert days_to_export(day(1), D, set()) == []


def test_days_go_into_ranges_without_holes() -> None:
    wanted = [day(5), D, day(1), day(2), day(1)]
    assert day_ranges(wanted) == [DayRange(D, day(2)), DayRange(day(5), day(5))]
    assert day_ranges(wanted, newest_first=True) == [DayRange(day(5), day(5)), DayRange(D, day(2))]
    assert day_ranges([]) == []


def test_the_ranges_that_come_first_are_full() -> None:
    wanted = [day(offset) for offset in range(40)]
    assert day_ranges(wanted) == [DayRange(D, day(30)), DayRange(day(31), day(39))]
    assert day_ranges(wanted, newest_first=True) == [DayRange(day(9), day(39)), DayRange(D, day(8))]
    assert [str(stretch) for stretch in day_ranges(wanted, longest=39)] == ["2026-03-01 to 2026-04-08", "2026-04-09"]


@given(st.sets(st.integers(0, 120)), st.integers(1, 31), st.booleans())
def test_ranges_hold_exactly_the_days(offsets: set[int], longest: int, newest_first: bool) -> None:
    ranges = day_ranges([day(offset) for offset in offsets], longest=longest, newest_first=newest_first)
    held = [stretch.first + timedelta(days=offset) for stretch in ranges for offset in range(len(stretch))]
    assert sorted(held) == sorted(day(offset) for offset in offsets)
    assert all(1 <= len(stretch) <= longest for stretch in ranges)
    assert ranges == sorted(ranges, reverse=newest_first)


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        (day(-1), D, "2026-02-28 is before the first day 2026-03-01"),
        (D, day(10), r"2026-03-11 is not over yet \(UTC\); the newest day that can be exported is 2026-03-10"),
        (D, day(11), r"2026-03-12 lies in the future \(UTC\)"),
        (day(2), day(1), "the days 2026-03-03 to 2026-03-02 end before they begin"),
    ],
)
def test_days_that_are_no_partitions_are_refused(first: date, last: date, text: str) -> None:
    with pytest.raises(InputError, match=text):
        refuse_outside(first, last, start=D, today=day(10))


def test_days_that_are_partitions_are_not_refused() -> None:
    refuse_outside(D, day(9), start=D, today=day(10))


def test_a_day_is_due_an_hour_after_its_schedule(make_settings: MakeSettings) -> None:
    settings = make_settings(daily_at="02:15")
    assert last_due(datetime(2026, 3, 10, 3, 14, tzinfo=UTC), settings) == date(2026, 3, 8)
    assert last_due(datetime(2026, 3, 10, 3, 15, tzinfo=UTC), settings) == date(2026, 3, 9)
    assert last_due(datetime(2026, 3, 10, 23, 59, tzinfo=UTC), settings) == date(2026, 3, 9)


NOW = datetime(2026, 3, 6, 12, tzinfo=UTC)


def test_overdue_days_are_those_that_are_not_completed(
    control: ControlDatabase, make_settings: MakeSettings, source: MemorySource
) -> None:
    settings = make_settings(start_date=D)
    source.listed.append(project("quiet", 2))
    sync_projects(control, source, settings)
    known_for_years(control)
    chatbot = find_project(control, "chatbot")
    export = standing_table(control, chatbot, settings)
    done: dict[str, Any] = {"status": "Completed", "commit_epoch": 1, "rows": 5, "bytes": 10, "completed_at": 1}
    rows: dict[int, dict[str, Any]] = {
        0: done,
        1: {**done, "error": "the source now has fewer rows"},
        2: {"status": "Failed", "error": "the bucket is gone"},
        3: {**done, "status": "Running"},
        4: {**done, "status": "Failed", "intent": {"epoch": 2}},
    }
    with control.begin() as connection:
        for offset, values in rows.items():
            base = {"export_id": str(export.export_id), "day": day(offset), "epoch": 1, "updated_at": 0}
            connection.execute(sa.insert(days).values(**base, **values))
    assert overdue_days(control, settings, now=NOW) == {
        "chatbot": (day(2), day(4)),
        "quiet": tuple(day(offset) for offset in range(5)),
    }
    assert completed_days(control, chatbot, settings) == {day(0), day(1), day(3)}
    first, second = progress(control, settings, now=NOW)
    assert (first.project.name, first.table, first.newest_completed) == ("chatbot", export, day(3))
    assert first.errors == {day(1): "the source now has fewer rows", day(2): "the bucket is gone"}
    assert (first.days, first.rows, first.bytes) == (4, 20, 40)
    assert [str(stretch) for stretch in second.overdue_ranges] == ["2026-03-01 to 2026-03-05"]
    assert (second.table, second.newest_completed, second.days) == (None, None, 0)


def test_a_new_table_has_no_completed_days(
    control: ControlDatabase, make_settings: MakeSettings, source: MemorySource
) -> None:
    settings = make_settings(start_date=D)
    sync_projects(control, source, settings)
    known_for_years(control)
    chatbot = find_project(control, "chatbot")
    standing_table(control, chatbot, settings)
    changed = make_settings(start_date=D, prefix="new")
    assert completed_days(control, chatbot, changed) == set()
    assert len(overdue_days(control, changed, now=NOW)["chatbot"]) == 5


def test_a_project_has_no_overdue_days_before_a_schedule_could_have_exported_them(
    control: ControlDatabase, make_settings: MakeSettings, source: MemorySource
) -> None:
    sync_projects(control, source, make_settings(start_date=D))
    with control.begin() as connection:
        seen = int(datetime(2026, 3, 5, 9, tzinfo=UTC).timestamp() * 1_000_000)
        connection.execute(sa.update(projects).values(first_seen_at=seen))
    settings = make_settings(start_date=D, daily_at="10:00")
    assert overdue_days(control, settings, now=datetime(2026, 3, 5, 10, 59, tzinfo=UTC)) == {"chatbot": ()}
    assert len(overdue_days(control, settings, now=datetime(2026, 3, 5, 11, 0, tzinfo=UTC))["chatbot"]) == 4
    settings = make_settings(start_date=D, daily_at="08:00")
    assert overdue_days(control, settings, now=datetime(2026, 3, 6, 8, 59, tzinfo=UTC)) == {"chatbot": ()}
    assert len(overdue_days(control, settings, now=datetime(2026, 3, 6, 9, 0, tzinfo=UTC))["chatbot"]) == 5


def test_nothing_is_overdue_before_there_is_a_first_partition(
    control: ControlDatabase, settings: Settings, source: MemorySource
) -> None:
    sync_projects(control, source, settings)
    assert overdue_days(control, settings) == {"chatbot": ()}

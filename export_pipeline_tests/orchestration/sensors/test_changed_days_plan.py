"""Which late days go into one run, and when a change is tried again."""

from datetime import UTC, date, datetime, timedelta

import pytest

from export_pipeline.exports.projects.changed import ChangedDay
from export_pipeline.orchestration.sensors.changed_days import Attempt, changed_ranges, is_given_up, next_attempt

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)


def late(day: int, *, failed: bool = False) -> ChangedDay:
    return ChangedDay(
        day=date(2026, 3, day),
        rows=1,
        feedbacks=0,
        again=False,
        since=NOW,
        change=f"change {day}",
        failed=failed,
    )


def spans(*days: ChangedDay) -> list[str]:
    return [str(found.days) for found in changed_ranges(days)]


def test_days_in_a_row_go_together() -> None:
    found = changed_ranges([late(3), late(1), late(2), late(7)])
    assert [str(each.days) for each in found] == ["2026-03-01 to 2026-03-03", "2026-03-07"]
    assert found[0].reason == "3 rows more since 2026-03-20 12:00:00"
    assert found[0].change != found[1].change


def test_a_day_that_failed_goes_alone_and_keeps_its_name_whatever_happens_beside_it() -> None:
    assert spans(late(1), late(2, failed=True), late(3)) == ["2026-03-01", "2026-03-02", "2026-03-03"]
    (alone,) = changed_ranges([late(2, failed=True)])
    assert alone.change == changed_ranges([late(1), late(2, failed=True)])[1].change


def failed(minutes_ago: float) -> Attempt:
    return Attempt(succeeded=False, canceled=False, ended=NOW - timedelta(minutes=minutes_ago))


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        ([], 0),
        ([Attempt(succeeded=False, canceled=False, ended=None)], None),
        ([Attempt(succeeded=True, canceled=False, ended=NOW - timedelta(days=2))], None),
        ([Attempt(succeeded=False, canceled=True, ended=NOW - timedelta(days=2))], None),
        ([failed(9)], None),
        ([failed(10)], 1),
        ([failed(60), failed(29)], None),
        ([failed(60), failed(31)], 2),
        ([failed(300), failed(200), failed(91)], 3),
        ([failed(900), failed(800), failed(700), failed(271)], 4),
        ([failed(10_000)] * 5, None),
    ],
)
def test_a_failed_attempt_is_followed_by_others_after_growing_pauses(
    earlier: list[Attempt], expected: int | None
) -> None:
    assert next_attempt(earlier, now=NOW) == expected


def test_a_change_is_given_up_when_all_attempts_failed() -> None:
    assert is_given_up([failed(1)] * 5)
    assert not is_given_up([failed(1)] * 4)
    assert not is_given_up([*[failed(1)] * 4, Attempt(succeeded=False, canceled=False, ended=None)])
    assert not is_given_up([*[failed(1)] * 4, Attempt(succeeded=True, canceled=False, ended=NOW)])

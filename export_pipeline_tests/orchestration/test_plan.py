"""What the schedule starts."""

from datetime import date, timedelta

import pytest

from export_pipeline.orchestration.plan import PROJECTS_PER_RUN, PlannedRun, plan_runs, stretches


def day(number: int) -> date:
    return date(2026, 1, 1) + timedelta(days=number)


def days(*numbers: int) -> list[date]:
    return [day(number) for number in numbers]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        ([0], [(0, 0)]),
        ([0, 1, 2], [(0, 2)]),
        ([2, 0, 1, 1], [(0, 2)]),
        ([0, 2, 3, 5], [(0, 0), (2, 3), (5, 5)]),
        (list(range(31)), [(0, 30)]),
        (list(range(32)), [(0, 30), (31, 31)]),
        (list(range(70)), [(0, 30), (31, 61), (62, 69)]),
    ],
)
def test_days_are_grouped_into_stretches_without_holes(given: list[int], expected: list[tuple[int, int]]) -> None:
    assert stretches(days(*given)) == [(day(first), day(last)) for first, last in expected]


def test_projects_that_miss_the_same_days_share_a_run() -> None:
    assert plan_runs({"b": days(4), "a": days(4), "c": days(1, 2)}) == [
        PlannedRun(day(1), day(2), ("c",)),
        PlannedRun(day(4), day(4), ("a", "b")),
    ]


def test_a_run_holds_a_limited_number_of_projects() -> None:
    runs = plan_runs({f"p{number:02}": days(0) for number in range(40)})
    assert [len(run.assets) for run in runs] == [PROJECTS_PER_RUN] * 5
    assert sorted(name for run in runs for name in run.assets) == [f"p{number:02}" for number in range(40)]


def test_days_that_are_under_way_are_left_out() -> None:
    assert plan_runs({"a": days(0, 1, 2), "b": days(0)}, under_way={"a": {day(1)}, "b": {day(0)}}) == [
        PlannedRun(day(0), day(0), ("a",)),
        PlannedRun(day(2), day(2), ("a",)),
    ]


def test_an_outage_of_ten_days_becomes_one_run() -> None:
    (run,) = plan_runs({"a": days(*range(10))})
    assert run.days == 10

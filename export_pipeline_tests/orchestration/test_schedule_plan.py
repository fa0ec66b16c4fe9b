"""What the schedule starts."""

from datetime import date, timedelta

from export_pipeline.exports.projects.planning import DayRange
from export_pipeline.orchestration.schedules import PROJECTS_PER_RUN, PlannedRun, plan_runs


def day(number: int) -> date:
    return date(2026, 1, 1) + timedelta(days=number)


def days(*numbers: int) -> list[date]:
    return [day(number) for number in numbers]


def test_projects_that_miss_the_same_days_share_a_run() -> None:
    assert plan_runs({"b": days(4), "a": days(4), "c": days(1, 2)}) == [
        PlannedRun(DayRange(day(1), day(2)), ("c",)),
        PlannedRun(DayRange(day(4), day(4)), ("a", "b")),
    ]


def test_a_run_holds_a_limited_number_of_projects() -> None:
    runs = plan_runs({f"p{number:02}": days(0) for number in range(40)})
    assert [len(run.assets) for run in runs] == [PROJECTS_PER_RUN] * 5
    assert sorted(name for run in runs for name in run.assets) == [f"p{number:02}" for number in range(40)]


def test_days_that_are_under_way_are_left_out() -> None:
    assert plan_runs({"a": days(0, 1, 2), "b": days(0)}, under_way={"a": {day(1)}, "b": {day(0)}}) == [
        PlannedRun(DayRange(day(0), day(0)), ("a",)),
        PlannedRun(DayRange(day(2), day(2)), ("a",)),
    ]


def test_an_outage_of_ten_days_becomes_one_run_and_a_long_one_runs_of_31_days() -> None:
    assert plan_runs({"a": days(*range(10))}) == [PlannedRun(DayRange(day(0), day(9)), ("a",))]
    assert [len(run.days) for run in plan_runs({"a": days(*range(70))})] == [31, 31, 8]

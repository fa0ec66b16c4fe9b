"""The planner, case by case: limits, turns, groups, lost attempts, time."""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from export_pipeline.exports.bulk.cleanup import MOST, plan_cleaning
from export_pipeline.exports.bulk.planner import (
    SIDE_BY_SIDE,
    DagsterRun,
    Limits,
    Moves,
    Planned,
    Start,
    group_units,
    plan,
    share_places,
)
from export_pipeline.exports.bulk.records import BulkExport, BulkUnit

HOUR = 3600 * 1_000_000
NOW = 1_000 * HOUR
LIMITS = Limits(units_per_export=45, exports_per_workspace=15, run_time=4 * HOUR, export_time=24 * HOUR)
TENANT = uuid.UUID(int=1)


def export(number: int, **changes: Any) -> BulkExport:
    values: dict[str, Any] = {
        "id": uuid.UUID(int=1000 + number),
        "tenant_id": TENANT,
        "destination_id": uuid.UUID(int=2),
        "session_id": uuid.UUID(int=3),
        "all_experiments": False,
        "start_at": 0,
        "end_at": HOUR,
        "filter": None,
        "format_version": "v1",
        "compression": "none",
        "export_fields": None,
        "interval_hours": None,
        "reexport_late": False,
        "source_id": None,
        "status": "Created",
        "error": None,
        "created_by": "cli",
        "created_at": NOW - HOUR + number,
        "updated_at": NOW,
        "planned_at": NOW,
        "started_at": None,
        "finished_at": None,
    }
    return BulkExport(**{**values, **changes})


def units_of(of: BulkExport, count: int, **changes: Any) -> list[BulkUnit]:
    values: dict[str, Any] = {
        "bulk_id": of.id,
        "export_id": of.id,
        "session_id": uuid.UUID(int=3),
        "start_at": 0,
        "end_at": HOUR,
        "status": "Created",
        "attempt": 0,
        "first_attempt": 0,
        "not_before": None,
        "errors": {},
        "dagster_run_id": None,
        "planned_rows": 10,
        "rows": None,
        "bytes": None,
        "key": None,
        "created_at": NOW,
        "started_at": None,
        "finished_at": None,
        "updated_at": NOW,
    }
    first = date(2026, 1, 1)
    return [
        BulkUnit(**{**values, "id": uuid.uuid5(of.id, str(number)), "day": first + timedelta(days=number), **changes})
        for number in range(count)
    ]


def run_of(units: Iterable[BulkUnit], run_id: str = "r", **changes: Any) -> DagsterRun:
    its = list(units)
    attempts = {unit.id: unit.attempt for unit in its}
    values: dict[str, Any] = {"status": "STARTED", "live": True}
    return DagsterRun(**{"run_id": run_id, "bulk_id": its[0].bulk_id, "attempts": attempts, **values, **changes})


def planned(
    exports: Iterable[BulkExport], units: Iterable[BulkUnit], runs: Iterable[DagsterRun] = (), **limits: int
) -> Planned:
    return plan(list(exports), list(units), list(runs), limits=replace(LIMITS, **limits), now=NOW)


def started(found: Planned) -> Mapping[uuid.UUID, int]:
    return Counter(start.bulk_id for start in found.starts)


def test_small_days_go_into_one_run_and_large_ones_have_their_own() -> None:
    of = export(0)
    small = units_of(of, 3)
    large = [replace(unit, planned_rows=60_000) for unit in units_of(of, 5)[3:]]
    starts = planned([of], [*small, *large]).starts
    assert [[unit.day.day for unit in start.units] for start in starts] == [[1, 2, 3], [4], [5]]


def test_an_export_has_no_more_days_under_way_than_its_limit() -> None:
    of = export(0)
    large = units_of(of, 20, planned_rows=60_000)
    running, rest = large[:3], large[3:]
    live = [run_of([unit], f"r{number}") for number, unit in enumerate(running)]
    found = planned([of], rest, live, units_per_export=5)
    assert len(found.starts) == 2
    assert found.waits == [f"export {of.id}: 15 days wait (5 under way, limit 5)"]


def test_a_run_of_many_small_days_counts_as_the_days_that_it_works_on_at_once() -> None:
    of = export(0)
    grouped, single = units_of(of, 100)[:99], units_of(of, 100, planned_rows=60_000)[99:]
    live = [run_of(grouped)]
    assert len(planned([of], single, live, units_per_export=SIDE_BY_SIDE + 1).starts) == 1
    assert planned([of], single, live, units_per_export=SIDE_BY_SIDE).starts == []


def test_a_limit_below_what_one_run_does_at_once_does_not_keep_an_export_from_starting() -> None:
    of = export(0)
    assert len(planned([of], units_of(of, 10), units_per_export=1).starts) == 1


def test_a_workspace_has_no_more_exports_under_way_than_its_limit_the_oldest_first() -> None:
    exports = [export(number) for number in range(4)]
    exports[3] = replace(exports[3], status="Running")
    units = [unit for of in exports for unit in units_of(of, 1)]
    found = planned(exports, units, exports_per_workspace=2)
    assert started(found) == {exports[0].id: 1, exports[3].id: 1}
    assert found.waits == [f"2 exports of workspace {TENANT} wait: 2 are under way, as many as may be"]


def test_workspaces_have_limits_of_their_own() -> None:
    exports = [export(number, tenant_id=uuid.UUID(int=number)) for number in range(3)]
    units = [unit for of in exports for unit in units_of(of, 1)]
    assert len(planned(exports, units, exports_per_workspace=1).starts) == 3


def test_exports_take_turns_in_a_queue_that_is_kept_short() -> None:
    first, second = export(0), export(1)
    units = [*units_of(first, 30, planned_rows=60_000), *units_of(second, 3, planned_rows=60_000)]
    found = planned([first, second], units, queue_ahead=6)
    assert [start.bulk_id for start in found.starts] == [first.id, second.id] * 3
    assert found.waits == [f"export {first.id}: 27 days wait (6 runs of its workspace are queued)"]


def test_workspaces_take_turns_and_have_places_of_their_own_in_the_queue() -> None:
    many = [export(number) for number in range(5)]
    other = export(9, tenant_id=uuid.UUID(int=7))
    units = [unit for of in (*many, other) for unit in units_of(of, 4, planned_rows=60_000)]
    queued = [run_of(units_of(many[0], 1), f"q{number}", queued=True) for number in range(3)]
    found = planned([*many, other], units, queued, queue_ahead=6)
    assert [start.bulk_id == other.id for start in found.starts[:3]] == [True, True, True]
    assert (started(found)[other.id], len(found.starts)) == (4, 7)


def test_what_a_live_run_was_started_for_is_not_started_again() -> None:
    of = export(0)
    units = units_of(of, 2)
    found = planned([of], units, [run_of(units, queued=True)])
    assert (found.starts, found.lost) == ([], [])


@pytest.mark.parametrize("taken", [True, False])
@pytest.mark.parametrize("status", ["FAILURE", "CANCELED", "SUCCESS"])
def test_a_run_that_ended_without_a_result_has_lost_its_units(status: str, taken: bool) -> None:
    of = export(0, status="Running")
    units = units_of(of, 2, dagster_run_id="r" if taken else None)
    found = planned([of], units, [run_of(units, status=status, live=False)])
    assert [(lost.unit.id, lost.run_id, lost.status) for lost in found.lost] == [
        (unit.id, "r", status) for unit in units
    ]
    assert found.starts == []


def test_a_run_that_dagster_no_longer_knows_has_lost_its_units() -> None:
    of = export(0, status="Running")
    (lost,) = planned([of], units_of(of, 1, dagster_run_id="gone", status="Running")).lost
    assert (lost.run_id, lost.status) == ("gone", "missing")


def test_an_ended_run_of_an_earlier_attempt_means_nothing() -> None:
    of = export(0)
    units = units_of(of, 1)
    again = [replace(unit, attempt=1) for unit in units]
    found = planned([of], again, [run_of(units, live=False, status="FAILURE")])
    assert (len(found.starts), found.lost) == (1, [])


def test_a_unit_waits_for_its_pause_to_end_and_that_is_said() -> None:
    of = export(0)
    found = planned([of], units_of(of, 2, attempt=1, not_before=NOW + 29_500_000))
    assert found.starts == []
    assert found.waits == [f"export {of.id}: 2 days wait to be tried again, the first in 30 s"]


def test_days_wait_until_their_rows_are_counted() -> None:
    of = export(0)
    found = planned([of], units_of(of, 2, planned_rows=None))
    assert found.starts == []
    assert found.waits == [f"export {of.id}: 2 days wait until the trace store has counted their rows"]


def test_an_attempt_that_takes_too_long_is_ended_with_its_run() -> None:
    of = export(0, status="Running", started_at=NOW - HOUR)
    fine, slow = units_of(of, 2, status="Running", dagster_run_id="r", started_at=NOW - 4 * HOUR)
    slow = replace(slow, started_at=NOW - 4 * HOUR - 1)
    found = planned([of], [fine, slow], [run_of([fine, slow])])
    assert (found.timed_out_units, found.terminate) == ([slow], {"r"})


def test_a_run_that_took_its_days_and_does_nothing_is_ended_and_gives_them_back() -> None:
    of = export(0, status="Running", started_at=NOW - 5 * HOUR)
    taken = units_of(of, 2, dagster_run_id="r", updated_at=NOW - 5 * HOUR)
    old = run_of(taken, age=4 * HOUR + 1)
    found = plan([of], taken, [old], limits=LIMITS, now=NOW, heard={"r": NOW - 4 * HOUR - 1})
    assert (found.timed_out_units, found.terminate) == (taken, {"r"})
    for fine in (
        plan([of], taken, [old], limits=LIMITS, now=NOW, heard={"r": NOW - 4 * HOUR}),
        plan([of], taken, [replace(old, age=4 * HOUR)], limits=LIMITS, now=NOW),
        plan([of], taken, [replace(old, queued=True)], limits=LIMITS, now=NOW),
        plan([of], [replace(taken[0], status="Running", started_at=NOW), taken[1]], [old], limits=LIMITS, now=NOW),
    ):
        assert (fine.timed_out_units, fine.terminate) == ([], set())


@pytest.mark.parametrize("cleans", [False, True])
def test_a_run_that_takes_nothing_and_one_that_cleans_up_for_ever_are_ended(*, cleans: bool) -> None:
    of = export(0, status="Failed" if cleans else "Created")
    units = units_of(of, 1)
    run = run_of(units, age=4 * HOUR + 1, cleans=cleans, attempts={} if cleans else {units[0].id: 0})
    active = [] if cleans else [of]
    found = plan(active, [] if cleans else units, [run], limits=LIMITS, now=NOW)
    assert (found.terminate, found.timed_out_units, found.starts) == ({"r"}, [], [])
    assert plan(active, units, [replace(run, age=4 * HOUR)], limits=LIMITS, now=NOW).terminate == set()


def test_an_export_that_takes_too_long_is_ended_with_its_runs() -> None:
    of = export(0, status="Running", started_at=NOW - 24 * HOUR - 1)
    units = units_of(of, 2)
    found = planned([of], units, [run_of(units[:1])])
    assert (found.timed_out_exports, found.terminate, found.starts) == ([of], {"r"}, [])


def test_live_runs_of_exports_that_have_ended_are_ended_but_for_those_that_clean_up() -> None:
    gone = units_of(export(7), 1)
    found = planned([], [], [run_of(gone), run_of(gone, "c", cleans=True), run_of(gone, "e", live=False)])
    assert found.terminate == {"r"}


@pytest.mark.parametrize(("attempt", "sizes"), [(0, [64]), (1, [50, 14]), (2, [12] * 5 + [4]), (5, [1] * 64)])
def test_what_failed_goes_into_ever_smaller_groups(attempt: int, sizes: list[int]) -> None:
    of = export(0)
    starts = group_units(of.id, units_of(of, 64, attempt=attempt + 20, first_attempt=20))
    assert [len(start.units) for start in starts] == sizes


def test_a_run_key_names_its_units_and_their_attempts() -> None:
    of = export(0)
    first, second = units_of(of, 2)
    keys = {
        Start(of.id, (first, second)).run_key,
        Start(of.id, (first,)).run_key,
        Start(of.id, (replace(first, attempt=1), second)).run_key,
    }
    assert len(keys) == 3
    assert Start(of.id, (first, second)).run_key in keys
    assert all(key.startswith(f"{of.id}:") for key in keys)


def test_cleaning_waits_for_the_exports_runs_and_pauses_longer_each_time() -> None:
    of = export(0)
    left = units_of(of, 1)

    def due(*, live: bool = False, ends: Iterable[float] = ()) -> list[int]:
        found = plan_cleaning(
            left, live={of.id} if live else set(), earlier={of.id: list(ends)}, pause=30.0, now=1000.0
        )
        return [cleaning.number for cleaning in found]

    assert due() == [0]
    assert due(live=True) == []
    assert due(ends=[971.0]) == []
    assert due(ends=[970.0]) == [1]
    assert due(ends=[0.0, 950.0]) == []
    assert due(ends=[0.0, 940.0]) == [2]
    assert due(ends=[0.0] * MOST) == []


def live(workspace: str, *ages: int, **changes: Any) -> list[DagsterRun]:
    """Running runs of a workspace, so many seconds old."""
    return [
        run_of(units_of(export(0), 1), f"{workspace}{number}", workspace=workspace, age=age * 1_000_000, **changes)
        for number, age in enumerate(ages)
    ]


def queued(workspace: str, *ages: int) -> list[DagsterRun]:
    """Queued ones."""
    return [replace(run, run_id=f"queued {run.run_id}", queued=True) for run in live(workspace, *ages)]


@pytest.mark.parametrize(
    ("runs", "moves"),
    [
        ([*live("a", 90, 80, 70), *queued("a", 60)], Moves()),
        ([*live("a", 90, 80), *live("b", 70), *queued("c", 60, 65)], Moves(("queued c1",))),
        ([*live("a", 90, 80, 70), *live("b", 60), *queued("c", 19)], Moves(("queued c0",))),
        ([*live("a", 90, 80, 70), *live("b", 60), *queued("c", 20)], Moves(("queued c0",), "a2")),
        ([*live("a", 90, 80), *live("b", 70, 85), *queued("c", 60), *queued("a", 99)], Moves(("queued c0",), "b0")),
        ([*live("a", 90, 80, 70), *live("b", 60), *queued("b", 99)], Moves()),
        ([*live("a", 9), *live("b", 9), *live("c", 9), *live("d", 9), *queued("e", 60)], Moves(("queued e0",))),
        ([*live("a", 90, 80, 70), *live("b", 60, status="CANCELING"), *queued("c", 60)], Moves(("queued c0",))),
        ([*live("a", 90, 80), *live("b", 70, status="STARTING"), *live("a", 9, cleans=True), *queued("c", 60)], None),
    ],
)
def test_a_workspace_without_a_running_run_comes_first_and_gets_a_place_of_the_one_that_has_most(
    runs: list[DagsterRun], moves: Moves | None
) -> None:
    wanted = Moves(("queued c0",), "a1") if moves is None else moves
    assert share_places(runs, places=4) == wanted
    assert share_places(runs, places=None) == Moves(wanted.first)

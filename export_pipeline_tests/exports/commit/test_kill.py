"""SIGKILL at every step, then an attempt with other rows: the day is whole at every moment, and right in the end."""

import random
import signal
from datetime import date, timedelta

import pytest

from export_pipeline.exports.commit.day import DayOutcome
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import Publisher, PublishLimits
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline_tests.exports.commit import children
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench
from export_pipeline_tests.exports.commit.children import ended
from export_pipeline_tests.exports.commit.promises import check_finished, check_nothing_left, check_whole
from export_pipeline_tests.exports.commit.steps import COMPLETE, FILE_STEPS, READ, RECORD, days
from export_pipeline_tests.exports.conftest import make_bench
from export_pipeline_tests.exports.memory_source import MemorySource, Row, rows_of
from export_pipeline_tests.servers import Rclone

pytestmark = pytest.mark.slow

EMPTY_STEPS = [*READ, "intent", *RECORD, "deleting", "deleted"]

PARTS = PublishLimits(
    lease_seconds=3.0, patience=5.0, settle=0.3, part_bytes=5 * 1024 * 1024, row_group_bytes=2 * 1024 * 1024
)


def kill_and_repeat(
    bench: Bench,
    day: date,
    step: str,
    *,
    before: list[Row] | None,
    new: list[Row],
    later: list[Row],
    nth: int = 1,
    limits: PublishLimits = QUICK,
) -> None:
    """An attempt that is killed at a step, and one with other rows that goes through."""
    if before is not None:
        bench.publish(MemorySource(before), day=day)
    attempt = children.attempt_of(bench, new, day=day, at=step, nth=nth, limits=limits, allow_shrink=True)
    assert children.run(attempt) == -signal.SIGKILL, f"the step {step} was not reached"
    check_whole(bench, [before, new or None], day=day)
    bench.publish(MemorySource(later), day=day, owner_ended=ended, allow_shrink=True)
    check_finished(bench, later, day=day)


def test_a_first_export_that_is_killed_at_any_step_is_finished_by_the_next(any_bench: Bench) -> None:
    for day, step in days(FILE_STEPS):
        kill_and_repeat(any_bench, day, step, before=None, new=rows_of(day, 12), later=rows_of(day, 13, name="later"))
    check_nothing_left(any_bench)


def test_a_second_export_that_is_killed_at_any_step_is_finished_by_the_next(any_bench: Bench) -> None:
    for day, step in days(FILE_STEPS):
        kill_and_repeat(
            any_bench,
            day,
            step,
            before=rows_of(day, 11, name="before"),
            new=rows_of(day, 12),
            later=rows_of(day, 13, name="later"),
        )
    check_nothing_left(any_bench)


def test_a_day_that_becomes_empty_survives_a_kill_at_any_step(any_bench: Bench) -> None:
    for number, (day, step) in enumerate(days(EMPTY_STEPS)):
        later = [] if number % 2 else rows_of(day, 3, name="later")
        kill_and_repeat(any_bench, day, step, before=rows_of(day, 2, name="before"), new=[], later=later)
    check_nothing_left(any_bench)


def test_a_kill_in_the_middle_of_the_parts_leaves_no_upload(any_bench: Bench) -> None:
    noise = random.Random(7)
    large = [Row(row.id, row.start_time, inputs=noise.randbytes(600_000).hex()) for row in rows_of(DAY, 24)]
    for number, step in enumerate(["upload announced", "upload created", "upload recorded", "batch"]):
        day = DAY + timedelta(days=number)
        rows = [Row(row.id, row.start_time + timedelta(days=number), inputs=row.inputs) for row in large]
        kill_and_repeat(
            any_bench, day, step, nth=2 if step == "batch" else 1, before=None, new=rows, later=rows[:5], limits=PARTS
        )
    check_nothing_left(any_bench)


def test_an_attempt_that_dies_while_it_finishes_anothers_commit_is_finished_too(bench: Bench) -> None:
    for day, step in days([*COMPLETE[1:], *RECORD, "rolled forward", "aborted", "fenced", "snapshot"]):
        first, second = rows_of(day, 4, name="first"), rows_of(day, 5, name="second")
        at = "upload recorded" if step == "aborted" else "intent"
        assert children.run(children.attempt_of(bench, first, day=day, at=at)) == -signal.SIGKILL
        bench.control.run(children.expire_leases)
        assert children.run(children.attempt_of(bench, second, day=day, at=step)) == -signal.SIGKILL, step
        check_whole(bench, [None, first], day=day)
        third = rows_of(day, 6, name="third")
        bench.publish(MemorySource(third), day=day, owner_ended=ended)
        check_finished(bench, third, day=day)
    check_nothing_left(bench)


def test_kills_are_survived_with_a_control_database_on_postgresql(
    postgres_control: ControlDatabase, rclone: Rclone
) -> None:
    bench = make_bench(postgres_control, rclone)
    for day, step in days(["claimed", "upload created", "intent", "completed", "manifest", "done"]):
        kill_and_repeat(
            bench,
            day,
            step,
            before=rows_of(day, 11, name="before"),
            new=rows_of(day, 12),
            later=rows_of(day, 13, name="later"),
        )
    check_nothing_left(bench)
    bench.store.close()


def test_the_lease_of_a_dead_process_is_waited_for_where_nothing_tells_that_it_ended(bench: Bench) -> None:
    assert children.run(children.attempt_of(bench, rows_of(DAY, 3), at="fenced")) == -signal.SIGKILL
    held_until = bench.record().lease_until
    assert held_until is not None
    outcome = bench.publish(MemorySource(rows_of(DAY, 4)), wait_for_lease=20)
    assert bench.control.now() > held_until
    assert (outcome.rows, outcome.epoch) == (4, 2)


def test_kills_of_an_attempt_that_publishes_nothing_leave_the_day_as_it_was(bench: Bench) -> None:
    launched = bench.control.now()
    for number, step in enumerate(["unchanged", "released"]):
        day = DAY + timedelta(days=number)
        rows = rows_of(day, 4)
        if step == "unchanged":
            bench.publish(MemorySource(rows), day=day)
        else:
            assert children.run(children.attempt_of(bench, rows, day=day, at="intent")) == -signal.SIGKILL
            bench.control.run(children.expire_leases)
        killed = children.attempt_of(
            bench, rows, day=day, at=step, launched_at=launched if step == "released" else None
        )
        assert children.run(killed) == -signal.SIGKILL, step
        check_finished(bench, rows, day=day)
        assert bench.publish(MemorySource(rows), day=day, owner_ended=ended).outcome == "unchanged"
    assert len(bench.sequence()) == 2
    check_nothing_left(bench)


def test_kills_while_days_without_rows_are_committed_together_are_survived(any_bench: Bench) -> None:
    for number, step in enumerate(["empty days decided", "empty days manifest", "empty days done"]):
        empty = [DAY + timedelta(days=10 * number + offset) for offset in range(4)]
        process = children.context().Process(
            target=_publish_empty, args=(children.attempt_of(any_bench, [], at=step), empty)
        )
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, step
        rows = rows_of(empty[0], 3)
        for day in empty:
            check_whole(any_bench, [None], day=day)
        requests = [any_bench.request(day) for day in empty]
        done = publish_days(
            Publisher(
                control=any_bench.control,
                store=any_bench.store,
                source=MemorySource(rows),
                limits=QUICK,
                owner_ended=ended,
            ),
            requests,
        )
        assert {day: found.rows for day, found in done if isinstance(found, DayOutcome)} == dict.fromkeys(empty, 0) | {
            empty[0]: 3
        }
        check_finished(any_bench, rows, day=empty[0])
        assert all(any_bench.record(day).status == "Completed" for day in empty)
        check_nothing_left(any_bench)


def _publish_empty(attempt: children.Attempt, empty: list[date]) -> None:
    bench = children.bench_of(attempt)
    requests = [bench.request(day) for day in empty]
    hook = children.signal_at(attempt)
    list(
        publish_days(
            Publisher(control=bench.control, store=bench.store, source=MemorySource(), on_step=hook, limits=QUICK),
            requests,
        )
    )

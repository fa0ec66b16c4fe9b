"""Several writers of one day: paused and overtaken, or launched all at once."""

import os
import signal
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa

from export_pipeline.errors import DayBusyError, InputError, LeaseLostError
from export_pipeline.exports.commit.lease import Clock
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.tables import days as days_table
from export_pipeline.exports.proof.verify.export import What, verify_export
from export_pipeline_tests.exports.commit import children
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench, ids_and_names
from export_pipeline_tests.exports.commit.children import paused, resume
from export_pipeline_tests.exports.commit.promises import check_finished, check_nothing_left
from export_pipeline_tests.exports.conftest import make_bench
from export_pipeline_tests.exports.memory_source import MemorySource, Row, rows_of
from export_pipeline_tests.servers import Rclone

pytestmark = pytest.mark.slow

PAUSES = [
    "claimed",
    "streamed",
    "upload announced",
    "upload created",
    "upload recorded",
    "parts uploaded",
    "intent",
    "completing",
    "completed",
    "verified",
    "writing manifest",
    "manifest",
]


LONG = replace(QUICK, lease_seconds=600.0)
"""No lease ends while another process looks."""


def ended(owner: str) -> bool:
    """Takes every other writer for dead, as an expired lease does."""
    return True


def test_a_writer_that_was_paused_and_overtaken_twice_changes_nothing(any_bench: Bench) -> None:
    for number, step in enumerate(PAUSES):
        day, report = DAY + timedelta(days=number), children.new_queue()
        first = paused(any_bench, rows_of(day, 3, name="first"), report, day=day, at=step)
        any_bench.publish(MemorySource(rows_of(day, 4, name="second")), day=day, owner_ended=ended)
        third = rows_of(day, 5, name="third")
        any_bench.publish(MemorySource(third), day=day, owner_ended=ended)
        resume(first)
        assert report.get(timeout=60) == "LeaseLostError", step
        check_finished(any_bench, third, day=day)
    check_nothing_left(any_bench)


def test_a_paused_delete_does_not_remove_what_came_after(any_bench: Bench) -> None:
    for number, step in enumerate(["intent", "writing manifest", "manifest", "deleting", "deleted"]):
        day, report = DAY + timedelta(days=number), children.new_queue()
        any_bench.publish(MemorySource(rows_of(day, 2, name="before")), day=day)
        first = paused(any_bench, [], report, day=day, at=step)
        any_bench.publish(MemorySource(rows_of(day, 4, name="second")), day=day, owner_ended=ended)
        third = rows_of(day, 5, name="third")
        any_bench.publish(MemorySource(third), day=day, owner_ended=ended)
        resume(first)
        assert report.get(timeout=60) == "LeaseLostError", step
        check_finished(any_bench, third, day=day)
    check_nothing_left(any_bench)


@pytest.mark.parametrize("first_resumed_first", [True, False])
def test_two_paused_writers_and_a_third_end_with_the_thirds_day(any_bench: Bench, first_resumed_first: bool) -> None:
    pairs = [
        ("upload created", "upload recorded"),
        ("parts uploaded", "intent"),
        ("completing", "completing"),
        ("completing", "writing manifest"),
        ("writing manifest", "snapshot"),
        ("verified", "completed"),
    ]
    for number, (one, two) in enumerate(pairs):
        day = DAY + timedelta(days=number)
        reports = [children.new_queue(), children.new_queue()]
        writers = [
            paused(any_bench, rows_of(day, 3, name="first"), reports[0], day=day, at=one),
            paused(any_bench, rows_of(day, 4, name="second"), reports[1], day=day, at=two),
        ]
        third = rows_of(day, 5, name="third")
        any_bench.publish(MemorySource(third), day=day, owner_ended=ended)
        for writer in writers if first_resumed_first else reversed(writers):
            resume(writer)
        assert [report.get(timeout=60) for report in reports] == ["LeaseLostError"] * 2
        check_finished(any_bench, third, day=day)
    check_nothing_left(any_bench)


def test_a_paused_writer_whose_lease_nobody_took_goes_on(bench: Bench) -> None:
    report = children.new_queue()
    writer = paused(bench, rows_of(DAY, 3), report, day=DAY, at="completing")
    bench.control.run(children.expire_leases)
    resume(writer)
    assert report.get(timeout=60) == "committed"
    check_finished(bench, rows_of(DAY, 3))


def launch(bench: Bench, count: int, **options: Any) -> list[str]:
    """The ends of processes that all want the same day."""
    report = children.new_queue()
    attempt = children.attempt_of(bench, rows_of(DAY, 30), limits=LONG, wait_for_lease=600.0, **options)
    processes = [children.start(attempt, report) for _ in range(count)]
    outcomes = sorted(report.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
    return outcomes


def test_eight_launches_of_one_day_at_once_give_one_commit(bench: Bench) -> None:
    outcomes = launch(bench, 8, launched_at=bench.control.now())
    assert outcomes == ["committed"] + ["satisfied"] * 7
    assert bench.sequence() == [(1, DAY, 30)]
    assert bench.manifest_epochs() == [1]
    check_finished(bench, rows_of(DAY, 30))


def test_eight_launches_give_one_commit_with_a_control_database_on_postgresql(
    postgres_control: ControlDatabase, rclone: Rclone
) -> None:
    bench = make_bench(postgres_control, rclone)
    assert launch(bench, 8, launched_at=bench.control.now()) == ["committed"] + ["satisfied"] * 7
    assert bench.sequence() == [(1, DAY, 30)]
    check_finished(bench, rows_of(DAY, 30))
    bench.store.close()


def test_readings_anew_of_an_unchanged_day_publish_nothing(bench: Bench) -> None:
    assert launch(bench, 3) == ["committed", "unchanged", "unchanged"]
    assert bench.sequence() == [(1, DAY, 30)]


def test_a_day_that_is_held_is_reported_with_its_holder(bench: Bench) -> None:
    report = children.new_queue()
    writer = paused(bench, rows_of(DAY, 3), report, day=DAY, at="fenced", limits=LONG)
    with pytest.raises(DayBusyError, match=f"process:test:{writer.pid}"):
        bench.publish(MemorySource(rows_of(DAY, 4)), wait_for_lease=0, owner_ended=lambda owner: False)
    resume(writer)
    assert report.get(timeout=60) == "committed"
    assert bench.published() == ids_and_names(rows_of(DAY, 3))


def overtaken_at_each_step(bench: Bench, clock: Clock) -> dict[str, set[str]]:
    """The steps that a writer has still taken after two others overtook it at a step, by that step."""
    taken = {}
    for number, step in enumerate([*PAUSES, "deleting", "deleted"]):
        day, steps = DAY + timedelta(days=number), list[str]()
        third = rows_of(day, 5, name="third")
        first = [] if step in {"deleting", "deleted"} else rows_of(day, 3, name="first")
        if not first:
            bench.publish(MemorySource(rows_of(day, 2, name="before")), day=day)

        def overtake(name: str, *, step: str = step, day: date = day, steps: list[str] = steps) -> None:
            steps.append(name)
            if name == step and steps.count(step) == 1:
                for name_of_other in ("second", "third"):
                    rows = rows_of(day, 5, name=name_of_other)
                    bench.publish(MemorySource(rows), day=day, owner_ended=ended)

        with pytest.raises(LeaseLostError):
            bench.publish(MemorySource(first), day=day, on_step=overtake, allow_shrink=True, clock=clock)
        taken[step] = {*steps[steps.index(step) + 1 :]}
        check_finished(bench, third, day=day)
    check_nothing_left(bench)
    return taken


def test_a_writer_that_was_overtaken_takes_no_more_step_towards_the_store(bench: Bench) -> None:
    hours = count(0, 3600)
    for step, after in overtaken_at_each_step(bench, lambda: next(hours)).items():
        assert not {"completing", "writing manifest", "deleting", "done"} & after, (step, after)


def test_a_writer_that_was_overtaken_at_once_may_repeat_what_does_no_harm_and_nothing_else(any_bench: Bench) -> None:
    repeated = set()
    for step, after in overtaken_at_each_step(any_bench, lambda: 0.0).items():
        assert not {"deleting", "done"} & after, (step, after)
        repeated |= after & {"completing", "writing manifest"}
    assert repeated == {"completing", "writing manifest"}


def with_an_upload_that_nobody_knows(bench: Bench) -> list[Row]:
    """A day whose first writer was frozen before it created its upload, overtaken, and killed when it had; its rows."""
    writer = paused(bench, rows_of(DAY, 3), None, day=DAY, at="upload announced", killed_at="upload created")
    second = rows_of(DAY, 4, name="second")
    bench.publish(MemorySource(second), owner_ended=ended)
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGCONT)
    writer.join(60)
    assert writer.exitcode == -signal.SIGKILL
    check_finished(bench, second)
    assert (len(bench.open_uploads()), bench.known_uploads()) == (1, 0)
    return second


@pytest.mark.parametrize("rows", [0, 4, 5])
def test_the_next_reading_of_a_day_aborts_an_upload_that_nobody_knows(any_bench: Bench, rows: int) -> None:
    with_an_upload_that_nobody_knows(any_bench)
    third = rows_of(DAY, rows, name="second")
    outcome = any_bench.publish(MemorySource(third), allow_shrink=True)
    assert outcome.outcome == {0: "empty", 4: "unchanged", 5: "committed"}[rows]
    check_finished(any_bench, third)
    check_nothing_left(any_bench)


def test_verify_finds_an_upload_that_nobody_knows_and_aborts_it_where_it_is_asked_to(any_bench: Bench) -> None:
    second = with_an_upload_that_nobody_knows(any_bench)
    (upload,) = any_bench.open_uploads()
    verify = partial(verify_export, any_bench.export, store=any_bench.store, control=any_bench.control)
    (problem,) = verify().problems
    assert (problem.day, problem.what, any_bench.open_uploads()) == (DAY, What.OPEN_UPLOAD, [upload])
    report = verify(abort_uploads=True)
    assert (report.problems, report.notes) == ((), (f"{problem}; it was aborted",))
    check_finished(any_bench, second)
    check_nothing_left(any_bench)


@pytest.mark.parametrize("step", ["upload created", "parts uploaded", "intent"])
def test_verify_aborts_no_upload_that_somebody_needs(bench: Bench, step: str) -> None:
    report = children.new_queue()
    writer = paused(bench, rows_of(DAY, 3), report, day=DAY, at=step)
    lease = 0 if step == "intent" else 1 << 60
    with bench.control.begin() as connection:
        connection.execute(sa.update(days_table).values(lease_until=lease))
    verify_export(bench.export, store=bench.store, control=bench.control, abort_uploads=True)
    assert len(bench.open_uploads()) == 1
    resume(writer)
    assert report.get(timeout=60) == "committed"
    check_finished(bench, rows_of(DAY, 3))
    assert bench.manifest_epochs() == [1]


def test_uploads_are_not_aborted_without_knowing_which_are_in_use(bench: Bench) -> None:
    with pytest.raises(InputError, match="control database"):
        verify_export(bench.export, store=bench.store, abort_uploads=True)

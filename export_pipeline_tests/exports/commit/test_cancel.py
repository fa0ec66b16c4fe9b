"""A cancel before, at and after every step: the day is as it was, or it is committed and the canceller was told so."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from export_pipeline.errors import DayCancelledError, LeaseLostError
from export_pipeline.exports.commit.claim import Claim, claim_day
from export_pipeline.exports.commit.empty_days import commit_empty_days
from export_pipeline.exports.commit.publisher import Committer, no_step
from export_pipeline.exports.commit.transitions import CancelAnswer, cancel_in
from export_pipeline.exports.control.tables import days as days_table
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline_tests.exports.commit import children
from export_pipeline_tests.exports.commit.bench import DAY, QUICK, Bench, ids_and_names
from export_pipeline_tests.exports.commit.children import paused, resume
from export_pipeline_tests.exports.commit.promises import check_finished, check_nothing_left
from export_pipeline_tests.exports.commit.steps import COMPLETE, FILE_STEPS, READ, UPLOAD, days
from export_pipeline_tests.exports.memory_source import MemorySource, Row, rows_of

pytestmark = pytest.mark.slow

CALM = replace(QUICK, lease_seconds=600.0)
"""No heartbeat comes between two steps."""
UNDECIDED = {*READ, *UPLOAD}
DECIDED = {*COMPLETE, "writing manifest", "manifest"}


def cancel_day(bench: Bench, day: date) -> CancelAnswer:
    """Cancels a day in a transaction of its own."""
    export_id = bench.export.export_id
    return bench.control.run(lambda connection: cancel_in(connection, export_id=export_id, day=day))


def cancelled_at(bench: Bench, day: date, step: str, rows: list[Row]) -> tuple[CancelAnswer, bool]:
    """What the canceller was told, who came at a step, and whether the attempt committed."""
    answers: list[CancelAnswer] = []

    def cancel(name: str) -> None:
        if name == step:
            answers.append(cancel_day(bench, day))

    try:
        bench.publish(MemorySource(rows), day=day, limits=CALM, on_step=cancel, allow_shrink=True)
    except DayCancelledError:
        return answers[0], False
    return answers[0], True


def at_step(step: str, do: Callable[[], None]) -> Callable[[str], None]:
    return lambda name: do() if name == step else None


@pytest.mark.parametrize("before", [0, 5])
def test_a_cancel_at_any_step_has_one_of_two_ends(bench: Bench, before: int) -> None:
    for day, step in days([step for step in FILE_STEPS if step != "done"]):
        old, new = rows_of(day, before, name="before"), rows_of(day, 4)
        if old:
            bench.publish(MemorySource(old), day=day)
        end = cancelled_at(bench, day, step, new)
        assert end == (("stopping", False) if step in UNDECIDED else ("too late", True)), step
        if step in UNDECIDED:
            assert bench.published(day) == (ids_and_names(old) or None)
            assert bench.record(day).status == ("Completed" if old else "Cancelled")
        else:
            check_finished(bench, new, day=day)
        later = rows_of(day, 6, name="later")
        bench.publish(MemorySource(later), day=day)
        check_finished(bench, later, day=day)
    assert {*FILE_STEPS} == {*UNDECIDED, *DECIDED, "done"}
    check_nothing_left(bench)


def test_a_cancel_of_a_deletion_that_is_decided_comes_too_late(bench: Bench) -> None:
    for day, step in days(["snapshot", "intent", "deleting", "deleted"]):
        bench.publish(MemorySource(rows_of(day, 3)), day=day)
        answer, committed = cancelled_at(bench, day, step, [])
        assert (answer, committed) == (("stopping", False) if step == "snapshot" else ("too late", True))
        assert (bench.published(day) is None) == committed


def test_there_is_nothing_to_cancel_before_and_after(bench: Bench) -> None:
    assert cancel_day(bench, DAY) == "nothing to cancel"
    bench.publish(MemorySource(rows_of(DAY, 3)))
    assert cancel_day(bench, DAY) == "nothing to cancel"
    check_finished(bench, rows_of(DAY, 3))
    assert cancelled_at(bench, DAY + timedelta(days=1), "done", rows_of(DAY + timedelta(days=1), 2)) == (
        "nothing to cancel",
        True,
    )


def test_a_cancel_that_races_the_commit_tells_the_truth(bench: Bench) -> None:
    ends = set()
    for number in range(24):
        day, begun = DAY + timedelta(days=number), threading.Event()
        answers: list[CancelAnswer] = []

        def cancel(day: date = day, begun: threading.Event = begun, answers: list[CancelAnswer] = answers) -> None:
            begun.wait(60)
            answers.append(cancel_day(bench, day))

        canceller = threading.Thread(target=cancel)
        canceller.start()
        at = ("parts uploaded", "upload recorded")[number % 2]
        try:
            bench.publish(MemorySource(rows_of(day, 3)), day=day, limits=CALM, on_step=at_step(at, begun.set))
            committed = True
        except DayCancelledError:
            committed = False
        canceller.join(60)
        assert answers[0] in (("too late", "nothing to cancel") if committed else ("stopping",))
        assert (bench.published(day) is not None) == committed
        ends.add(committed)
    assert ends, "every race had one of the two ends"
    check_nothing_left(bench)


def test_a_paused_writer_whose_day_was_cancelled_commits_nothing(bench: Bench) -> None:
    for number, step in enumerate(["snapshot", "upload recorded", "parts uploaded"]):
        day, report = DAY + timedelta(days=number), children.new_queue()
        writer = paused(bench, rows_of(day, 3), report, day=day, at=step)
        bench.control.run(children.expire_leases)
        assert cancel_day(bench, day) == "cancelled"
        resume(writer)
        assert report.get(timeout=60) == "LeaseLostError", step
        assert (bench.published(day), bench.record(day).status) == (None, "Cancelled")
        bench.publish(MemorySource(rows_of(day, 4)), day=day)
        check_finished(bench, rows_of(day, 4), day=day)
    check_nothing_left(bench)


def test_a_cancel_that_another_attempt_has_acknowledged_binds_the_first_one_too(either_bench: Bench) -> None:
    bench = either_bench
    for day, step in days([*READ, *UPLOAD]):
        answers: list[CancelAnswer] = []

        def cancel_and_come_again(day: date = day, answers: list[CancelAnswer] = answers) -> None:
            answers.append(cancel_day(bench, day))
            bench.control.run(children.expire_leases)
            with pytest.raises(DayCancelledError):
                bench.publish(MemorySource(rows_of(day, 4, name="second")), day=day)

        first = MemorySource(rows_of(day, 3, name="first"))
        with pytest.raises(LeaseLostError):
            bench.publish(first, day=day, limits=CALM, on_step=at_step(step, cancel_and_come_again))
        assert (answers, bench.published(day), bench.manifest(day)) == (["stopping"], None, None), step
        assert (bench.record(day).status, bench.record(day).pending) == ("Cancelled", False), step
        third = rows_of(day, 5, name="third")
        bench.publish(MemorySource(third), day=day)
        check_finished(bench, third, day=day)
    check_nothing_left(bench)


def test_a_frozen_writer_whose_cancel_was_acknowledged_for_it_commits_nothing_when_it_wakes(bench: Bench) -> None:
    report = children.new_queue()
    writer = paused(bench, rows_of(DAY, 3), report, day=DAY, at="parts uploaded")
    bench.control.run(hold_leases)
    assert cancel_day(bench, DAY) == "stopping"
    bench.control.run(children.expire_leases)
    with pytest.raises(DayCancelledError):
        bench.publish(MemorySource(rows_of(DAY, 4)))
    resume(writer)
    assert report.get(timeout=60) == "LeaseLostError"
    assert (bench.published(), bench.record().status, bench.record().pending) == (None, "Cancelled", False)
    check_nothing_left(bench)


def test_a_cancelled_day_without_rows_is_not_committed_with_others(either_bench: Bench) -> None:
    bench, other = either_bench, DAY + timedelta(days=1)
    claim = claimed(bench, DAY)
    assert cancel_day(bench, DAY) == "stopping"
    bench.control.run(children.expire_leases)
    done = commit_empty_days(
        Committer(control=bench.control, store=bench.store, limits=QUICK, on_step=no_step),
        bench.export,
        [bench.request(day).day for day in (DAY, other)],
        owner="process:test:2",
        snapshot_at=claim.taken_at,
    )
    assert done is not None
    assert done.days == (other,)
    assert [day for _, day, _ in bench.sequence()] == [other]


def claimed(bench: Bench, day: date) -> Claim:
    """What a writer holds that has just begun."""
    with bench.control.begin() as connection:
        claim = claim_day(
            connection,
            export_id=bench.export.export_id,
            day=day,
            owner="process:test:1",
            claim_id=uuid.uuid4(),
            lease_seconds=600,
            launched_at=None,
        )
    assert isinstance(claim, Claim)
    return claim


def hold_leases(connection: Transaction) -> None:
    """Makes all leases last, however slow the machine is."""
    connection.execute(sa.update(days_table).where(days_table.c.claim_id.is_not(None)).values(lease_until=1 << 60))

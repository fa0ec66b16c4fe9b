"""SIGKILL at every step, then another attempt with other rows: the day is whole at every moment, and right in the end."""

import signal
from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from export_pipeline.exports.control import ControlDatabase
from export_pipeline_tests.exports.core import children
from export_pipeline_tests.exports.core.bench import DAY, QUICK, Bench
from export_pipeline_tests.exports.core.conftest import make_bench
from export_pipeline_tests.exports.core.memory_source import MemorySource, Row, rows_of
from export_pipeline_tests.exports.core.promises import check_finished, check_nothing_left, check_whole
from export_pipeline_tests.servers import Rclone

pytestmark = pytest.mark.slow

BEFORE_COMMIT_POINT = ["claimed", "fenced", "snapshot", "batch", "streamed"]
UPLOAD = ["upload announced", "upload created", "upload recorded", "parts uploaded"]
AFTER_COMMIT_POINT = ["intent", "writing manifest", "manifest", "done"]
COMPLETE = ["completing", "completed", "verified"]
FILE_STEPS = [*BEFORE_COMMIT_POINT, *UPLOAD, *AFTER_COMMIT_POINT, *COMPLETE]
EMPTY_STEPS = [*BEFORE_COMMIT_POINT[:3], "streamed", *AFTER_COMMIT_POINT, "deleting", "deleted"]


def days() -> Iterator[date]:
    """A day for each kill."""
    day = DAY
    while True:
        yield day
        day += timedelta(days=1)


def ended(owner: str) -> bool:
    """Killed processes have ended."""
    return True


def kill_and_repeat(
    bench: Bench, day: date, step: str, *, before: list[Row] | None, new: list[Row], later: list[Row]
) -> None:
    """An attempt that is killed at a step, and one with other rows that goes through."""
    if before is not None:
        bench.publish(MemorySource(before), day=day)
    attempt = children.attempt_of(bench, new, day=day, at=step, allow_shrink=True)
    assert children.run(attempt) == -signal.SIGKILL, f"the step {step} was not reached"
    check_whole(bench, [before, new or None], day=day)
    bench.publish(MemorySource(later), day=day, owner_ended=ended, allow_shrink=True)
    check_finished(bench, later, day=day)


def test_a_first_export_that_is_killed_at_any_step_is_finished_by_the_next(any_bench: Bench) -> None:
    for day, step in zip(days(), FILE_STEPS, strict=False):
        kill_and_repeat(any_bench, day, step, before=None, new=rows_of(day, 12), later=rows_of(day, 13, name="later"))
    check_nothing_left(any_bench)

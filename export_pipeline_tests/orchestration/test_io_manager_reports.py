"""How the days of a run are reported, whatever becomes of each."""

import uuid
from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import pytest

from export_pipeline.errors import DestinationUnavailableError, ExportPipelineError, ShrunkError
from export_pipeline.exports.commit.day import DayOutcome
from export_pipeline.orchestration.bundled_log import BundledLog
from export_pipeline.orchestration.failure import DaysFailedError, as_failure
from export_pipeline.orchestration.io_manager import DayMetadata, report_days

DAYS = tuple(date(2026, 3, 1) + timedelta(days=number) for number in range(5))


def outcome(rows: int = 3) -> DayOutcome:
    return DayOutcome(
        outcome="committed" if rows else "empty",
        rows=rows,
        rejected=1,
        replaced=2,
        bytes=rows * 100,
        uri="s3://b/key" if rows else None,
        manifest_uri="s3://b/manifest",
        epoch=4,
        commit_id=uuid.uuid4(),
        seconds=0.25,
        reasons={"total_cost: not a number": 1},
        first_rejected=({"id": "a", "start_time": None, "reason": "total_cost: not a number"},),
    )


TOLD = {
    "rejected_rows_by_reason": {"total_cost: not a number": 1},
    "first_rejected_rows": dg.MetadataValue.table(
        [dg.TableRecord({"id": "a", "start_time": "–", "reason": "total_cost: not a number"})],
        dg.TableSchema([dg.TableColumn(name, "string") for name in ("id", "start_time", "reason")]),
    ),
}


class Recorder:
    """Gives the results that it is told to, and remembers what is reported."""

    def __init__(self, *results: DayOutcome | BaseException) -> None:
        self.results = results
        self.reported: dict[date, DayMetadata] = {}
        self.recorded: dict[date, DayMetadata] = {}
        self.lines: list[str] = []

    def report(self, days: tuple[date, ...] | None = None) -> None:
        """Reports the results as those of the first days, or of these."""
        days = DAYS[: len(self.results)] if days is None else days
        report_days(self._results(), project="project 'chat'", days=days, reports=self)

    def materialized(self, day: date, metadata: DayMetadata) -> None:
        self.reported[day] = metadata

    def record(self, day: date, metadata: DayMetadata) -> None:
        self.recorded[day] = metadata

    def log(self, line: str) -> None:
        self.lines.append(line)

    def _results(self) -> Iterator[tuple[date, DayOutcome | ExportPipelineError]]:
        for day, result in zip(DAYS, self.results, strict=False):
            if isinstance(result, ExportPipelineError | DayOutcome):
                yield day, result
            else:
                raise result


def unavailable(text: str = "the bucket does not answer") -> DestinationUnavailableError:
    return DestinationUnavailableError(text, error_class="Unavailable")


def test_every_day_is_reported_with_what_became_of_it() -> None:
    recorder = Recorder(outcome(3), outcome(0))
    recorder.report()
    assert recorder.reported == {
        DAYS[0]: {
            "outcome": "committed",
            "dagster/partition_row_count": 3,
            "dagster/size_bytes": 300,
            "rejected_rows": 1,
            "superseded_rows": 0,
            "replaced_cells": 2,
            "seconds": 0.25,
            "epoch": 4,
            **TOLD,
            "dagster/uri": "s3://b/key",
            "manifest": "s3://b/manifest",
        },
        DAYS[1]: {
            "outcome": "empty",
            "dagster/partition_row_count": 0,
            "dagster/size_bytes": 0,
            "rejected_rows": 1,
            "superseded_rows": 0,
            "replaced_cells": 2,
            "seconds": 0.25,
            "epoch": 4,
            **TOLD,
            "manifest": "s3://b/manifest",
        },
    }
    assert recorder.recorded == {}


def test_one_bad_day_does_not_stop_the_others_and_only_it_goes_unrecorded() -> None:
    recorder = Recorder(outcome(), unavailable(), outcome())
    with pytest.raises(DaysFailedError, match=r"1 of 3 days of project 'chat' failed: 2026-03-02: the bucket does not"):
        recorder.report()
    assert list(recorder.recorded) == [DAYS[0], DAYS[2]]


def test_days_in_a_row_with_one_cause_are_named_together() -> None:
    recorder = Recorder(unavailable(), unavailable(), outcome(), unavailable(), ShrunkError("fewer rows"))
    with pytest.raises(DaysFailedError) as caught:
        recorder.report()
    assert str(caught.value) == (
        "4 of 5 days of project 'chat' failed: 2026-03-01 to 2026-03-02: the bucket does not answer; "
        "2026-03-04: the bucket does not answer; 2026-03-05: fewer rows"
    )


@pytest.mark.parametrize(
    ("errors", "again"),
    [
        ((unavailable(),), True),
        ((ShrunkError("fewer rows"),), False),
        ((ShrunkError("fewer rows"), unavailable()), True),
    ],
)
def test_a_failure_is_tried_again_only_where_that_may_help(
    errors: tuple[ExportPipelineError, ...], again: bool
) -> None:
    with pytest.raises(dg.Failure) as caught, as_failure():
        Recorder(*errors).report()
    assert caught.value.allow_retries is again
    assert caught.value.metadata["failed_days"] == dg.MetadataValue.int(len(errors))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), ValueError("a mistake of ours")])
def test_what_was_committed_before_an_interruption_is_recorded(interruption: BaseException) -> None:
    recorder = Recorder(outcome(), outcome(), interruption, outcome())
    with pytest.raises(type(interruption)):
        recorder.report()
    assert list(recorder.recorded) == [DAYS[0], DAYS[1]]


def test_a_day_of_which_nothing_is_heard_is_never_green() -> None:
    recorder = Recorder(outcome(), outcome())
    with pytest.raises(RuntimeError, match="nothing came back for the days"):
        recorder.report(DAYS)


def test_the_log_has_a_line_for_each_day_in_few_events() -> None:
    recorder = Recorder(outcome(3), unavailable(), outcome(5))
    with pytest.raises(DaysFailedError):
        recorder.report()
    (event,) = recorder.lines
    assert event.splitlines() == [
        "2026-03-01: committed, 3 rows, 300 bytes, 0.25 s, 1 row rejected: total_cost: not a number (1)",
        "2026-03-02 failed: the bucket does not answer",
        "2026-03-03: committed, 5 rows, 500 bytes, 0.25 s, 1 row rejected: total_cost: not a number (1)",
    ]


def test_lines_are_passed_on_when_they_are_due_and_whatever_ends_the_work() -> None:
    told: list[str] = []
    with BundledLog(told.append, seconds=0) as log:
        log.add("one")
        log.add("two")
    assert told == ["one", "two"]

    def break_off() -> None:
        with BundledLog(told.append) as log:
            log.add("three")
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    with BundledLog(told.append):
        pass
    assert told == ["one", "two", "three"]

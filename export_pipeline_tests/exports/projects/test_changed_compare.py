"""The comparison of what was read with what the trace store says, without either."""

import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from export_pipeline.exports.control.records import DayRecord
from export_pipeline.exports.projects.changed import ChangedDay, change_of, compare, reason
from export_pipeline.sources.protocol import DayFingerprint

DAY = date(2026, 3, 14)
READ = datetime(2026, 3, 15, 0, 31, tzinfo=UTC)
CHANGED = datetime(2026, 3, 14, 12, tzinfo=UTC)
LATER = datetime(2026, 3, 16, 9, 30, tzinfo=UTC)
SAME = DayFingerprint(5, CHANGED, 2, CHANGED)


def micros(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def record(known: DayFingerprint = SAME, **values: Any) -> DayRecord:
    made = DayRecord(
        export_id=uuid.UUID(int=1),
        day=DAY,
        status="Completed",
        epoch=1,
        owner=None,
        lease_until=None,
        cancel_requested=False,
        rows_read=None,
        bytes_uploaded=None,
        manifest_key="k",
        commit_epoch=1,
        rows=known.rows,
        bytes=1,
        fingerprint={
            "rows": known.rows,
            "max_modified_at": known.max_modified_at and known.max_modified_at.isoformat(),
            "feedbacks": known.feedbacks,
            "max_feedback_modified_at": known.max_feedback_modified_at and known.max_feedback_modified_at.isoformat(),
            "digest": known.digest,
            "figures": known.figures,
        },
        snapshot_at=micros(READ),
        completed_at=micros(READ),
        error=None,
        updated_at=micros(READ),
        pending=False,
    )
    return replace(made, **values)


def late(found: DayFingerprint, of: DayRecord | None = None, *, now: datetime = LATER) -> ChangedDay | None:
    result = compare([of or record()], {DAY: found}, now=micros(now))
    assert result.shrunk == ()
    return result.late[0] if result.late else None


def changed(found: DayFingerprint, of: DayRecord | None = None) -> str:
    day = late(found, of)
    assert day is not None
    return day.change


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (replace(SAME, rows=317), "312 rows more"),
        (replace(SAME, max_modified_at=LATER), "rows changed"),
        (replace(SAME, feedbacks=3, max_feedback_modified_at=LATER), "1 feedback more"),
        (replace(SAME, feedbacks=0, max_feedback_modified_at=None), "2 feedbacks fewer"),
        (replace(SAME, max_feedback_modified_at=LATER), "feedback changed"),
        (replace(SAME, rows=6, max_modified_at=LATER, feedbacks=1), "1 row more, 1 feedback fewer,"),
        (replace(SAME, max_modified_at=CHANGED - timedelta(hours=1)), "rows changed"),
    ],
)
def test_the_reason_says_what_differs(found: DayFingerprint, text: str) -> None:
    day = late(found)
    assert day is not None
    assert reason([day]) == f"{text} since 2026-03-15 00:31:00"


@pytest.mark.parametrize(
    ("rows", "modified", "text"),
    [
        (5, 312, "312 rows changed"),
        (317, 312, "312 rows more"),
        (8, 12, "3 rows more, 9 changed,"),
        (8, 1, "3 rows more"),
        (5, 1, "1 row changed"),
        (5, 1_234, "1,234 rows changed"),
        (4, 2, "1 row fewer, 2 changed,"),
    ],
)
def test_rows_that_changed_are_counted_where_that_is_known(rows: int, modified: int, text: str) -> None:
    day = late(replace(SAME, rows=rows, max_modified_at=LATER), record(rows=4))
    assert day is not None
    assert reason([replace(day, modified=modified)]) == f"{text} since 2026-03-15 00:31:00"


def test_the_reason_of_several_days_adds_them_up() -> None:
    first = late(replace(SAME, rows=6))
    second = late(replace(SAME, rows=8, max_modified_at=LATER))
    assert first is not None
    assert second is not None
    assert reason([first, second]) == "4 rows more since 2026-03-15 00:31:00"
    assert reason([first, replace(second, modified=5)]) == "4 rows more, 2 changed, since 2026-03-15 00:31:00"
    third = late(replace(SAME, rows=4), record(rows=4))
    assert third is not None
    assert reason([first, third]) == "1 row more, 1 row fewer, since 2026-03-15 00:31:00"


def test_rows_of_a_day_that_was_empty_are_all_new() -> None:
    day = late(DayFingerprint(7, LATER), record(DayFingerprint(0)))
    assert day is not None
    assert reason([day]) == "7 rows more since 2026-03-15 00:31:00"


def test_columns_that_the_store_has_lost_change_nothing_and_new_ones_are_looked_at_once() -> None:
    assert late(DayFingerprint(5)) is None
    assert late(DayFingerprint(5, None, 0, None), record(DayFingerprint(5))) is None
    assert late(DayFingerprint(5, CHANGED), record(DayFingerprint(5))) is not None
    assert late(DayFingerprint(5, None, 1, None), record(DayFingerprint(5))) is not None
    assert late(DayFingerprint(5), record(DayFingerprint(5, digest=17))) is None
    assert late(DayFingerprint(5, digest=17), record(DayFingerprint(5))) is not None


def test_another_digest_is_a_change_of_no_known_number_and_the_same_one_is_none() -> None:
    known = record(DayFingerprint(5, digest=17))
    assert late(DayFingerprint(5, digest=17), known) is None
    day = late(DayFingerprint(5, digest=18), known)
    assert day is not None
    assert reason([day]) == "rows changed since 2026-03-15 00:31:00"


FIGURES = {"total_tokens": "120", "errors": "2", "feedback helpful": "3, average 0.5"}


@pytest.mark.parametrize(
    ("rows", "figures", "why"),
    [
        (5, {"total_tokens": "121"}, "total tokens changed since"),
        (5, {"errors": None}, "errors changed since"),
        (5, {"pending_runs": "1", "errors": "1"}, "errors, pending runs changed since"),
        (5, {"feedback helpful": "3, average 0.6"}, "feedback changed since"),
        (5, {"feedback other": "1, average 0", "errors": "3"}, "errors changed, feedback changed, since"),
        (7, {"total_tokens": "190"}, "2 rows more since"),
    ],
)
def test_figures_that_differ_are_named(rows: int, figures: dict[str, str | None], why: str) -> None:
    known = record(DayFingerprint(5, feedbacks=3, figures=FIGURES))
    there = {name: value for name, value in {**FIGURES, **figures}.items() if value is not None}

    day = late(DayFingerprint(rows, feedbacks=3, figures=there), known)

    assert day is not None
    assert reason([day]) == f"{why} 2026-03-15 00:31:00"
    again = late(DayFingerprint(rows, feedbacks=3, figures=there), known)
    assert again is not None
    assert again.change == day.change


def test_figures_that_are_the_same_or_gone_are_no_change_and_new_ones_are_looked_at_once() -> None:
    known = record(DayFingerprint(5, feedbacks=3, figures=FIGURES))
    assert late(DayFingerprint(5, feedbacks=3, figures=dict(FIGURES)), known) is None
    assert late(DayFingerprint(5, feedbacks=3), known) is None
    assert late(DayFingerprint(5, figures={"errors": "1"}), record(DayFingerprint(5))) is not None
    assert late(DayFingerprint(5, figures={}), record(DayFingerprint(5))) is None


def test_figures_of_feedback_count_only_where_feedback_is_compared() -> None:
    known = record(DayFingerprint(5, figures=FIGURES))
    other = {**FIGURES, "feedback helpful": "4, average 1"}
    assert late(DayFingerprint(5, figures=other), known) is None
    day = late(DayFingerprint(5, figures={**other, "errors": "1"}), known)
    assert day is not None
    assert reason([day]) == "errors changed since 2026-03-15 00:31:00"


def test_a_day_that_is_not_in_the_store_at_all_has_shrunk_unless_it_was_empty() -> None:
    result = compare([record()], {}, now=micros(LATER))
    assert [(day.committed, day.found) for day in result.shrunk] == [(5, 0)]
    empty = compare([record(DayFingerprint(0))], {}, now=micros(LATER))
    assert (empty.late, empty.shrunk) == ((), ())


def test_rows_that_were_set_aside_may_go() -> None:
    of = record(rows=4)
    assert late(replace(SAME, rows=4), of) is not None
    assert compare([of], {DAY: replace(SAME, rows=3)}, now=micros(LATER)).shrunk != ()


def test_the_same_change_has_the_same_name_and_every_other_one_another() -> None:
    more = replace(SAME, rows=6)
    one = changed(more)
    assert changed(more) == one
    assert late(more, now=LATER + timedelta(days=1)) == late(more)
    others = {
        changed(replace(SAME, rows=7)),
        changed(replace(SAME, max_modified_at=LATER)),
        changed(more, record(replace(SAME, feedbacks=1))),
        changed(more, record(commit_epoch=2)),
        changed(more, record(day=DAY, export_id=uuid.UUID(int=2))),
    }
    assert len(others | {one}) == 6


def test_a_day_with_a_change_just_before_its_reading_is_read_once_more_hours_later() -> None:
    recent = replace(SAME, max_modified_at=READ - timedelta(minutes=14))
    of = record(recent)
    assert late(recent, of, now=READ + timedelta(hours=2, minutes=59)) is None
    again = late(recent, of, now=READ + timedelta(hours=3))
    assert again is not None
    assert again.again
    much_later = late(recent, of, now=READ + timedelta(days=3))
    assert much_later is not None
    assert much_later.change == again.change
    read_again = record(recent, snapshot_at=micros(READ + timedelta(hours=3)))
    assert late(recent, read_again, now=READ + timedelta(days=3)) is None


def test_a_change_longer_before_its_reading_is_taken_as_settled() -> None:
    old = replace(SAME, max_modified_at=READ - timedelta(minutes=16))
    assert late(old, record(old), now=READ + timedelta(days=3)) is None


def test_a_store_whose_changes_are_dated_in_the_future_is_read_once_more_only_once_a_state() -> None:
    ahead = replace(SAME, max_modified_at=READ + timedelta(days=300))
    first = late(ahead, record(ahead), now=READ + timedelta(hours=3))
    second = late(ahead, record(ahead, snapshot_at=micros(READ + timedelta(hours=3))), now=READ + timedelta(hours=9))
    assert first is not None
    assert second is not None
    assert first.change == second.change


def test_several_days_together_have_a_name_of_their_own() -> None:
    first, second = late(replace(SAME, rows=6)), late(replace(SAME, rows=7))
    assert first is not None
    assert second is not None
    assert len({change_of([first]), change_of([second]), change_of([first, second])}) == 3

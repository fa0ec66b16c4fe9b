"""Which committed days the trace store has changed since they were read.

A day is compared by what the store says without reading rows: how many there are, the greatest `modified_at`, the
digest of the columns that the mapping names for it, the sums that an API gives (tokens, costs, errors, runs that have
not ended), and count and `modified_at` of their feedback. That shows rows that came late, changed rows where the store
has `modified_at` or a digest, or where a sum is another one, and rows and feedback that are gone. It does not show,
whatever is looked at:

- a changed row in a store that has none of these, and a row that another one has taken the place of there;
- a change that a transaction made before the day was read and committed afterwards, where the row was there already and
  its `modified_at` is smaller than one that was seen. Hence a day with a change less than `OVERLAP` before its reading
  is read once more when `SETTLED` has passed. Rows that such a transaction has added are counted, and seen at once;
- anything in days older than the look-back.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import DayRecord, TableRecord, read_days
from export_pipeline.runs.filter import read_filter
from export_pipeline.runs.times import instant
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import FEEDBACK_FIGURE, DayFingerprint, RunSource

OVERLAP = timedelta(minutes=15)
"""A transaction may commit so long after the instant that it has written into `modified_at`."""
SETTLED = timedelta(hours=3)
"""How long after its reading a day is read once more, where something had changed just before."""

_FEEDBACK_FIELDS = frozenset({"feedbacks", "feedback_stats"})
"""Fields of a run that a change of its feedback can change, perhaps without touching the run's `modified_at`."""
_NOTHING = DayFingerprint(rows=0)


@dataclass(frozen=True)
class ChangedDay:
    """A committed day to be read again.

    `rows` and `feedbacks` are how many more there are (fewer, where negative); `runs_moved` and `feedbacks_moved`:
    their greatest `modified_at`, the runs' digest or one of the `figures` differs. `seen` is the `modified_at` of the
    runs that was read. `modified`: how many rows have a later one, new rows too; None where that is not known. `again`:
    nothing differs, the day is read once more. `since` is when it was last read. `change` names the change: the same
    text as long as neither side moves. `failed`: the last attempt at the day did.
    """

    day: date
    rows: int
    feedbacks: int
    again: bool
    since: datetime
    change: str
    runs_moved: bool = False
    feedbacks_moved: bool = False
    figures: tuple[str, ...] = ()
    seen: datetime | None = None
    modified: int | None = None
    failed: bool = False


@dataclass(frozen=True)
class ShrunkDay:
    """A day of which the store has fewer rows than were read for its commit; the committed file is kept."""

    day: date
    committed: int
    found: int
    epoch: int


@dataclass(frozen=True)
class DayChanges:
    """What a comparison has found, oldest day first."""

    late: tuple[ChangedDay, ...] = ()
    shrunk: tuple[ShrunkDay, ...] = ()


def find_changed_days(
    control: ControlDatabase,
    source: RunSource,
    table: TableRecord,
    window: Window,
    *,
    busy: Iterable[date] = (),
    seconds: float | None = None,
) -> DayChanges:
    """Compares the export's committed days within the window with the trace store.

    `busy` days, and those that a process holds, are left out. The store is asked once, not at all where there is
    nothing to compare, and once more for each late day, how many of its rows changed. Raises what the source raises,
    also where comparing takes more than `seconds`: a read that failed says nothing about any day.
    """
    last = (window.end - timedelta(microseconds=1)).date()
    now = control.now()
    # The records come first: whatever is published in between is newer than they say, and never looks shrunk.
    with control.read() as transaction:
        records = read_days(transaction, table.export_id, first=window.start.date(), last=last)
    left_out = set(busy)
    watched = [record for record in records if record.day not in left_out and _is_at_rest(record, now)]
    if not watched:
        return DayChanges()
    tree = None if table.filter is None else read_filter(table.filter)
    fingerprints = source.days(table.project_key, window, filter=tree, seconds=seconds)
    if not _FEEDBACK_FIELDS & set(table.fields):
        fingerprints = {day: _without_feedback(each) for day, each in fingerprints.items()}
    result = compare(watched, fingerprints, now=now)
    parts = {part.day: part.window for part in window.days()}

    def counted(day: ChangedDay) -> ChangedDay:
        if not day.runs_moved or day.seen is None:
            return day
        return replace(day, modified=source.changed(table.project_key, parts[day.day], day.seen, filter=tree))

    return replace(result, late=tuple(counted(day) for day in result.late))


def compare(records: Sequence[DayRecord], fingerprints: Mapping[date, DayFingerprint], *, now: int) -> DayChanges:
    """The days whose fingerprint in the store is not the one that was last read and agreed with the commit.

    `records` are of finished commits; days that `fingerprints` lacks have no rows; `now` is in control database
    microseconds.
    """
    late, shrunk = [], []
    for record in records:
        there = fingerprints.get(record.day, _NOTHING)
        if there.rows < record.rows_of_source:
            shrunk.append(ShrunkDay(record.day, record.rows_of_source, there.rows, record.commit_epoch or 0))
        elif (day := _late(record, there, now)) is not None:
            late.append(day)
    return DayChanges(tuple(late), tuple(shrunk))


def reason(days: Sequence[ChangedDay]) -> str:
    """Why days are exported again, in a few words: "312 rows changed since …", "3 rows more, 9 changed, since …".

    Rows that are new count as more; those beyond them whose `modified_at` is later than any that was read as changed.
    """
    parts = _more_and_fewer([day.rows for day in days], "row")
    if any(day.runs_moved for day in days):
        changed = [_changed(day) for day in days if day.runs_moved]
        number = None if None in changed else sum(each for each in changed if each is not None)
        if number:
            parts.append(f"{number:,} changed" if parts else f"{_many(number, 'row')} changed")
        elif not parts:
            names = sorted({name for day in days for name in day.figures})
            parts.append(f"{', '.join(names) or 'rows'} changed".replace("_", " "))
    feedback = _more_and_fewer([day.feedbacks for day in days], "feedback")
    if not feedback and any(day.feedbacks_moved for day in days):
        feedback.append("feedback changed")
    parts += feedback
    since = _second(min(day.since for day in days))
    if not parts:
        return f"read once more: rows had changed shortly before {since}, others may have been committed later"
    return f"{', '.join(parts)}{',' if len(parts) > 1 else ''} since {since}"


def change_of(days: Iterable[ChangedDay]) -> str:
    """Names the changes of several days together, in 16 characters."""
    return _digest([day.change for day in days])


def _late(record: DayRecord, there: DayFingerprint, now: int) -> ChangedDay | None:
    known = _known(record.fingerprint or {})
    rows = there.rows - known.rows if there.is_exact else 0
    # No feedback table is none at all: one that comes later is a change only where it holds something.
    feedbacks = 0 if there.feedbacks is None else there.feedbacks - (known.feedbacks or 0)
    figures, of_feedback = _other_figures(there, known)
    runs_moved = _moved(there.max_modified_at, known.max_modified_at) or _moved(there.digest, known.digest)
    feedbacks_moved = _moved(there.max_feedback_modified_at, known.max_feedback_modified_at)
    runs_moved, feedbacks_moved = runs_moved or bool(figures), feedbacks_moved or bool(of_feedback)
    changed = bool(rows or feedbacks or runs_moved or feedbacks_moved)
    if not changed and not _is_unsettled(record, known, now):
        return None
    seen = _shown(there) if changed else "again"
    return ChangedDay(
        day=record.day,
        rows=rows,
        feedbacks=feedbacks,
        runs_moved=runs_moved,
        feedbacks_moved=feedbacks_moved,
        figures=figures,
        seen=known.max_modified_at,
        modified=None if known.rows else there.rows,
        again=not changed,
        since=instant(record.snapshot_at or 0),
        # The epoch lets a state that comes back after another was published count as a new change.
        change=_digest([str(record.export_id), str(record.day), record.commit_epoch, _shown(known), seen]),
        failed=record.error is not None,
    )


def _moved(here: datetime | int | None, before: datetime | int | None) -> bool:
    """Whether a greatest `modified_at`, or a digest, differs; a column that the store has lost says nothing."""
    return here is not None and here != before


def _other_figures(there: DayFingerprint, known: DayFingerprint) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the figures that differ: of the runs, and of their feedback where the store was asked about it."""
    if there.figures is None:
        return (), ()
    here, before = there.figures, known.figures or {}
    names = sorted(name for name in {*here, *before} if here.get(name) != before.get(name))
    of_feedback = tuple(name for name in names if name.startswith(FEEDBACK_FIGURE))
    return tuple(name for name in names if name not in of_feedback), () if there.feedbacks is None else of_feedback


def _without_feedback(fingerprint: DayFingerprint) -> DayFingerprint:
    return replace(fingerprint, feedbacks=None, max_feedback_modified_at=None)


def _changed(day: ChangedDay) -> int | None:
    """How many rows changed beside those that are new."""
    return None if day.modified is None else max(0, day.modified - max(0, day.rows))


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _more_and_fewer(numbers: Sequence[int], what: str) -> list[str]:
    more, fewer = sum(max(0, number) for number in numbers), -sum(min(0, number) for number in numbers)
    return [f"{_many(count, what)} {how}" for count, how in ((more, "more"), (fewer, "fewer")) if count]


def _is_unsettled(record: DayRecord, known: DayFingerprint, now: int) -> bool:
    read = instant(record.snapshot_at or 0)
    newest = max((at for at in (known.max_modified_at, known.max_feedback_modified_at) if at is not None), default=None)
    return newest is not None and newest > read - OVERLAP and instant(now) >= read + SETTLED


def _is_at_rest(record: DayRecord, now: int) -> bool:
    """Whether the day's commit is finished and nobody works on another one."""
    return record.completed_at is not None and not record.pending and (record.lease_until or 0) <= now


def _known(recorded: Mapping[str, Any]) -> DayFingerprint:
    def moment(name: str) -> datetime | None:
        text = recorded.get(name)
        return None if text is None else datetime.fromisoformat(text)

    return DayFingerprint(
        rows=recorded.get("rows", 0),
        max_modified_at=moment("max_modified_at"),
        feedbacks=recorded.get("feedbacks"),
        max_feedback_modified_at=moment("max_feedback_modified_at"),
        digest=recorded.get("digest"),
        figures=recorded.get("figures"),
    )


def _shown(fingerprint: DayFingerprint) -> str:
    at = (fingerprint.max_modified_at, fingerprint.max_feedback_modified_at)
    texts = [None if value is None else value.astimezone(UTC).isoformat() for value in at]
    marks: list[Any] = [] if fingerprint.digest is None else [fingerprint.digest]
    marks += [] if fingerprint.figures is None else [sorted(fingerprint.figures.items())]
    return json.dumps([fingerprint.rows, fingerprint.feedbacks, *texts, *marks])


def _digest(parts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _second(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"

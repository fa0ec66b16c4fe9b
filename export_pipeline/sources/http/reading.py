"""Reading the runs of a window: interval by interval, several at once, in order.

What is certain: every run that was there before the reading of its interval began, and is still there at its end, is
among the rows. Pages come newest first, so a run that is written meanwhile may be missed, or move others to a page that
was read already. Hence the runs of an interval are counted after its last page was read, in another way, which sees
every run that was there before. An interval is believed only where that count is the number of its rows, no
id came twice and no page was out of order; otherwise it is read again. Each row is whole: it is in one page, once.
Intervals are read at different instants, so a run that is written or patched meanwhile may be there or not, as a run
that is written a moment later; the day's statistics are taken before the first interval is read, so that such a change
shows the day as changed.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import Protocol

import pyarrow as pa
from typing_extensions import override

from export_pipeline.backoff import Backoff
from export_pipeline.errors import SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.http.client import TooLargeError
from export_pipeline.sources.http.intervals import BYTES, Interval, cut, parts_of
from export_pipeline.sources.http.rows import Row, RowPage, batch_of
from export_pipeline.sources.protocol import AttachmentSink, DayFingerprint, RunSnapshot

BATCH_ROWS = 1_000
FIRST_PAUSE = 0.5
"""Before an interval is read again, in seconds; each further one is twice as long."""
_READINGS = 5
"""How often an interval is read before its day fails."""
MARGIN = timedelta(milliseconds=1)
"""What is asked for beyond a window's borders, which a server may take as part of it or not, and may round."""
_MARGIN = MARGIN // timedelta(microseconds=1)

Outcome = list[Row] | tuple[Interval, Interval]
"""An interval's rows in order, or what it is cut into."""


class Listing(Protocol):
    """The runs of one project that are wanted, as an API lists them. Its methods are called from several threads."""

    service: str
    """What errors call the API."""
    project: str
    """Its id."""
    page_rows: int
    """The most that a page has."""
    stop: threading.Event
    """Ends all waiting."""

    def page(self, window: Window, cursor: str | None, rows: int) -> RowPage:
        """A page of at most so many runs that start within the window or up to `MARGIN` from it, newest first.

        Raises `TooLargeError` where a smaller one should be asked for.
        """

    def count(self, window: Window) -> int:
        """How many start within it, found out in another way; sees every run that was there before the question."""

    def completed(self, rows: list[Row]) -> list[Row]:
        """The rows of the next interval, with what has to be asked for apart from pages; asked in order."""
        return rows

    def keep_attachments(self, sink: AttachmentSink) -> bool:  # noqa: ARG002 - none are given to it
        """Whether there are any, which `completed` gives to the sink from now on."""
        return False


class _UnsteadyError(Exception):
    """The pages of an interval do not fit together."""


class WindowReading(RunSnapshot):
    """The runs of one project and window."""

    def __init__(self, listing: Listing, window: Window, before: DayFingerprint, *, at_once: int) -> None:
        """`before` is the window's, asked for before anything is read; `at_once` is how many intervals are."""
        self._listing, self._window, self._before, self._at_once = listing, window, before, at_once
        self._page_rows = listing.page_rows
        self._row_bytes = 0.0
        """Of JSON, in the interval that was read last."""
        self._counted: int | None = None
        self._is_begun = False

    @property
    def fingerprint(self) -> DayFingerprint:
        """After the end the rows that the API counted interval by interval, with the other figures from before."""
        return self._before if self._counted is None else replace(self._before, rows=self._counted)

    @override
    def keep_attachments(self, sink: AttachmentSink) -> bool:
        return self._listing.keep_attachments(sink)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Rows of an interval at a time."""
        if self._is_begun:
            raise RuntimeError("the batches of a snapshot are read once")
        self._is_begun = True
        pool = ThreadPoolExecutor(self._at_once, thread_name_prefix="interval")
        try:
            yield from self._in_order(pool)
        finally:
            self._listing.stop.set()
            pool.shutdown(cancel_futures=True)

    def _in_order(self, pool: ThreadPoolExecutor) -> Iterator[pa.RecordBatch]:
        """Reads the oldest interval and, as far as `at_once` allows, those after it, and hands out one after the other.

        What is read and not handed out yet counts too: an interval that is cut again and again must not pile up the
        newer part of each time.
        """
        todo: deque[_Task] = deque()
        coming, counted = self._intervals(), 0
        while True:
            todo.extend(map(_Task, islice(coming, max(0, self._at_once - len(todo)))))
            if not todo:
                break
            free = self._at_once - sum(task.future is not None for task in todo)
            for place, task in enumerate(islice(todo, self._at_once)):
                if task.future is None and (free > 0 or place == 0):
                    task.future = pool.submit(self._read, task.interval)
                    free -= 1
            task = todo.popleft()
            assert task.future is not None  # noqa: S101
            found, task.future = task.future.result(), None
            if isinstance(found, tuple):
                todo.extendleft(map(_Task, reversed(found)))
                continue
            counted += len(found)
            found = self._listing.completed(found)
            while found:
                yield batch_of(found[:BATCH_ROWS])
                del found[:BATCH_ROWS]
        self._counted = counted

    def _intervals(self) -> Iterator[Interval]:
        """The window's, made as they are asked for: shorter ones once rows have turned out to be large."""
        rows = self._before.rows
        for interval in cut(self._window, rows):
            expected = rows / parts_of(rows) * self._row_bytes
            yield from interval.parts(max(1, math.ceil(expected / BYTES)))

    def _read(self, interval: Interval) -> Outcome:
        """Reads an interval until its rows are as many as the API counts."""
        backoff = Backoff(math.inf, first=FIRST_PAUSE, longest=10.0, stop=self._listing.stop)
        failure = ""
        for reading in range(_READINGS):
            if reading:
                backoff.wait()
            try:
                found = self._once(interval)
                if isinstance(found, tuple):
                    return found
                counted = self._listing.count(interval.window)
                if counted == len(found):
                    return found
                failure = f"{len(found):,} were read where counting them gives {counted:,}"
            except TooLargeError:
                return self._read(interval)
            except _UnsteadyError as error:
                failure = str(error)
        raise SourceUnreachableError(
            f"{self._listing.service} does not tell which runs of project {self._listing.project} start in "
            f"{interval.window}: {failure}"
        )

    def _ask_for_less(self, rows: int) -> None:
        """A page of so many rows was too large; another interval may have found that out meanwhile."""
        if rows == 1:
            raise SourceUnusableError(f"{self._listing.service} gives a run that is larger than an answer may be")
        self._page_rows = min(self._page_rows, max(1, rows // 4))

    def _once(self, interval: Interval) -> Outcome:
        found: list[Row] = []
        ids: set[str] = set()
        cursors: set[str] = set()
        cursor: str | None = None
        reached, size, window = interval.end + _MARGIN, 0, interval.window
        while True:
            rows = self._page_rows
            try:
                page = self._listing.page(window, cursor, rows)
            except TooLargeError:
                self._ask_for_less(rows)
                raise
            for row in page.rows:
                if row.id in ids:
                    raise _UnsteadyError(f"the run {row.id} came twice")
                if not interval.start - _MARGIN <= row.start <= interval.end + _MARGIN:
                    raise _UnsteadyError(f"the run {row.id} starts elsewhere")
                if row.start > reached + _MARGIN:
                    raise _UnsteadyError("its pages are not ordered by start_time")
                ids.add(row.id)
                reached = min(reached, row.start)
                if interval.start <= row.start < interval.end:
                    found.append(row)
            size += page.size
            if found:
                self._row_bytes = size / len(found)
            cursor = page.cursor
            if cursor is None:
                return sorted(found, key=lambda row: (row.start, row.id))
            if cursor in cursors:
                raise _UnsteadyError("its pages repeat a cursor")
            cursors.add(cursor)
            if size > interval.most_bytes and (parts := interval.split(reached)) is not None:
                return parts


@dataclass
class _Task:
    """An interval, and what reads it as soon as something does."""

    interval: Interval
    future: Future[Outcome] | None = None

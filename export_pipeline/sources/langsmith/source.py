"""LangSmith as a trace store: projects, counts of days, and the runs of a window."""

import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial

from typing_extensions import override

from export_pipeline.errors import SourceSlowError, SourceUnreachableError
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.sources.http.client import IN_FLIGHT
from export_pipeline.sources.http.files import FileLimits
from export_pipeline.sources.http.intervals import least_requests, parts_of
from export_pipeline.sources.http.reading import WindowReading
from export_pipeline.sources.http.source import ApiSource
from export_pipeline.sources.langsmith.api import LangSmithApi, Query
from export_pipeline.sources.langsmith.check import report
from export_pipeline.sources.langsmith.filter import filter_text
from export_pipeline.sources.langsmith.rows import selected_by, selects
from export_pipeline.sources.langsmith.runs import Runs
from export_pipeline.sources.langsmith.stats import Stats
from export_pipeline.sources.protocol import (
    DayFingerprint,
    OutsideRows,
    Pace,
    Project,
    ProjectKey,
    SourceReport,
)

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(2100, 1, 1, tzinfo=UTC)
"""Between them lies what is asked about where no window is given."""
_GLANCE_ROWS = 10
"""Runs that are listed to see that there is none: those close to the borders do not count."""
_DAYS_ONE_BY_ONE = 8
"""Longer windows are halved first: most of them have no rows in most of their days."""


class LangSmithSource(ApiSource):
    """The trace store of one workspace."""

    def __init__(self, api: LangSmithApi, *, at_once: int, files: FileLimits) -> None:
        """`api` is closed with the source; `at_once` intervals of a day are read at once; `files` are attachments."""
        super().__init__()
        self._api, self._at_once, self._files = api, at_once, files

    def connect(self) -> None:
        """Asks one question, so that a wrong address or key is told at once."""
        self._api.shape  # noqa: B018 - what it is does not matter here

    @property
    @override
    def pace(self) -> Pace:
        """Two questions about the day, its pages, and a count of each interval."""
        page = self._api.page_rows
        return Pace(self._api.rate, lambda rows: 2 + least_requests(rows, page) + parts_of(rows))

    @override
    def check(self) -> SourceReport:
        return report(self._api)

    @override
    def projects(self) -> list[Project]:
        return self._api.projects()

    @override
    def days(
        self,
        project: ProjectKey,
        window: Window | None = None,
        *,
        filter: Filter | None = None,
        seconds: float | None = None,
    ) -> dict[date, DayFingerprint]:
        names = [name for field in ("id", "start_time") for name in selected_by(self._api.shape, field)]
        query = _query(project, filter, names)
        return _Days(self._api, query, seconds).counted(window or Window(_FIRST, _LAST))

    @override
    def outside(self, project: ProjectKey, window: Window) -> OutsideRows:
        query = _query(project, None)
        before = self._api.stats(query, _FIRST, window.start).rows if window.start > _FIRST else 0
        return OutsideRows(before=before, after=self._api.stats(query, window.end).rows, unreadable=0)

    @override
    @contextmanager
    def open(
        self,
        project: ProjectKey,
        window: Window,
        fields: Collection[str] | None = None,
        *,
        filter: Filter | None = None,
    ) -> Iterator[WindowReading]:
        query = _query(project, filter, selects(self._api.shape, fields))
        query = replace(query, with_feedbacks=fields is not None and "feedbacks" in fields)
        try:
            before = _fingerprint(self._api, query, window)
            yield WindowReading(Runs(self._api, query, self._files), window, before, at_once=self._at_once)
        finally:
            query.stop.set()

    @override
    def close(self) -> None:
        self._api.close()


def _query(project: ProjectKey, tree: Filter | None, names: Collection[str] = ()) -> Query:
    return Query(project.id, None if tree is None else filter_text(tree), tuple(names))


def _pending(query: Query) -> Query:
    """Those of the runs that have not ended. One that ends may change no sum, and its day shows it by their number."""
    both = [*([] if query.filter is None else [query.filter]), 'eq(status, "pending")']
    return replace(query, filter=both[0] if len(both) == 1 else f"and({', '.join(both)})")


def _fingerprint(api: LangSmithApi, query: Query, window: Window) -> DayFingerprint:
    stats = api.stats(query, window.start, window.end)
    pending = api.stats(_pending(query), window.start, window.end).rows if stats.rows else 0
    return stats.fingerprint(pending=pending)


class _Days:
    """The days of a window that have rows, each counted by a question of its own, several at once."""

    def __init__(self, api: LangSmithApi, query: Query, seconds: float | None) -> None:
        self._api, self._query = api, query
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def counted(self, window: Window) -> dict[date, DayFingerprint]:
        """Raises `SourceSlowError` where it takes longer than it may."""
        pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="langsmith")
        try:
            found = list(self._found(pool, list(window.days()), self._query))
            pending = self._pending(pool, [day for day, _ in found])
            return {part.day: stats.fingerprint(pending=pending.get(part.day, 0)) for part, stats in found}
        finally:
            self._query.stop.set()  # where one question failed, the others are not asked to the end of the patience
            pool.shutdown(cancel_futures=True)

    def _pending(self, pool: ThreadPoolExecutor, days: list[DayWindow]) -> dict[date, int]:
        """How many runs have not ended, of the days that have any: mostly one question tells that there are none."""
        query = _pending(self._query)
        if not days or not self._stats(query, days).rows:
            return {}
        return {day.day: stats.rows for day, stats in self._found(pool, days, query)}

    def _found(
        self, pool: ThreadPoolExecutor, days: list[DayWindow], query: Query
    ) -> Iterator[tuple[DayWindow, Stats]]:
        """Those of the days that have rows, level by level: each half of what has any, then each day."""
        ask = partial(self._stats, query)
        spans = [days]
        while len(spans[0]) > _DAYS_ONE_BY_ONE:
            halves = [half for span in spans for half in (span[: len(span) // 2], span[len(span) // 2 :])]
            rows = list(pool.map(ask, halves))
            spans = [half for half, stats in zip(halves, rows, strict=True) if stats.rows]
            if not spans:
                return
        each = [day for span in spans for day in span]
        for day, stats in zip(each, pool.map(ask, ([day] for day in each)), strict=True):
            if stats.rows:
                yield day, stats

    def _stats(self, query: Query, days: list[DayWindow]) -> Stats:
        left = None if self._deadline is None else self._deadline - time.monotonic()
        start, end = days[0].window.start, days[-1].window.end
        if left is not None and left <= 0:
            raise SourceSlowError(f"LangSmith took more than {self._seconds:g} s to count rows")
        stats = self._api.stats(query, start, end, seconds=left)
        return (
            stats if stats.rows or query is not self._query else self._doubted(Window(start, end), stats, seconds=left)
        )

    def _doubted(self, window: Window, stats: Stats, *, seconds: float | None) -> Stats:
        """Days without rows are committed without being read: that there are none is asked in another way too."""
        page = self._api.page(self._query, window, None, _GLANCE_ROWS, seconds=seconds)
        inside = [row for row in page.rows if row.is_in(window)]
        if not inside:
            return stats
        raise SourceUnreachableError(
            f"LangSmith's statistics count no run of project {self._query.project} in {window}, where it lists "
            f"{inside[0].id}"
        )

"""Langfuse Cloud as a trace store: the project of a key, its days, and the runs of a window."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

from typing_extensions import override

from export_pipeline.errors import SourceSlowError
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.schema import DEFAULT_FIELDS
from export_pipeline.runs.window import Window
from export_pipeline.sources.http.intervals import least_requests
from export_pipeline.sources.http.reading import Listing, WindowReading
from export_pipeline.sources.http.rows import Row, RowPage
from export_pipeline.sources.http.source import ApiSource
from export_pipeline.sources.langfuse_cloud.api import SPANS_A_PAGE, LangfuseApi, Query
from export_pipeline.sources.langfuse_cloud.check import report
from export_pipeline.sources.langfuse_cloud.filter import conditions_of
from export_pipeline.sources.langfuse_cloud.rows import Span, groups, span_of_row, with_cells
from export_pipeline.sources.langfuse_cloud.scores import Feedback
from export_pipeline.sources.langfuse_cloud.tree import Paths
from export_pipeline.sources.protocol import (
    DayFingerprint,
    OutsideRows,
    Pace,
    Project,
    ProjectKey,
    SourceReport,
)

PAGE_ROWS = 400
"""Of a page with payloads; the counting pages are larger, so that their borders lie elsewhere."""
LOOK_BACK = timedelta(days=1)
"""Before a window, in which ancestors of its runs may have begun."""
PATIENCE = 60.0
"""How long metrics are waited for, in seconds: where they are used up, it may be a day until they come again."""
_FIRST = datetime(2023, 1, 1, tzinfo=UTC)
"""Before that there was no Langfuse."""
_PART = timedelta(days=900)
"""Of which metrics give all days at once."""
_FEEDBACK = frozenset({"feedback_stats", "feedbacks"})


class LangfuseCloudSource(ApiSource):
    """The trace store of one project."""

    def __init__(self, api: LangfuseApi, *, at_once: int) -> None:
        """`api` is closed with the source; `at_once` is how many intervals of a day are read at once."""
        super().__init__()
        self._api, self._at_once = api, at_once

    def connect(self) -> None:
        """Asks one question, so that a wrong address or key is told at once."""
        self._api.projects()

    @property
    @override
    def pace(self) -> Pace:
        """The day's figures, its pages, and the same by id alone; what else depends on the traces is not among it."""
        return Pace(self._api.rate, lambda rows: 1 + least_requests(rows, PAGE_ROWS, SPANS_A_PAGE))

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
        query, whole = Query(project.id, conditions_of(filter)), Window(_FIRST, _end_of_today())
        return self._counted(query, window or whole, PATIENCE if seconds is None else seconds)

    @override
    def outside(self, project: ProjectKey, window: Window) -> OutsideRows:
        days = self.days(project)
        return OutsideRows(
            before=sum(each.rows for day, each in days.items() if day < window.start.date()),
            after=sum(each.rows for day, each in days.items() if day >= window.end.date()),
            unreadable=0,
        )

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
        query = Query(project.id, conditions_of(filter), groups(fields))
        with_scores = bool(_FEEDBACK & set(DEFAULT_FIELDS if fields is None else fields))
        try:
            before = self._before(query, window)
            listing = _Observations(self._api, query, window, with_scores=with_scores)
            yield WindowReading(listing, window, before, at_once=self._at_once)
        finally:
            query.stop.set()

    @override
    def close(self) -> None:
        self._api.close()

    def _counted(self, query: Query, window: Window, seconds: float) -> dict[date, DayFingerprint]:
        deadline = time.monotonic() + seconds
        found: dict[date, DayFingerprint] = {}
        start = max(window.start, _FIRST)
        while start < window.end:
            end = min(start + _PART, window.end)
            left = deadline - time.monotonic()
            if left <= 0:
                raise SourceSlowError(f"{self._api.service} took more than {seconds:g} s to count rows")
            last = (end - timedelta(microseconds=1)).date()
            marks = self._api.marks(query, Window(start, end), seconds=left)
            found |= {mark.day: mark.fingerprint for mark in marks if start.date() <= mark.day <= last}
            start = end
        return dict(sorted(found.items()))

    def _before(self, query: Query, window: Window) -> DayFingerprint:
        """The figures that say later whether the window has changed; none where metrics are used up for now."""
        try:
            found = self._counted(query, window, PATIENCE)
        except SourceSlowError:
            return DayFingerprint(rows=0, is_exact=False)
        if len(found) == 1:
            return next(iter(found.values()))
        return DayFingerprint(rows=sum(each.rows for each in found.values()), is_exact=False)


class _Observations(Listing):
    """The observations of a query, to be read interval by interval."""

    def __init__(self, api: LangfuseApi, query: Query, window: Window, *, with_scores: bool) -> None:
        self._api, self._query, self._with_scores = api, query, with_scores
        self.service, self.project, self.stop = api.service, query.project, query.stop
        self.page_rows = PAGE_ROWS
        self._ancestors = Window(window.start - LOOK_BACK, window.end)
        self._paths = Paths(self._of_trace)

    @override
    def page(self, window: Window, cursor: str | None, rows: int) -> RowPage:
        return self._api.page(self._query, window, cursor, rows)

    @override
    def count(self, window: Window) -> int:
        """Lists the ids once more, in other pages: metrics count every version of an observation."""
        query = Query(self._query.project, self._query.conditions, stop=self._query.stop)
        return len({span.id for span in self._api.spans(query, window) if _is_in(span, window)})

    @override
    def completed(self, rows: list[Row]) -> list[Row]:
        spans = [span_of_row(row) for row in rows]
        self._paths.add(spans)
        traces = list(dict.fromkeys(span.trace for span in spans)) if self._with_scores else []
        feedback = Feedback(self._api.scores(traces, self._query.stop))
        return [
            with_cells(row, {"dotted_order": self._paths.of(span), **feedback.cells(span)})
            for row, span in zip(rows, spans, strict=True)
        ]

    def _of_trace(self, trace: str) -> Iterator[Span]:
        query = Query(self._query.project, stop=self._query.stop)
        return self._api.spans(query, self._ancestors, trace=trace)


def _is_in(span: Span, window: Window) -> bool:
    return Row(span.start, span.id, ()).is_in(window)


def _end_of_today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)

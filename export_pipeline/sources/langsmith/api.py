"""The calls of the API that a trace store needs, in the version that the server has."""

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.times import instant, micros
from export_pipeline.runs.window import Window
from export_pipeline.settings import MIB
from export_pipeline.sources.http.api import Api
from export_pipeline.sources.http.client import MOST_BYTES, BadAnswerError, Client, MissingError, RefusedError
from export_pipeline.sources.http.reading import MARGIN
from export_pipeline.sources.http.rows import RowPage
from export_pipeline.sources.langsmith.feedback import NOTHING, expected_of, feedbacks_of
from export_pipeline.sources.langsmith.filter import between, moment
from export_pipeline.sources.langsmith.pages import page_of
from export_pipeline.sources.langsmith.quick_rows import quick_page
from export_pipeline.sources.langsmith.rows import (
    OPTIONAL,
    AttachedRow,
    Attachment,
    Shape,
    row_of,
    selected_by,
    with_feedbacks,
)
from export_pipeline.sources.langsmith.stats import Stats, stats_of
from export_pipeline.sources.protocol import Project

PAGE_ROWS: dict[Shape, int] = {"v2": 1_000, "v1": 100}
"""The largest page that each version gives."""
RATES: dict[Shape, float] = {"v2": 27.0, "v1": 1.25}
"""Requests a second that are made of each: LangSmith's cloud allows 300 and 15 within ten seconds."""
MOST_BYTES_OF_ONE = 256 * MIB
"""Of an answer with one run."""
_SESSIONS_A_PAGE = 100
_LISTINGS = 3


@dataclass(frozen=True)
class Query:
    """Runs of a project; `filter` in the API's words, `selects` in those of its version.

    `with_feedbacks`: each with the records of its feedback, for which the statistics of feedback must be selected.
    `with_addresses`: with the addresses of attachments, which the server must know then.
    """

    project: str
    filter: str | None = None
    selects: Sequence[str] = ()
    with_feedbacks: bool = False
    with_addresses: bool = False
    stop: threading.Event = field(default_factory=threading.Event, compare=False)


class LangSmithApi(Api):
    """One LangSmith; its methods may be called from several threads at once."""

    def __init__(self, client: Client, *, rate: float | None = None) -> None:
        """`rate`: requests a second, where it is not the version's that decides."""
        super().__init__(client)
        self._rate = rate
        self._shape: Shape | None = None
        self._unknown: frozenset[str] = frozenset()

    @property
    def patience(self) -> float:
        """How long any answer is waited for, in seconds."""
        return self._client.patience

    @property
    def rate(self) -> float:
        """Requests a second that all workers together may make of it."""
        return self._rate or RATES[self.shape]

    @property
    def page_rows(self) -> int:
        """The largest page that it gives."""
        return PAGE_ROWS[self.shape]

    @property
    def shape(self) -> Shape:
        """The version that runs are listed by: `v1` where the server does not know the later one."""
        if self._shape is None:
            # An empty question is refused by the call that it is for, and not known where there is none.
            try:
                self._client.ask("POST", "/api/v2/runs/query", lambda text: page_of(text, runs="items"), body="{}")
            except MissingError:
                self._shape = "v1"
            except RefusedError:
                self._shape = "v2"
            else:
                self._shape = "v2"
            self._client.rate = self.rate
        return self._shape

    def page(
        self, query: Query, window: Window, cursor: str | None, rows: int, *, seconds: float | None = None
    ) -> RowPage:
        """A page of at most so many runs that start within the window or close to it, newest first."""
        optional = frozenset() if query.with_addresses else OPTIONAL
        known = [name for name in query.selects if name not in self._unknown & optional]
        try:
            return self._page(replace(query, selects=known), window, cursor, rows, seconds=seconds)
        except RefusedError:
            if not (optional := optional & set(known)):
                raise
            self._unknown |= optional
            return self.page(query, window, cursor, rows, seconds=seconds)

    def _page(self, query: Query, window: Window, cursor: str | None, rows: int, *, seconds: float | None) -> RowPage:
        first, last = moment(window.start - MARGIN), moment(window.end + MARGIN)
        body: dict[str, Any]
        if self.shape == "v2":
            path, name = "/api/v2/runs/query", "items"
            body = {
                "project_ids": [query.project],
                "min_start_time": first,
                "max_start_time": last,
                "selects": list(query.selects),
                "page_size": rows,
            }
            if query.filter is not None:
                body["filter"] = query.filter
        else:
            path, name = "/api/v1/runs/query", "runs"
            body = {
                "session": [query.project],
                "start_time": first,
                "filter": between(None, window.end + MARGIN, query.filter),
                "select": list(query.selects),
                "limit": rows,
            }
        if cursor is not None:
            body["cursor"] = cursor

        rated: dict[str, int] = {}

        def read(text: str) -> RowPage:
            is_plain = name == "items" and not query.with_feedbacks
            if is_plain and (quick := quick_page(text, query.project, with_addresses=query.with_addresses)):
                return quick
            page = page_of(text, runs=name)
            found = [row_of(run, query.project, with_addresses=query.with_addresses) for run in page.runs]
            if query.with_feedbacks:
                counts = zip(found, map(expected_of, page.runs), strict=True)
                rated.update({row.id: count for row, count in counts if count})
            return RowPage(found, page.cursor, len(text))

        most = MOST_BYTES_OF_ONE if rows == 1 else MOST_BYTES
        page = self._client.ask(
            "POST", path, read, body=json.dumps(body), seconds=seconds, stop=query.stop, most_bytes=most
        )
        return self._with_feedbacks(query, page, rated) if query.with_feedbacks else page

    def _with_feedbacks(self, query: Query, page: RowPage, rated: Mapping[str, int]) -> RowPage:
        records = feedbacks_of(self._client, rated, stop=query.stop)
        return replace(page, rows=[with_feedbacks(row, records.get(row.id, NOTHING)) for row in page.rows])

    def attachments(self, query: Query, row: AttachedRow) -> tuple[Attachment, ...]:
        """A run's attachments with new addresses; none where it is not there any more."""
        names = dict.fromkeys(
            name for field in ("id", "start_time", "extra") for name in selected_by(self.shape, field)
        )
        only = replace(query, filter=f"eq(id, {json.dumps(row.id)})", selects=tuple(names), with_feedbacks=False)
        start = instant(row.start)
        found = self.page(only, Window(start, start + timedelta(microseconds=1)), None, 1).rows
        return next((each.attachments for each in found if isinstance(each, AttachedRow) and each.id == row.id), ())

    def stats(
        self, query: Query, start: datetime, end: datetime | None = None, *, seconds: float | None = None
    ) -> Stats:
        """Statistics of the runs with `start <= start_time < end`."""
        body = {
            "session": [query.project],
            "start_time": moment(start - MARGIN),
            "filter": between(start, end, query.filter),
        }
        return self._client.ask(
            "POST", "/api/v1/runs/stats", stats_of, body=json.dumps(body), seconds=seconds, stop=query.stop
        )

    def projects(self) -> list[Project]:
        """All projects, oldest first; raises `SourceUnreachableError` where the list changes all the time."""
        for _ in range(_LISTINGS):
            found = self._listed()
            if found is not None:
                return sorted(found.values(), key=lambda project: (project.start_time or instant(0), project.key))
        raise SourceUnreachableError("LangSmith's list of projects changed each time that it was read")

    def _listed(self) -> dict[str, Project] | None:
        """The projects by id; None where one moved between two pages, so that another one may be missing.

        Each page begins with the last project of the one before.
        """
        found: dict[str, Project] = {}
        last: str | None = None
        while True:
            offset = max(0, len(found) - 1)
            listed = self._client.ask("GET", f"/api/v1/sessions?{urlencode(_listing(offset))}", _sessions)
            if last is not None and (not listed or listed[0].key != last):
                return None
            new = listed if last is None else listed[1:]
            if any(project.key in found for project in new):
                return None
            found.update({project.key: project for project in new})
            if len(listed) < _SESSIONS_A_PAGE:
                return found
            last = listed[-1].key


def _listing(offset: int) -> dict[str, Any]:
    return {
        "limit": _SESSIONS_A_PAGE,
        "offset": offset,
        "sort_by": "start_time",
        "sort_by_desc": "false",
        "include_stats": "false",
    }


def _sessions(text: str) -> list[Project]:
    try:
        listed = json.loads(text)
    except ValueError:
        raise BadAnswerError("the answer is not JSON, or is cut off") from None
    if not isinstance(listed, list):
        raise BadAnswerError(f"the answer is no list of projects: {text[:200]}")
    return list(map(_project, listed))


def _project(session: Any) -> Project:
    key, name = (session.get(each) if isinstance(session, dict) else None for each in ("id", "name"))
    if not isinstance(key, str) or not isinstance(name, str):
        raise BadAnswerError("a project has no id or no name")
    began = micros(session.get("start_time"))
    return Project(
        key=key,
        name=name,
        tenant_key=session.get("tenant_id"),
        is_experiment=session.get("reference_dataset_id") is not None,
        start_time=None if began is None else instant(began),
    )

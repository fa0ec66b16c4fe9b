"""The calls of the API that a trace store needs."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from typing_extensions import override

from export_pipeline.errors import SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.window import Window
from export_pipeline.settings import MIB
from export_pipeline.sources.http.api import Api
from export_pipeline.sources.http.client import MOST_BYTES, BadAnswerError, Client, MissingError, TooLargeError
from export_pipeline.sources.http.exact import Cells, cells_of, listed
from export_pipeline.sources.http.reading import MARGIN
from export_pipeline.sources.http.rows import RowPage
from export_pipeline.sources.langfuse_cloud.metrics import Mark, marks_of
from export_pipeline.sources.langfuse_cloud.rows import CORE, Span, cut_metadata, row_of, span_of
from export_pipeline.sources.langfuse_cloud.scores import Score, score_of
from export_pipeline.sources.protocol import Project

T = TypeVar("T")

RATE = 1.5
"""Requests a second: the plan Core allows 100 a minute, Hobby 30, Pro 1,000."""
METRICS_RATE = 5.0
"""Of metrics, which have a limit of their own, by the hour or the day: it is met by what a 429 says."""
MOST_BYTES_OF_ONE = 256 * MIB
"""Of an answer with one observation."""
SPANS_A_PAGE = 1_000
SCORES_A_PAGE = 100
"""The largest pages that the API gives."""
CUT_AT = 200
"""Characters of a value of metadata, after which it is cut off unless its key was asked for."""
MOST_KEYS = 4_000
"""Characters of the keys of one request, and of the ids: servers limit the length of an address."""
_MEASURES = (
    ("count", "count"),
    ("inputTokens", "sum"),
    ("outputTokens", "sum"),
    ("totalTokens", "sum"),
    ("totalCost", "sum"),
    ("countScores", "sum"),
)

Condition = dict[str, Any]
"""A condition of a filter, in the API's words."""


@dataclass
class LongKeys:
    """Keys of metadata that a page before had long values under: asked for at once, a page need not come twice."""

    known: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Query:
    """Observations that fulfil all conditions; `groups` of their fields are asked for."""

    project: str
    conditions: Sequence[Condition] = ()
    groups: str = CORE
    long_keys: LongKeys = field(default_factory=LongKeys, compare=False)
    stop: threading.Event = field(default_factory=threading.Event, compare=False)


class LangfuseApi(Api):
    """One Langfuse, and the project of one key; its methods may be called from several threads at once."""

    def __init__(self, client: Client, metrics: Client) -> None:
        """`metrics` asks the same, and has limits of its own."""
        super().__init__(client)
        self._metrics = metrics

    @property
    def rate(self) -> float:
        """Requests a second that all workers together may make of it, metrics aside."""
        return self._client.rate

    def projects(self) -> list[Project]:
        """The key's project."""
        return self._client.ask("GET", "/api/public/projects", _projects)

    def page(self, query: Query, window: Window, cursor: str | None, rows: int) -> RowPage:
        """A page of at most so many observations that start within the window or close to it, newest first."""
        keys = query.long_keys.known
        while True:
            asked = {"expandMetadata": ",".join(sorted(keys))} if keys else {}
            found, following = self._observations(
                query, window, cursor, rows, lambda each: (row_of(each, query.project), _cut_keys(each)), **asked
            )
            needed = frozenset[str]().union(*(cut for _, cut in found))
            if needed <= keys:
                rows_found = [row for row, _ in found]
                return RowPage(rows_found, following, sum(row.size for row in rows_found))
            # What only other pages have need not be asked for where it is too much together.
            keys = keys | needed if _fit(keys | needed) else needed
            if not _fit(keys):
                raise TooLargeError
            query.long_keys.known = keys

    def spans(self, query: Query, window: Window, *, trace: str | None = None) -> Iterator[Span]:
        """The places of all observations that start within the window or close to it, newest first."""
        asked = {} if trace is None else {"traceId": trace}
        return self._all(
            lambda cursor: self._observations(query, window, cursor, SPANS_A_PAGE, span_of, **asked), f"{window}"
        )

    def scores(self, traces: Sequence[str], stop: threading.Event) -> Iterator[Score]:
        """The scores of these traces and of their observations."""
        for ids in _in_pieces(traces):
            given = {"traceId": ",".join(ids), "fields": "details,subject", "limit": str(SCORES_A_PAGE)}

            def page(cursor: str | None, given: dict[str, str] = given) -> tuple[list[Score | None], str | None]:
                more = {} if cursor is None else {"cursor": cursor}
                path = f"/api/public/v3/scores?{urlencode({**given, **more})}"
                return self._client.ask("GET", path, _reader(score_of), stop=stop)

            yield from (score for score in self._all(page, "scores") if score is not None)

    def marks(self, query: Query, window: Window, *, seconds: float) -> list[Mark]:
        """What the API's metrics say of each day of the window that has observations; of at most 900 days."""
        asked = {
            "view": "observations",
            "metrics": [{"measure": measure, "aggregation": how} for measure, how in _MEASURES],
            "timeDimension": {"granularity": "day"},
            "filters": list(query.conditions),
            "fromTimestamp": moment(window.start),
            "toTimestamp": moment(window.end),
            "config": {"row_limit": 1_000},
        }
        path = f"/api/public/v2/metrics?{urlencode({'query': json.dumps(asked)})}"
        return self._metrics.ask("GET", path, marks_of, seconds=seconds, stop=query.stop)

    @override
    def close(self) -> None:
        super().close()
        self._metrics.close()

    def _all(self, page: Callable[[str | None], tuple[list[T], str | None]], what: str) -> Iterator[T]:
        """What all pages list, each asked for with the cursor of the one before."""
        cursor: str | None = None
        cursors: set[str] = set()
        while True:
            found, cursor = page(cursor)
            yield from found
            if cursor is None:
                return
            if cursor in cursors:
                raise SourceUnreachableError(f"{self.service} repeats a cursor where it lists {what}")
            cursors.add(cursor)

    def _observations(
        self,
        query: Query,
        window: Window,
        cursor: str | None,
        rows: int,
        made: Callable[[Cells], T],
        **asked: str,
    ) -> tuple[list[T], str | None]:
        given = {"fields": query.groups, "limit": str(rows), **asked}
        given |= _within(window, query.conditions)
        given |= {} if cursor is None else {"cursor": cursor}
        most = MOST_BYTES_OF_ONE if rows == 1 else MOST_BYTES
        path = f"/api/public/v2/observations?{urlencode(given)}"
        try:
            return self._client.ask("GET", path, _reader(made), stop=query.stop, most_bytes=most)
        except MissingError:
            raise SourceUnusableError(
                f"{self.service} at {self.address} has no second version of the observations API: it comes with "
                "Langfuse 4; the database of an older one can be read by clickhouse://"
            ) from None


def moment(at: datetime) -> str:
    """An instant as the API writes it, to the millisecond."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _within(window: Window, conditions: Sequence[Condition]) -> dict[str, str]:
    first, last = moment(window.start - MARGIN), moment(window.end + MARGIN)
    if not conditions:
        return {"fromStartTime": first, "toStartTime": last}
    # A filter takes the place of all other conditions.
    times = [
        {"type": "datetime", "column": "startTime", "operator": ">=", "value": first},
        {"type": "datetime", "column": "startTime", "operator": "<", "value": last},
    ]
    return {"filter": json.dumps([*times, *conditions])}


def _in_pieces(texts: Sequence[str]) -> Iterator[list[str]]:
    """The texts in lists that are short enough for an address."""
    piece: list[str] = []
    for text in texts:
        if piece and len(",".join(piece)) + len(text) > MOST_KEYS:
            yield piece
            piece = []
        piece.append(text)
    if piece:
        yield piece


def _reader(made: Callable[[Cells], T]) -> Callable[[str], tuple[list[T], str | None]]:
    """Reads what an answer lists, and the cursor of the next page, None after the last one."""

    def read(answer: str) -> tuple[list[T], str | None]:
        cells = cells_of(answer, lists={"data"})
        meta = cells.get("meta")
        if meta is None or not isinstance(meta.value, dict):
            raise BadAnswerError(f"the answer has no meta: {answer[:200]}")
        cursor = meta.value.get("cursor")
        if cursor is not None and not isinstance(cursor, str):
            raise BadAnswerError("the answer's cursor is not a text")
        return list(map(made, listed(cells, "data", answer))), cursor or None

    return read


def _fit(keys: frozenset[str]) -> bool:
    return len(",".join(keys)) <= MOST_KEYS


def _cut_keys(observation: Cells) -> set[str]:
    """The keys of metadata that have to be asked for; one with a comma in it cannot be."""
    return {key for key in cut_metadata(observation, most=CUT_AT) if "," not in key}


def _projects(answer: str) -> list[Project]:
    found = listed(cells_of(answer, lists={"data"}), "data", answer)
    projects = []
    for each in found:
        key, name = (each[part].value if part in each else None for part in ("id", "name"))
        if not isinstance(key, str) or not isinstance(name, str):
            raise BadAnswerError("a project has no id or no name")
        projects.append(Project(key=key, name=name))
    return projects

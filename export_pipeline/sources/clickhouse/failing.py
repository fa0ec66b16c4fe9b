"""Where fields fail in a window, so that the one SELECT that gives its rows can leave them out there.

ClickHouse ends the whole query at the first value that an expression cannot take, and has no snapshot in which a second
one could go on. So the places are looked for in statements of their own, by halving, and then the whole window is read
anew. A row that changed in between is at another place, since its hash holds what makes it newer.
"""

from collections import defaultdict
from collections.abc import Collection, Generator
from typing import Any, Protocol

import pyarrow as pa

from export_pipeline.errors import SourceUnreachableError, SourceUnusableError
from export_pipeline.runs.window import Window
from export_pipeline.sources.clickhouse.queries import ClickhouseQueries, Place
from export_pipeline.sources.sql import failing
from export_pipeline.sources.sql.failing import ExpressionError, first_failing
from export_pipeline.sources.sql.projects import as_text
from export_pipeline.sources.sql.times import clamp

Failing = dict[str, list[Place]]
"""The places at which a field fails, by its name."""


class Session(Protocol):
    """What is needed of a session."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a small query."""

    def stream(self, sql: str) -> Generator[pa.RecordBatch]:
        """The batches of a query as they come."""

    def failure(self, sql: str) -> ExpressionError | None:
        """How a small query fails on the values that it meets."""


class FailingPlaces:
    """The search in one window, after reading it has failed. Memory: 16 bytes for each row of it."""

    def __init__(self, session: Session, queries: ClickhouseQueries, window: Window, failure: ExpressionError) -> None:
        self._session, self._queries, self._failure = session, queries, failure
        batches = list(session.stream(queries.places(window)))
        self._instants, self._hashes = (
            pa.chunked_array([batch.column(name) for batch in batches], type=type_)
            for name, type_ in (("instant", pa.int64()), ("place", pa.uint64()))
        )

    def find(self, fields: Collection[str]) -> Failing:
        """Raises `SourceUnusableError` where something else fails, or more than `MOST_FAILING` places do."""
        rows, found, count = len(self._instants), defaultdict[str, list[Place]](list), 0
        if not rows or self._fails(0, rows, ()):
            raise self._failure
        at = first_failing(lambda first, many: self._fails(first, many, fields), 0)
        while at < rows:
            names = [name for name in fields if self._fails(at, 1, [name])]
            if not names:
                raise SourceUnreachableError("the trace store changed between two statements that read it; try again")
            if count == failing.MOST_FAILING:
                raise self.unusable(names[0], self._place(at), rows_are=f"more than {count} rows of a day, such as")
            for name in names:
                found[name].append(self._place(at))
            count += 1
            at = first_failing(lambda first, many: self._fails(first, many, fields), at + 1)
        return dict(found)

    def _fails(self, first: int, count: int, fields: Collection[str]) -> bool:
        """Whether one of the fields fails at so many places from one on; what is behind the last one does."""
        rows = len(self._instants)
        if first >= rows:
            return True
        places = self._place(first), self._place(min(first + count, rows) - 1)
        if self._session.failure(self._queries.trial(*places, fields)) is not None:
            return True
        return bool(fields) and first + count > rows

    def _place(self, at: int) -> Place:
        return self._instants[at].as_py(), self._hashes[at].as_py()

    def unusable(self, field: str, place: Place, *, rows_are: str) -> SourceUnusableError:
        """The error that names a field and a row."""
        named = self._session.rows(self._queries.at(place))
        id_ = as_text(named[0][0]) if named else None
        start = clamp(place[0]).isoformat()
        return failing.unusable(self._failure, field, rows_are=rows_are, id_=id_, start=start)

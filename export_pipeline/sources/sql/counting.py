"""What is counted of rows: by day in one statement, with a filter judged on each combination of what it reads."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.sources.sql.filter_rows import RowFilter

Rows = Callable[[str], Iterable[tuple[Any, ...]]]


class CountingQueries(Protocol):
    """What is needed of the queries of a database whose filters are judged in Python."""

    @property
    def tree(self) -> Filter | None:
        """The filter."""

    def counts(self, window: Window, *, since: datetime | None = None) -> tuple[str, Sequence[str]]:
        """Rows of day number, kept (1) or superseded (0), what the filter reads, and then what is counted.

        That is the count, the newest change and the digest of the rows, count and newest change of their feedback; with
        `since` only of rows that changed after it. With the names of what the filter reads.
        """


@dataclass(frozen=True)
class Counted:
    """Rows that count and superseded ones; of the first the newest change and digest, their feedback and its newest."""

    rows: int = 0
    superseded: int = 0
    newest: int | None = None
    records: int = 0
    newest_record: int | None = None
    digest: int | None = None

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(
            self.rows + other.rows,
            self.superseded + other.superseded,
            greater(self.newest, other.newest),
            self.records + other.records,
            greater(self.newest_record, other.newest_record),
            None if self.digest is None and other.digest is None else (self.digest or 0) + (other.digest or 0),
        )


def greater(first: int | None, second: int | None) -> int | None:
    """The greater of two numbers, of which one or both may be missing."""
    return max((each for each in (first, second) if each is not None), default=None)


def count_days(
    rows: Rows, queries: CountingQueries, window: Window, *, unit: EpochUnit, since: datetime | None = None
) -> dict[int, Counted]:
    """The rows of a window by the number of their day; with `since` only those that changed after it."""
    sql, filtered = queries.counts(window, since=since)
    judged = None if queries.tree is None else RowFilter(queries.tree, unit=unit)
    by_day: defaultdict[int, Counted] = defaultdict(Counted)
    for day, kept, *cells, count, newest, digest, records, newest_record in rows(sql):
        if judged is not None and not judged.matches(dict(zip(filtered, cells, strict=True))):
            continue
        if kept:
            by_day[day] += Counted(count, 0, newest, records or 0, newest_record, digest)
        else:
            by_day[day] += Counted(superseded=count)
    return dict(by_day)

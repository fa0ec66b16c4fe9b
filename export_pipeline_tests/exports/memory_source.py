"""A trace store in memory, so that tests can change a day's rows between two attempts in one line."""

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Literal

import pyarrow as pa

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.raw import RAW_TYPES
from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import (
    DayFingerprint,
    OutsideRows,
    Pace,
    Project,
    ProjectKey,
    RunSnapshot,
    SourceReport,
    UnassignedRows,
)

PROJECT = "a-project"
_SCHEMA = pa.schema([pa.field(item.name, RAW_TYPES[item.kind][0]) for item in RUN_FIELDS])


@dataclass(frozen=True)
class Row:
    """One run: what a test may want to say of it."""

    id: str
    start_time: datetime
    name: str = "a run"
    inputs: str | None = None
    total_cost: str | None = None
    project: str = PROJECT


def rows_of(day: date, count: int, *, name: str = "a run", inputs: str | None = None) -> list[Row]:
    """`count` rows a second apart; the same day and number give the same ids."""
    start = Window.of_day(day).start
    return [
        Row(
            id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{day} {number}")),
            start_time=start + timedelta(seconds=number),
            name=name,
            inputs=inputs,
        )
        for number in range(count)
    ]


def rows_of_day(project: str, day: date, count: int, *, text: str = "{}") -> list[Row]:
    """`count` new rows of a project, spread over a day."""
    start = Window.of_day(day).start
    return [
        Row(
            id=str(uuid.uuid4()),
            start_time=start + timedelta(days=number / count),
            inputs=text,
            project=project,
        )
        for number in range(count)
    ]


@dataclass
class MemorySource:
    """A `RunSource` over a list of rows that a test changes as it likes.

    `broken` makes every read fail; `miscount` is what the fingerprint is wrong by; `opened` counts snapshots, of which
    `on_open` is told.
    """

    rows: list[Row] = field(default_factory=list)
    listed: list[Project] = field(default_factory=lambda: [Project(PROJECT, PROJECT)])
    pace: Pace | None = None
    broken: bool = False
    batch_rows: int = 10
    miscount: int = 0
    on_open: Callable[[Window], None] = lambda window: None
    opened: int = 0
    epoch_unit: Literal["s", "ms", "us", "ns"] = "s"

    def check(self) -> SourceReport:
        """Nothing to check."""
        self._refuse()
        return SourceReport("memory", (), projects=len(self.listed))

    def projects(self) -> list[Project]:
        """Those that are listed."""
        self._refuse()
        return list(self.listed)

    def days(
        self,
        project: ProjectKey,
        window: Window | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002 - the protocol's word
        seconds: float | None = None,
    ) -> dict[date, DayFingerprint]:
        """Rows counted by day."""
        found: dict[date, DayFingerprint] = {}
        for row in self._sorted(project, window):
            day = row.start_time.date()
            found[day] = replace(found.get(day, DayFingerprint(0)), rows=found.get(day, DayFingerprint(0)).rows + 1)
        return found

    def changed(
        self,
        project: ProjectKey,
        window: Window,
        since: datetime,
        *,
        filter: Filter | None = None,  # noqa: A002 - the protocol's word
    ) -> int | None:
        """Its rows have no `modified_at`."""
        return None

    def outside(self, project: ProjectKey, window: Window) -> OutsideRows:
        """By their times, which are all readable."""
        times = [row.start_time for row in self._sorted(project, None)]
        return OutsideRows(sum(time < window.start for time in times), sum(time >= window.end for time in times), 0)

    def unassigned(self) -> UnassignedRows:
        """None."""
        return UnassignedRows()

    @contextmanager
    def open(
        self,
        project: ProjectKey,
        window: Window,
        fields: Collection[str] | None = None,
        *,
        filter: Filter | None = None,  # noqa: A002 - the protocol's word
    ) -> Iterator["MemorySnapshot"]:
        """The rows as they are now."""
        self.opened += 1
        self.on_open(window)
        yield MemorySnapshot(self._sorted(project, window), self.batch_rows, self.miscount)

    def close(self) -> None:
        """Nothing to give back."""

    def _sorted(self, project: ProjectKey, window: Window | None) -> list[Row]:
        self._refuse()
        mine = [row for row in self.rows if row.project == project.id]
        inside = [row for row in mine if window is None or window.start <= row.start_time < window.end]
        return sorted(inside, key=lambda row: (row.start_time, row.id))

    def _refuse(self) -> None:
        if self.broken:
            raise SourceUnreachableError("the trace store does not answer")


@dataclass
class MemorySnapshot(RunSnapshot):
    """What `open` gives."""

    rows: Sequence[Row]
    batch_rows: int
    miscount: int

    @property
    def fingerprint(self) -> DayFingerprint:
        """The rows, counted (wrongly where the test says so)."""
        return DayFingerprint(len(self.rows) + self.miscount)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows in the raw schema."""
        for start in range(0, len(self.rows), self.batch_rows):
            yield _batch(self.rows[start : start + self.batch_rows])


def _batch(rows: Sequence[Row]) -> pa.RecordBatch:
    values: dict[str, Callable[[Row], Any]] = {
        "id": lambda row: row.id,
        "trace_id": lambda row: row.id,
        "name": lambda row: row.name,
        "run_type": lambda row: "chain",
        "start_time": lambda row: row.start_time,
        "status": lambda row: "success",
        "is_root": lambda row: True,
        "inputs": lambda row: row.inputs,
        "total_cost": lambda row: row.total_cost,
    }
    nothing: Callable[[Row], Any] = lambda row: None  # noqa: E731 - a value like those above
    arrays = [pa.array([values.get(item.name, nothing)(row) for row in rows], item.type) for item in _SCHEMA]
    return pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA)

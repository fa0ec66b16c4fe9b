"""A trace store in memory: raw rows by project, read as the SQL sources would give them."""

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from export_pipeline.errors import SourceUnreachableError
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.raw import RAW_TYPES
from export_pipeline.runs.schema import RUN_FIELDS
from export_pipeline.runs.times import EpochUnit
from export_pipeline.runs.window import Window
from export_pipeline.sources.protocol import (
    DayFingerprint,
    OutsideRows,
    Project,
    ProjectKey,
    SourceReport,
    UnassignedRows,
)

BATCH_ROWS = 64
RAW_SCHEMA = pa.schema(pa.field(item.name, RAW_TYPES[item.kind][0]) for item in RUN_FIELDS)


def run_row(project: str, start: datetime, *, run_id: uuid.UUID | None = None, text: str = "{}") -> dict[str, Any]:
    """A root run that began at `start`."""
    own = str(run_id or uuid.uuid4())
    return {
        "id": own,
        "session_id": project,
        "trace_id": own,
        "name": "chain",
        "run_type": "chain",
        "start_time": start,
        "status": "success",
        "is_root": True,
        "inputs": text,
        "tags": "[]",
    }


def rows_of_day(project: str, day: date, count: int, *, text: str = "{}") -> list[dict[str, Any]]:
    """Runs spread over a day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [run_row(project, midnight + timedelta(days=index / count), text=text) for index in range(count)]


@dataclass
class MemorySource:
    """A trace store that a test changes as it likes; `broken` makes every read fail."""

    listed: list[Project] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False
    epoch_unit: EpochUnit = "s"

    def check(self) -> SourceReport:
        self._refuse()
        return SourceReport(url="memory", columns=(), projects=len(self.listed))

    def projects(self) -> list[Project]:
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
        counts: dict[date, int] = {}
        for row in self._rows(project, window):
            day = row["start_time"].date()
            counts[day] = counts.get(day, 0) + 1
        return {day: DayFingerprint(rows) for day, rows in sorted(counts.items())}

    def changed(
        self,
        project: ProjectKey,
        window: Window,
        since: datetime,
        *,
        filter: Filter | None = None,  # noqa: A002 - the protocol's word
    ) -> int | None:
        return None

    def outside(self, project: ProjectKey, window: Window) -> OutsideRows:
        times = [row["start_time"] for row in self._rows(project, None)]
        return OutsideRows(sum(time < window.start for time in times), sum(time >= window.end for time in times), 0)

    def unassigned(self) -> UnassignedRows:
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
        rows = sorted(self._rows(project, window), key=lambda row: (row["start_time"], row["id"]))
        yield MemorySnapshot(rows)

    def close(self) -> None:
        """Holds nothing."""

    def _rows(self, project: ProjectKey, window: Window | None) -> list[dict[str, Any]]:
        self._refuse()
        mine = [row for row in self.rows if row["session_id"] == project.id]
        return [row for row in mine if window is None or window.start <= row["start_time"] < window.end]

    def _refuse(self) -> None:
        if self.broken:
            raise SourceUnreachableError("the trace store does not answer")


@dataclass(frozen=True)
class MemorySnapshot:
    """The rows at one moment."""

    rows: list[dict[str, Any]]

    @property
    def fingerprint(self) -> DayFingerprint:
        return DayFingerprint(len(self.rows))

    def batches(self) -> Iterator[pa.RecordBatch]:
        for first in range(0, len(self.rows), BATCH_ROWS):
            yield pa.RecordBatch.from_pylist(self.rows[first : first + BATCH_ROWS], schema=RAW_SCHEMA)

"""The sensor that reads days again whose rows have changed in the trace store since they were exported."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.errors import SourceUnreachableError, SourceUnusableError
from export_pipeline.exports.projects.changed import ChangedDay, change_of, reason
from export_pipeline.exports.projects.planning import DayRange, day_ranges
from export_pipeline.orchestration.assets import asset_key
from export_pipeline.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG
from export_pipeline.orchestration.resources import CONNECTIONS, Connections
from export_pipeline.orchestration.schedules import PRIORITY_TAG, days_under_way
from export_pipeline.runs.window import Window

if TYPE_CHECKING:
    from export_pipeline.exports.control.records import ProjectRecord, TableRecord
    from export_pipeline.exports.projects.changed import ShrunkDay

MOST_ATTEMPTS = 5
_FIRST_PAUSE = timedelta(minutes=10)

CHANGED_DAYS_SENSOR = "late_days"
LATE_SECONDS = 300
REASON_TAG = "export_pipeline/reason"
CHANGE_TAG = "export_pipeline/change"
LATE_PRIORITY = "5"
"""Before backfills, which have 0, and after the daily schedule."""
_TICK_SECONDS = 20.0
_MOST_REQUESTS = 50


@dataclass(frozen=True)
class ChangedRange:
    """Days in a row of one export that are read again together; `change` names what has changed in them."""

    days: DayRange
    change: str
    reason: str


@dataclass(frozen=True)
class Attempt:
    """An earlier run for the same change. `ended` is None while it is queued or runs."""

    succeeded: bool
    canceled: bool
    ended: datetime | None


def changed_ranges(late: Iterable[ChangedDay]) -> list[ChangedRange]:
    """The ranges, oldest first. A day whose last attempt failed goes alone, so that it does not hold others up."""
    days = {day.day: day for day in late}
    alone = [DayRange(day.day, day.day) for day in days.values() if day.failed]
    together = day_ranges(day.day for day in days.values() if not day.failed)
    ranges = []
    for span in sorted([*alone, *together]):
        inside = [day for at, day in sorted(days.items()) if span.first <= at <= span.last]
        ranges.append(ChangedRange(span, change_of(inside), reason(inside)))
    return ranges


def next_attempt(earlier: Sequence[Attempt], *, now: datetime) -> int | None:
    """The number of the attempt to be started now, from 0 on, or None where none is.

    A change is read once where that succeeds. After a failure it is tried again, with growing pauses; a person's
    cancel is final.
    """
    if any(attempt.succeeded or attempt.canceled or attempt.ended is None for attempt in earlier):
        return None
    if not earlier:
        return 0
    if is_given_up(earlier):
        return None
    last = max(attempt.ended for attempt in earlier if attempt.ended is not None)
    return len(earlier) if now >= last + _FIRST_PAUSE * 3 ** (len(earlier) - 1) else None


def is_given_up(earlier: Sequence[Attempt]) -> bool:
    """Whether every attempt failed and no other one is made for this change."""
    return len(earlier) >= MOST_ATTEMPTS and all(
        attempt.ended is not None and not attempt.succeeded and not attempt.canceled for attempt in earlier
    )


def build_changed_days_sensor(job: Any, *, projects: Sequence["ProjectRecord"], start: date) -> dg.SensorDefinition:
    """Compares the last LATE_DAYS days of each project with the trace store every five minutes."""

    @dg.sensor(
        name=CHANGED_DAYS_SENSOR,
        job=job,
        minimum_interval_seconds=LATE_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={CONNECTIONS},
        description=(
            "Exports days again whose rows or feedback have changed in the trace store since; each run's tag "
            f"{REASON_TAG} says what. Looks back EXPORT_PIPELINE_LATE_DAYS days."
        ),
    )
    def late_days(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        today = datetime.now(UTC).date()
        round_ = ChangesRound(
            context.resources.connections, context.instance, projects=projects, start=start, today=today
        )
        cursor = round_.go_on(context.cursor, log=context.log.warning)
        if round_.requests:
            return dg.SensorResult(run_requests=round_.requests, cursor=cursor)
        return dg.SensorResult(skip_reason=round_.why_nothing(), cursor=cursor)

    return late_days


@dataclass
class ChangesRound:
    """One round over projects, as far as a tick gets: runs to be requested, and what else was found."""

    connections: Connections
    instance: dg.DagsterInstance
    projects: Sequence["ProjectRecord"]
    start: date
    today: date
    requests: list[dg.RunRequest] = field(default_factory=list)
    looked_at: int = 0
    shrunk: int = 0
    waiting: int = 0

    def go_on(self, cursor: str | None, *, log: Callable[[str], None], seconds: float = _TICK_SECONDS) -> str:
        """Looks at the projects after the one that `cursor` names; gives back the cursor for the next tick.

        A failed read says nothing about a project. Raises `SourceUnreachableError`, unless runs are to be requested
        already, and `SourceUnusableError` where that came of every project; of single ones `log` is told.
        """
        from export_pipeline.exports.projects.standing import current_table

        last = self.today - timedelta(days=1)
        first = max(self.start, self.today - timedelta(days=self.connections.settings.late_days))
        if first > last:
            return ""
        self.connections.control.check_schema()
        names = [project.asset_name for project in self.projects]
        busy = days_under_way(self.instance, assets=names, start=self.start, today=self.today)
        end = time.monotonic() + seconds
        failed: SourceUnusableError | None = None
        for project in sorted(self.projects, key=lambda project: project.asset_name):
            if project.asset_name <= (cursor or ""):
                continue
            if time.monotonic() > end or len(self.requests) >= _MOST_REQUESTS:
                return cursor or ""
            try:
                if (table := current_table(self.connections.control, project, self.connections.settings)) is not None:
                    self._look_at(project, table, Window.of_days(first, last), busy.get(project.asset_name, set()))
                self.looked_at += 1
            except SourceUnreachableError:
                if not self.requests:
                    raise
                return cursor or ""
            except SourceUnusableError as error:
                log(f"runs/{project.asset_name} could not be looked at: {error}")
                failed = error
            cursor = project.asset_name
        if failed is not None and not self.looked_at:
            raise failed
        return ""

    def why_nothing(self) -> str:
        """Says why no run is requested."""
        if not self.connections.settings.late_days:
            return "EXPORT_PIPELINE_LATE_DAYS is 0: late rows are not looked for"
        text = f"nothing new in the last {self.connections.settings.late_days} days of {self.looked_at} projects"
        if self.waiting:
            text += f"; {self.waiting} changes wait to be tried again, or were given up"
        if self.shrunk:
            text += f"; {self.shrunk} days have fewer rows in the trace store than are committed and are left alone"
        return text

    def _look_at(self, project: "ProjectRecord", table: "TableRecord", window: Window, busy: set[date]) -> None:
        from export_pipeline.exports.projects.changed import find_changed_days

        changes = find_changed_days(self.connections.control, self.connections.source, table, window, busy=busy)
        if changes.shrunk:
            self._tell_of_shrunk(project, table, changes.shrunk)
        for late in changed_ranges(changes.late):
            earlier = _earlier(self.instance, f"{project.asset_name}:{late.change}")
            attempt = next_attempt(earlier, now=datetime.now(UTC))
            if attempt is not None:
                self.requests.append(_request(project, late, attempt))
                continue
            self.waiting += 1
            if is_given_up(earlier):
                self._tell_of_failed(project, table, late)

    def _tell_of_shrunk(self, project: "ProjectRecord", table: "TableRecord", days: "tuple[ShrunkDay, ...]") -> None:
        from export_pipeline.exports.watch.notices import days_shrunk

        control, name = self.connections.control, f"runs/{project.asset_name}"
        at = control.now()
        control.run(lambda transaction: days_shrunk(transaction, table, days, name=name, at=at))
        self.shrunk += len(days)

    def _tell_of_failed(self, project: "ProjectRecord", table: "TableRecord", late: ChangedRange) -> None:
        from export_pipeline.exports.watch.notices import changed_days_failed

        control, name = self.connections.control, f"runs/{project.asset_name}"
        at = control.now()
        control.run(
            lambda transaction: changed_days_failed(
                transaction, table, days=str(late.days), why=late.reason, change=late.change, name=name, at=at
            )
        )


def _earlier(instance: dg.DagsterInstance, change: str) -> list[Attempt]:
    """The runs that were started for a change."""
    attempts = []
    for record in instance.get_run_records(dg.RunsFilter(tags={CHANGE_TAG: change})):
        run = record.dagster_run
        ended = record.end_time or record.update_timestamp.timestamp()
        attempts.append(
            Attempt(
                succeeded=run.is_success,
                canceled=run.status is dg.DagsterRunStatus.CANCELED,
                ended=datetime.fromtimestamp(ended, UTC) if run.is_finished else None,
            )
        )
    return attempts


def _request(project: "ProjectRecord", late: ChangedRange, attempt: int) -> dg.RunRequest:
    change = f"{project.asset_name}:{late.change}"
    return dg.RunRequest(
        run_key=f"late:{change}:{attempt}",
        asset_selection=[asset_key(project.asset_name)],
        tags={
            RANGE_START_TAG: late.days.first.isoformat(),
            RANGE_END_TAG: late.days.last.isoformat(),
            REASON_TAG: late.reason,
            CHANGE_TAG: change,
            PRIORITY_TAG: LATE_PRIORITY,
        },
    )

"""The daily schedule: plans every past day that is not Completed, so that an outage leaves no gap."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.errors import InputError
from export_pipeline.exports.projects.planning import DayRange, day_ranges
from export_pipeline.orchestration.assets import asset_key
from export_pipeline.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG, days_of_run
from export_pipeline.orchestration.resources import CONNECTIONS, Connections
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.exports.control.records import ProjectRecord

PROJECTS_PER_RUN = 8
"""A run takes some seconds to start: small projects share one, large ones still run side by side."""

DAILY_EXPORT = "daily_export"
PRIORITY_TAG = "dagster/priority"
DAILY_PRIORITY = "10"
"""Before days that are read again, and before backfills, which have 0."""
_UNFINISHED = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
)


@dataclass(frozen=True, order=True)
class PlannedRun:
    """One run: every day of the range, of each of the assets."""

    days: DayRange
    assets: tuple[str, ...]


def plan_runs(
    missing: Mapping[str, Iterable[date]], *, under_way: Mapping[str, set[date]] | None = None
) -> list[PlannedRun]:
    """The runs that publish the missing days of each asset, oldest days first, leaving out what is under way.

    A run holds at most 31 days, all in a row, because a range of partitions has no holes.
    """
    assets_of: dict[DayRange, list[str]] = defaultdict(list)
    for asset in sorted(missing):
        busy = (under_way or {}).get(asset, set())
        for days in day_ranges(day for day in missing[asset] if day not in busy):
            assets_of[days].append(asset)
    return [
        PlannedRun(days, tuple(assets[start : start + PROJECTS_PER_RUN]))
        for days, assets in sorted(assets_of.items())
        for start in range(0, len(assets), PROJECTS_PER_RUN)
    ]


def build_daily_schedule(
    job: Any, *, projects: Sequence["ProjectRecord"], start: date, settings: Settings
) -> dg.ScheduleDefinition:
    """The schedule at `DAILY_AT`, UTC, over the projects that are loaded."""

    @dg.schedule(
        name=DAILY_EXPORT,
        job=job,
        cron_schedule=f"{settings.daily_at.minute} {settings.daily_at.hour} * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        required_resource_keys={CONNECTIONS},
        description="Every past day of every project that is not Completed, at most 31 days to a run.",
    )
    def daily_export(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        return plan_tick(
            context.resources.connections,
            context.instance,
            projects=projects,
            start=start,
            today=context.scheduled_execution_time.astimezone(UTC).date(),
        )

    return daily_export


def plan_tick(
    connections: Connections,
    instance: dg.DagsterInstance,
    *,
    projects: Sequence["ProjectRecord"],
    start: date,
    today: date,
) -> list[dg.RunRequest] | dg.SkipReason:
    """The runs for every day before `today` that is not Completed, or why there are none."""
    missing = missing_days(connections, projects, start=start, last=today - timedelta(days=1))
    runs = plan_runs(missing, under_way=days_under_way(instance, assets=missing, start=start, today=today))
    if runs:
        return [_request(run, today) for run in runs]
    return dg.SkipReason(why_nothing(missing, len(projects)))


def why_nothing(missing: dict[str, list[date]], projects: int) -> str:
    """Says why a tick starts no run."""
    if days := sum(len(days) for days in missing.values()):
        return f"{days} days of {len(missing)} projects are not Completed, and all of them are queued or under way"
    return f"every past day of all {projects} projects is Completed"


def missing_days(
    connections: Connections, projects: Iterable["ProjectRecord"], *, start: date, last: date
) -> dict[str, list[date]]:
    """By asset name the days from `start` to `last` that are not Completed; projects without any are left out."""
    from export_pipeline.exports.projects.planning import completed_days, days_to_export

    connections.control.check_schema()
    missing = {}
    for project in projects:
        days = days_to_export(start, last, completed_days(connections.control, project, connections.settings))
        if days:
            missing[project.asset_name] = days
    return missing


def days_under_way(
    instance: dg.DagsterInstance, *, assets: Iterable[str], start: date, today: date
) -> dict[str, set[date]]:
    """By asset name the days that queued and running runs already hold."""
    keys = {asset_key(name): name for name in assets}
    busy: dict[str, set[date]] = defaultdict(set)
    for run in instance.get_runs(filters=dg.RunsFilter(statuses=list(_UNFINISHED))):
        try:
            days = days_of_run(run.tags, start=start, today=today)
        except InputError:
            continue  # a run of something else, or one that will be refused
        for key in run.asset_selection or keys:
            if key in keys:
                busy[keys[key]].update(days)
    return busy


def _request(run: PlannedRun, scheduled: date) -> dg.RunRequest:
    # The key makes a tick that is evaluated twice start each run once; the date lets tomorrow's tick try again.
    names = hashlib.sha256("\n".join(run.assets).encode()).hexdigest()[:12]
    return dg.RunRequest(
        run_key=f"{scheduled}:{run.days.first}:{run.days.last}:{names}",
        asset_selection=[asset_key(name) for name in run.assets],
        tags={
            RANGE_START_TAG: run.days.first.isoformat(),
            RANGE_END_TAG: run.days.last.isoformat(),
            PRIORITY_TAG: DAILY_PRIORITY,
        },
    )

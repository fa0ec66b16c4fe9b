"""The daily schedule: plans every past day that is not Completed, so that an outage leaves no gap."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.errors import InputError
from export_pipeline.orchestration.assets import PARTS, asset_key
from export_pipeline.orchestration.partitions import RANGE_END_TAG, RANGE_START_TAG, days_of_run
from export_pipeline.orchestration.parts import Parts
from export_pipeline.orchestration.plan import PlannedRun, plan_runs
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.exports.control.records import ProjectRecord

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
        required_resource_keys={PARTS},
        description="Every past day of every project that is not Completed, at most 31 days to a run.",
    )
    def daily_export(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        return plan_tick(
            context.resources.parts,
            context.instance,
            projects=projects,
            start=start,
            today=context.scheduled_execution_time.astimezone(UTC).date(),
        )

    return daily_export


def plan_tick(
    parts: Parts, instance: dg.DagsterInstance, *, projects: Sequence["ProjectRecord"], start: date, today: date
) -> list[dg.RunRequest] | dg.SkipReason:
    """The runs for every day before `today` that is not Completed, or why there are none."""
    missing = missing_days(parts, projects, start=start, last=today - timedelta(days=1))
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
    parts: Parts, projects: Iterable["ProjectRecord"], *, start: date, last: date
) -> dict[str, list[date]]:
    """By asset name the days from `start` to `last` that are not Completed; projects without any are left out."""
    from export_pipeline.exports.projects.planning import completed_days, days_to_export

    parts.control.check_schema()
    missing = {}
    for project in projects:
        days = days_to_export(start, last, completed_days(parts.control, project, parts.settings))
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

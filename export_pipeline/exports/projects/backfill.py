"""What a backfill that a person asks for covers; Dagster is not asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from export_pipeline.errors import InputError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord
from export_pipeline.exports.projects.planning import DayRange, refuse_outside
from export_pipeline.exports.projects.registry import find_project, is_asset, list_projects, partitions_start
from export_pipeline.settings import Settings


@dataclass(frozen=True)
class BackfillPlan:
    """Projects with an asset, and the days of each."""

    projects: tuple[ProjectRecord, ...]
    days: DayRange

    @property
    def dates(self) -> list[date]:
        """Every day, oldest first."""
        return [self.days.first + timedelta(days=offset) for offset in range(len(self.days))]


def plan_backfill(
    control: ControlDatabase,
    settings: Settings,
    names: Sequence[str],
    *,
    every: bool,
    first: date | None,
    last: date | None,
    now: datetime | None = None,
) -> BackfillPlan:
    """The days from `first` to `last` of the named projects, or of all that have an asset.

    By default from the first partition to yesterday.

    Raises `InputError` for a project that is unknown or has no asset, and for days that are no partitions.
    """
    if every and names:
        raise InputError("--all is every project: name none beside it")
    if not every and not names:
        raise InputError("name the projects to be exported, or take every one with --all")
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    start = partitions_start(control)
    if start is None:
        raise InputError("no project has had a row yet; run `export-pipeline projects sync`")
    days = DayRange(first or start, last or today - timedelta(days=1))
    refuse_outside(days.first, days.last, start=start, today=today)
    if every:
        projects = list_projects(control, only_assets=True, settings=settings)
    else:
        by_asset = {project.asset_name: project for project in (find_project(control, name) for name in names)}
        projects = list(by_asset.values())
        if without := [project.name for project in projects if not is_asset(project, settings)]:
            raise InputError(
                f"{', '.join(map(repr, without))} has no asset: it was removed from the trace store, is an experiment, "
                "or EXPORT_PIPELINE_PROJECTS_INCLUDE and _EXCLUDE leave it out"
            )
    if not projects:
        raise InputError("there are no projects; `export-pipeline projects sync` reads them from the trace store")
    return BackfillPlan(tuple(projects), days)

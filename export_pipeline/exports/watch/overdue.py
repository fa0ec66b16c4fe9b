"""Which days should be there by now and are not, and the notice of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import sqlalchemy as sa

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import DayRecord, ProjectRecord, TableRecord, read_days
from export_pipeline.exports.control.tables import notices
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.planning import DayRange, day_ranges, days_to_export
from export_pipeline.exports.projects.registry import list_projects, partitions_start
from export_pipeline.exports.projects.standing import current_table
from export_pipeline.exports.watch.notices import add_notice
from export_pipeline.runs.times import instant
from export_pipeline.settings import Settings

GRACE = timedelta(hours=1)
"""How long after the schedule has started a day may take before it counts as overdue."""
_MOST_NAMED = 10


@dataclass(frozen=True)
class ProjectProgress:
    """How far a project's standing table is.

    `export` is None where none has begun at the place that the settings name. `errors` are those of the last attempts,
    also of days that are committed and could not be exported again. Sums are of committed days; `rejected` holds the
    rows that they have set aside, by reason, and `epochs` those days' epochs.
    """

    project: ProjectRecord
    table: TableRecord | None
    overdue: tuple[date, ...]
    newest_completed: date | None
    errors: Mapping[date, str]
    days: int
    rows: int
    bytes: int
    rejected: Mapping[date, Mapping[str, int]]
    epochs: Mapping[date, int]

    @property
    def overdue_ranges(self) -> list[DayRange]:
        """The overdue days as ranges, oldest first."""
        return day_ranges(self.overdue, longest=max(1, len(self.overdue)))


def progress(control: ControlDatabase, settings: Settings, *, now: datetime | None = None) -> list[ProjectProgress]:
    """How far each project with an asset is. `now` is the control database's clock unless given.

    A day is overdue when it is not Completed an hour after the daily schedule should have started on it; the schedule
    of the day on which a project became known may have come too early for it.
    """
    moment = instant(control.now()) if now is None else now
    start, last = partitions_start(control), last_due(moment, settings)
    return [
        _progress(control, project, settings, start=start, last=last)
        for project in list_projects(control, only_assets=True, settings=settings)
    ]


def last_due(now: datetime, settings: Settings) -> date:
    """The newest day that should be there at the instant `now`."""
    return (now.astimezone(UTC) - _daily_at(settings) - GRACE).date() - timedelta(days=1)


def _daily_at(settings: Settings) -> timedelta:
    return timedelta(hours=settings.daily_at.hour, minutes=settings.daily_at.minute)


def _was_known(project: ProjectRecord, last: date, settings: Settings) -> bool:
    """Whether the schedule that should have exported the day `last` came when the project was known."""
    ran = datetime.combine(last + timedelta(days=1), time(), UTC) + _daily_at(settings)
    return instant(project.first_seen_at) <= ran


def _progress(
    control: ControlDatabase, project: ProjectRecord, settings: Settings, *, start: date | None, last: date
) -> ProjectProgress:
    table = current_table(control, project, settings)
    is_due = _was_known(project, last, settings)
    records: list[DayRecord] = []
    if table is not None:
        with control.read() as transaction:
            records = read_days(transaction, table.export_id)
    committed = [record for record in records if record.completed_at is not None]
    done = {record.day for record in committed if not record.pending}
    return ProjectProgress(
        project=project,
        table=table,
        overdue=() if start is None or not is_due else tuple(days_to_export(start, last, done)),
        newest_completed=max(done, default=None),
        errors={record.day: record.error for record in records if record.error is not None},
        days=len(committed),
        rows=sum(record.rows or 0 for record in committed),
        bytes=sum(record.bytes or 0 for record in committed),
        rejected={record.day: record.rejected for record in committed if record.rejected is not None},
        epochs={record.day: record.commit_epoch or 0 for record in committed if record.rejected is not None},
    )


def note_overdue(control: ControlDatabase, settings: Settings, *, now: datetime | None = None) -> list[str]:
    """Puts one notice into the outbox of the projects whose newest day should be there and is not; their asset names.

    A project's day is told of once, however often this is called; a later notice has the projects that have come since.
    `now` is the control database's clock unless given.
    """
    at = control.now()
    moment = instant(at) if now is None else now
    day = last_due(moment, settings)
    late = [item for item in progress(control, settings, now=moment) if day in item.overdue]
    if not late:
        return []

    def write(transaction: Transaction) -> None:
        told = _told(transaction, day)
        new = [item for item in late if item.project.asset_name not in told]
        if new:
            add_notice(
                transaction,
                "day.overdue",
                subject=f"{day}:{new[0].project.asset_name}",
                text=_sentence(day, new),
                detail={"day": day.isoformat(), "projects": [_detail(item, day) for item in new]},
                at=at,
            )

    control.run(write)
    return [item.project.asset_name for item in late]


def _told(transaction: Transaction, day: date) -> set[str]:
    """The assets whose day was told of before."""
    query = sa.select(notices.c.body).where(
        notices.c.kind == "day.overdue", notices.c.subject.startswith(f"{day}:", autoescape=True)
    )
    bodies = transaction.execute(query).scalars()
    return {project["asset"].removeprefix("runs/") for body in bodies for project in body["detail"]["projects"]}


def _sentence(day: date, late: Sequence[ProjectProgress]) -> str:
    parts = []
    for item in late[:_MOST_NAMED]:
        error = item.errors.get(day)
        parts.append(f"runs/{item.project.asset_name}" + (f" ({error})" if error else ""))
    more = f" and {len(late) - _MOST_NAMED} more" if len(late) > _MOST_NAMED else ""
    return f"{day} is overdue: {', '.join(parts)}{more}"


def _detail(item: ProjectProgress, day: date) -> dict[str, object]:
    return {
        "asset": f"runs/{item.project.asset_name}",
        "project_id": str(item.project.session_id),
        "days_overdue": len(item.overdue),
        "error": item.errors.get(day),
    }

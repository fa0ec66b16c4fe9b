"""Reading the list of projects from the trace store into the control database."""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import ControlUnreachableError, SettingsError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.inserts import insert_missing
from export_pipeline.exports.control.tables import exports, facts, projects
from export_pipeline.exports.projects.naming import asset_name
from export_pipeline.exports.projects.unassigned import count_unassigned
from export_pipeline.runs.ids import uuid_of
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX, Settings
from export_pipeline.sources.protocol import UNASSIGNED, OutsideRows, Project, RunSource, UnassignedRows

LOOK_BACK_YEARS = 10
"""Rows older than this do not decide the first partition: a clock that stood at 1970 would add thousands of days."""

GROUP, EXPERIMENTS_GROUP = "projects", "experiments"

START = "partitions_start"


@dataclass(frozen=True)
class RowsOutside:
    """A project and its rows that no partition covers."""

    name: str
    project: str
    rows: OutsideRows

    def __str__(self) -> str:
        counted = {
            "before the first partition": self.rows.before,
            "in the future": self.rows.after,
            "without a readable start_time": self.rows.unreadable,
        }
        return f"{self.name}: " + ", ".join(f"{count:,} rows {where}" for where, count in counted.items() if count)


@dataclass(frozen=True)
class SyncReport:
    """What a sync found; projects by name.

    `added` are new ones and those that came back, `removed` those that were there the last time. `outside` lists the
    projects that have rows which no partition covers. `unassigned` are the rows of no project; None: not counted.
    `warnings` are sentences.
    """

    added: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    removed: tuple[str, ...]
    total: int
    partitions_start: date | None
    outside: tuple[RowsOutside, ...]
    unassigned: UnassignedRows | None = None
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether the list of projects is another one now."""
        return bool(self.added or self.renamed or self.removed)


def sync_projects(control: ControlDatabase, source: RunSource, settings: Settings, *, count: bool = True) -> SyncReport:
    """Reads the trace store's projects into the control database, which is made or migrated first.

    Everything is read before anything is written, so a trace store that fails changes nothing. Assets' names and
    groups are given once; a project that is gone is marked, and unmarked when it comes back. Several processes may
    sync at once. `count`: the rows that are not exported are counted, those that no partition covers, at two counts a
    project, and those of no project. Raises `SettingsError` for a START_DATE in the future.
    """
    _refuse_future_start(settings)
    if _is_new(control):
        source.projects()  # a store that cannot be read is told before a control database is made
    control.migrate()
    began = control.now()
    today = datetime.fromtimestamp(began / 1_000_000, UTC).date()
    found, warnings = _distinct(source.projects())
    start = _recorded_start(control)
    if start is None:
        start = _first_start(source, found, settings, today)
    elif settings.start_date not in {None, start}:
        warnings.append(
            f"{PREFIX}START_DATE is {settings.start_date}, but the partitions start on {start}: "
            "that was recorded at the first sync and does not move"
        )
    outside = _outside(source, found, start=start, today=today) if count else ()
    unassigned = count_unassigned(control, source, settings) if count else None
    with control.begin() as connection:
        if not control.is_sqlite:
            connection.execute(sa.text("LOCK TABLE projects IN SHARE ROW EXCLUSIVE MODE"))
        writing = _Writing(connection, began=began, settings=settings)
        writing.write(found)
        if start is not None:
            insert_missing(connection, facts, {"name": START, "value": start.isoformat()})
        recorded = connection.execute(sa.select(facts.c.value).where(facts.c.name == START)).scalar()
    return SyncReport(
        added=tuple(writing.added),
        renamed=tuple(writing.renamed),
        removed=tuple(writing.removed),
        total=len(found),
        partitions_start=None if recorded is None else date.fromisoformat(recorded),
        outside=outside,
        unassigned=unassigned,
        warnings=tuple(warnings),
    )


def _distinct(found: Iterable[Project]) -> tuple[dict[uuid.UUID, Project], list[str]]:
    """Projects by session id; two whose ids are the same UUID would share one table, so the first one is taken."""
    distinct: dict[uuid.UUID, Project] = {}
    warnings = []
    for project in found:
        session_id = uuid_of(project.key)
        if session_id in distinct:
            warnings.append(
                f"project {project.name!r} is left out: its id {project.key!r} is the same as "
                f"{distinct[session_id].key!r} of {distinct[session_id].name!r}"
            )
        else:
            distinct[session_id] = project
    return distinct, warnings


def _refuse_future_start(settings: Settings) -> None:
    if settings.start_date is not None and settings.start_date > datetime.now(UTC).date():
        raise SettingsError(f"{PREFIX}START_DATE is {settings.start_date}, which lies in the future")


def _is_new(control: ControlDatabase) -> bool:
    try:
        return control.schema_version() is None
    except ControlUnreachableError:  # an SQLite file that is not there, or a server that `migrate` will complain of
        return True


def _recorded_start(control: ControlDatabase) -> date | None:
    with control.read() as connection:
        value = connection.execute(sa.select(facts.c.value).where(facts.c.name == START)).scalar()
    return None if value is None else date.fromisoformat(value)


def _first_start(source: RunSource, found: Mapping[uuid.UUID, Project], settings: Settings, today: date) -> date | None:
    if settings.start_date is not None:
        return settings.start_date
    window = Window.of_days(_years_before(today, LOOK_BACK_YEARS), today)
    firsts = [min(days) for project in found.values() if (days := source.days(project.key, window))]
    return min(firsts, default=None)


def _years_before(day: date, years: int) -> date:
    try:
        return day.replace(year=day.year - years)
    except ValueError:  # the 29th of February
        return day.replace(year=day.year - years, day=28)


def _outside(
    source: RunSource, found: Mapping[uuid.UUID, Project], *, start: date | None, today: date
) -> tuple[RowsOutside, ...]:
    covered = Window.of_days(today if start is None else min(start, today), today)
    counted = [
        RowsOutside(project.name, project.key, source.outside(project.key, covered)) for project in found.values()
    ]
    return tuple(item for item in counted if item.rows.total)


class _Writing:
    """One transaction of a sync; `began` is when it began to read, in control database microseconds.

    What another sync has read later is left as it is.
    """

    def __init__(self, connection: sa.Connection, *, began: int, settings: Settings) -> None:
        self._connection = connection
        self._began = began
        self._tenant_id = settings.tenant_id
        self._known = {
            uuid.UUID(row["session_id"]): row for row in connection.execute(sa.select(projects)).mappings().all()
        }
        self._taken = {row["asset_name"] for row in self._known.values()}
        self._only_tenant: uuid.UUID | None = None
        self.added: list[str] = []
        self.renamed: list[tuple[str, str]] = []
        self.removed: list[str] = []

    def write(self, found: Mapping[uuid.UUID, Project]) -> None:
        tenants = {uuid_of(project.tenant_key) for project in found.values() if project.tenant_key is not None}
        self._only_tenant = tenants.pop() if len(tenants) == 1 else None
        for session_id, project in found.items():
            row = self._known.get(session_id)
            if row is None:
                self._connection.execute(sa.insert(projects).values(**self._new(session_id, project)))
                self.added.append(project.name)
            elif row["last_seen_at"] <= self._began:
                self._update(session_id, project, row)
        for session_id, row in self._known.items():
            if session_id not in found and row["removed_at"] is None and row["last_seen_at"] <= self._began:
                self._change(session_id, {"removed_at": self._began})
                self.removed.append(row["name"])

    def _new(self, session_id: uuid.UUID, project: Project) -> dict[str, Any]:
        name = asset_name(project.name, session_id, taken=self._taken)
        self._taken.add(name)
        return {
            "session_id": str(session_id),
            "asset_name": name,
            "group_name": EXPERIMENTS_GROUP if project.is_experiment else GROUP,
            "first_seen_at": self._began,
            **self._seen(project),
        }

    def _seen(self, project: Project) -> dict[str, Any]:
        tenant_id = self._tenant_id if project.tenant_key is None else uuid_of(project.tenant_key)
        if project.key == UNASSIGNED and project.tenant_key is None:
            tenant_id = self._only_tenant or tenant_id
        return {
            "project": project.key,
            "tenant_id": str(tenant_id),
            "name": project.name,
            "is_experiment": project.is_experiment,
            "last_seen_at": self._began,
            "removed_at": None,
        }

    def _update(self, session_id: uuid.UUID, project: Project, row: Mapping[Any, Any]) -> None:
        never_seen = not row["last_seen_at"]  # `recover` found the project in the bucket, where names are not kept
        if never_seen or row["removed_at"] is not None:
            self.added.append(project.name)
        elif row["name"] != project.name:
            self.renamed.append((row["name"], project.name))
        self._change(session_id, self._new(session_id, project) if never_seen else self._seen(project))
        if row["project"] != project.key:
            self._connection.execute(
                sa.update(exports).where(exports.c.session_id == str(session_id)).values(project=project.key)
            )

    def _change(self, session_id: uuid.UUID, values: Mapping[str, Any]) -> None:
        self._connection.execute(sa.update(projects).where(projects.c.session_id == str(session_id)).values(**values))

"""Reading the list of projects from the trace store into the control database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import ControlUnreachableError, SettingsError
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ProjectRecord, project_of
from export_pipeline.exports.control.tables import exports, facts, projects
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.claims import Claim, ProjectId, claims_of, place
from export_pipeline.exports.projects.naming import asset_name
from export_pipeline.exports.projects.owners import (
    claimant_sentence,
    disputed_sentence,
    follow_project,
    is_project,
    record_move,
)
from export_pipeline.exports.projects.unassigned import count_unassigned
from export_pipeline.exports.watch.notices import add_notice
from export_pipeline.runs.times import instant
from export_pipeline.runs.window import Window
from export_pipeline.settings import PREFIX, Settings
from export_pipeline.sources.protocol import OutsideRows, Project, ProjectKey, RunSource, UnassignedRows

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
    groups are given once; a project that is gone is marked, and unmarked when it comes back. Whose a project is stays
    as it was recorded (`claims`). Several processes may
    sync at once. `count`: the rows that are not exported are counted, those that no partition covers, at two counts a
    project, and those of no project. Raises `SettingsError` for a START_DATE in the future.
    """
    _refuse_future_start(settings)
    if _is_new(control):
        source.projects()  # a store that cannot be read is told before a control database is made
    control.migrate()
    began = control.now()
    today = instant(began).date()
    listed, warnings = source.projects(), []
    start = _recorded_start(control)
    if start is None:
        start = _first_start(source, listed, settings, today)
    elif settings.start_date not in {None, start}:
        warnings.append(
            f"{PREFIX}START_DATE is {settings.start_date}, but the partitions start on {start}: "
            "that was recorded at the first sync and does not move"
        )
    outside = _outside(source, listed, start=start, today=today) if count else ()
    unassigned = count_unassigned(control, source, settings) if count else None
    with control.begin() as transaction:
        if not control.is_sqlite:
            transaction.execute(sa.text("LOCK TABLE projects IN SHARE ROW EXCLUSIVE MODE"))
        writing = _Writing(transaction, began=began, settings=settings)
        writing.write(listed)
        warnings += writing.warnings
        if start is not None:
            transaction.insert_missing(facts, {"name": START, "value": start.isoformat()})
        recorded = transaction.execute(sa.select(facts.c.value).where(facts.c.name == START)).scalar()
    return SyncReport(
        added=tuple(writing.added),
        renamed=tuple(writing.renamed),
        removed=tuple(writing.removed),
        total=len(listed),
        partitions_start=None if recorded is None else date.fromisoformat(recorded),
        outside=outside,
        unassigned=unassigned,
        warnings=tuple(warnings),
    )


def _refuse_future_start(settings: Settings) -> None:
    if settings.start_date is not None and settings.start_date > datetime.now(UTC).date():
        raise SettingsError(f"{PREFIX}START_DATE is {settings.start_date}, which lies in the future")


def _is_new(control: ControlDatabase) -> bool:
    try:
        return control.schema_version() is None
    except ControlUnreachableError:  # an SQLite file that is not there, or a server that `migrate` will complain of
        return True


def _recorded_start(control: ControlDatabase) -> date | None:
    with control.read() as transaction:
        value = transaction.execute(sa.select(facts.c.value).where(facts.c.name == START)).scalar()
    return None if value is None else date.fromisoformat(value)


def _first_start(source: RunSource, listed: Sequence[Project], settings: Settings, today: date) -> date | None:
    if settings.start_date is not None:
        return settings.start_date
    window = Window.of_days(earliest_start(today), today)
    firsts = [min(days) for key in dict.fromkeys(map(widest_key, listed)) if (days := source.days(key, window))]
    return min(firsts, default=None)


def earliest_start(today: date) -> date:
    """The first day that becomes the first partition by itself, ten years back."""
    year = today.year - LOOK_BACK_YEARS
    try:
        return today.replace(year=year)
    except ValueError:  # the 29th of February
        return today.replace(year=year, day=28)


def widest_key(project: Project) -> ProjectKey:
    """The rows that may be the project's: whatever is decided of those that say no tenant."""
    return ProjectKey(project.key, project.tenant_key, untold=project.untold)


def _outside(
    source: RunSource, listed: Sequence[Project], *, start: date | None, today: date
) -> tuple[RowsOutside, ...]:
    covered = Window.of_days(today if start is None else min(start, today), today)
    counted = [
        RowsOutside(project.name, project.key, source.outside(widest_key(project), covered)) for project in listed
    ]
    return tuple(item for item in counted if item.rows.total)


class _Writing:
    """One transaction of a sync; `began` is when it began to read, in control database microseconds.

    What another sync has read later is left as it is.
    """

    def __init__(self, transaction: Transaction, *, began: int, settings: Settings) -> None:
        self._transaction = transaction
        self._began = began
        self._default = settings.tenant_id
        records = transaction.execute(sa.select(projects)).mappings().all()
        self._known = {(project.tenant_id, project.session_id): project for project in map(project_of, records)}
        self._taken = {record.asset_name for record in self._known.values()}
        self.added: list[str] = []
        self.renamed: list[tuple[str, str]] = []
        self.removed: list[str] = []
        self.warnings: list[str] = []

    def write(self, listed: Sequence[Project]) -> None:
        known = list(self._known.values())
        placed = place(claims_of(listed, default=self._default, known=known), known)
        for former, id_ in placed.moved.items():
            self._move(former, id_)
        for id_, claim in placed.projects.items():
            record = self._known.get(id_)
            if record is None:
                self._transaction.execute(sa.insert(projects).values(**self._new(id_, claim)))
                self.added.append(claim.name)
            elif record.last_seen_at <= self._began:
                self._update(id_, claim, record)
            if id_ in placed.claimants:
                self._tell_of_claimant(id_, claim, placed.claimants[id_])
        for id_, record in self._known.items():
            if id_ in placed.kept:
                self._change(id_, {"last_seen_at": max(self._began, record.last_seen_at)})
            elif id_ not in placed.projects and record.removed_at is None and record.last_seen_at <= self._began:
                self._change(id_, {"removed_at": self._began})
                self.removed.append(record.name)
        self.warnings += [disputed_sentence(key, rivals) for key, rivals in placed.disputed.items()]

    def _new(self, id_: ProjectId, claim: Claim) -> dict[str, Any]:
        name = asset_name(claim.name, id_[1], taken=self._taken)
        self._taken.add(name)
        return {
            "tenant_id": id_[0],
            "session_id": id_[1],
            "asset_name": name,
            "group_name": EXPERIMENTS_GROUP if claim.is_experiment else GROUP,
            "first_seen_at": self._began,
            **self._seen(claim),
        }

    def _seen(self, claim: Claim) -> dict[str, Any]:
        return {
            "project": claim.project,
            "tenant_key": claim.tenant_key,
            "untold": claim.untold,
            "name": claim.name,
            "is_experiment": claim.is_experiment,
            "last_seen_at": self._began,
            "removed_at": None,
        }

    def _update(self, id_: ProjectId, claim: Claim, record: ProjectRecord) -> None:
        never_seen = not record.last_seen_at  # `recover` found the project in the bucket, where names are not kept
        if never_seen or record.removed_at is not None:
            self.added.append(claim.name)
        elif record.name != claim.name:
            self.renamed.append((record.name, claim.name))
        self._change(id_, self._new(id_, claim) if never_seen else self._seen(claim))
        if (record.project, record.tenant_key, record.untold) != (claim.project, claim.tenant_key, claim.untold):
            follow_project(self._transaction, id_)

    def _move(self, former: ProjectId, id_: ProjectId) -> None:
        """The settings name another tenant for what names none; its standing table ends, as one of the former."""
        self._transaction.execute(sa.update(projects).where(is_project(former)).values(tenant_id=id_[0]))
        table = sa.and_(exports.c.tenant_id == former[0], exports.c.session_id == former[1])
        ends = sa.update(exports).where(table, exports.c.superseded_at.is_(None))
        self._transaction.execute(ends.values(superseded_at=self._began, untold=False))
        self._known[id_] = replace(self._known.pop(former), tenant_id=id_[0])
        record_move(self._transaction, self._known[id_], former=former[0], actor="settings", at=self._began)

    def _tell_of_claimant(self, id_: ProjectId, claim: Claim, owner: ProjectRecord) -> None:
        project = self._transaction.execute(sa.select(projects).where(is_project(id_))).mappings().one()
        text = claimant_sentence(project_of(project), owner)
        self.warnings.append(text)
        add_notice(
            self._transaction,
            "project.claimed",
            subject=f"{id_[0]}:{id_[1]}",
            text=text,
            detail={
                "project": claim.project,
                "name": claim.name,
                "tenant_id": str(id_[0]),
                "owner_tenant_id": str(owner.tenant_id),
            },
            at=self._began,
        )

    def _change(self, id_: ProjectId, values: Mapping[str, Any]) -> None:
        self._transaction.execute(sa.update(projects).where(is_project(id_)).values(**values))

"""What the control database's rows are to the rest of the product."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

import sqlalchemy as sa

from export_pipeline.exports.control.tables import days
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.files.manifest import ExportKind
from export_pipeline.files.paths import DayKey
from export_pipeline.runs.filter import read_filter
from export_pipeline.runs.filter_tree import Filter
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.settings import Compression
from export_pipeline.sources.protocol import ProjectKey


@dataclass(frozen=True)
class ProjectRecord:
    """A project as the last sync saw it; instants are control database microseconds.

    `project` and `tenant_key` are as the trace store writes them; without the latter the settings name the tenant.
    `untold`: rows that name no tenant are its own.
    """

    project: str
    session_id: uuid.UUID
    tenant_id: uuid.UUID
    name: str
    is_experiment: bool
    asset_name: str
    group_name: str
    first_seen_at: int
    last_seen_at: int
    removed_at: int | None
    tenant_key: str | None
    untold: bool

    @property
    def key(self) -> ProjectKey:
        """What its rows are found by in the trace store."""
        return ProjectKey(self.project, self.tenant_key or str(self.tenant_id), untold=self.untold)


@dataclass(frozen=True)
class TableRecord:
    """A table of one project in a bucket; what it says never changes, apart from `superseded_at` and `destination_id`.

    `project`, `tenant_key` and `untold` follow the project's.

    `layout_id` is the id in `export_id=…` of its paths: its own, or that of the bulk export that it is a part of.
    `filter` is canonical text, None for every row. `destination_id` names a stored destination.
    """

    export_id: uuid.UUID
    kind: ExportKind
    project: str
    tenant_id: uuid.UUID
    session_id: uuid.UUID
    bucket: str
    prefix: str
    endpoint_url: str | None
    region: str | None
    format_version: FormatVersion
    compression: Compression
    fields: tuple[str, ...]
    created_at: int
    superseded_at: int | None
    layout_id: uuid.UUID
    tenant_key: str | None
    untold: bool
    filter: str | None = None
    bulk_id: uuid.UUID | None = None
    destination_id: uuid.UUID | None = None

    @property
    def project_key(self) -> ProjectKey:
        """What its rows are found by in the trace store."""
        return ProjectKey(self.project, self.tenant_key or str(self.tenant_id), untold=self.untold)

    @property
    def tree(self) -> Filter | None:
        """The filter as the trace store takes it."""
        return None if self.filter is None else read_filter(self.filter)

    def key(self, day: date) -> DayKey:
        """What the paths of a day are made of."""
        return DayKey(export_id=self.layout_id, tenant_id=self.tenant_id, session_id=self.session_id, day=day)


@dataclass(frozen=True)
class DayRecord:
    """How far a day is; without the commit's content, which `read_commit` gives.

    `rows`, `rows_rejected`, `rejected` (by reason), `bytes`, `commit_epoch`, `manifest_key`, `snapshot_at` and
    `completed_at` are those of the last finished commit, None where there is none. `committed` stays true while a
    committed day is exported again.
    """

    export_id: uuid.UUID
    day: date
    status: str
    epoch: int
    owner: str | None
    lease_until: int | None
    cancel_requested: bool
    rows_read: int | None
    bytes_uploaded: int | None
    manifest_key: str | None
    commit_epoch: int | None
    rows: int | None
    bytes: int | None
    fingerprint: Mapping[str, Any] | None
    snapshot_at: int | None
    completed_at: int | None
    error: str | None
    updated_at: int
    pending: bool
    rows_rejected: int | None = None
    rejected: Mapping[str, int] | None = None

    @property
    def rows_of_source(self) -> int:
        """The rows that were read for the last finished commit: those in its file and those that it has set aside."""
        return (self.rows or 0) + (self.rows_rejected or 0)

    @property
    def committed(self) -> bool:
        """Whether the bucket holds a finished commit of the day, be it an empty one."""
        return self.commit_epoch is not None


_HEAVY = {"intent", "manifest", "claim_id"}
_DAY_COLUMNS = (
    *(column for column in days.columns if column.name not in _HEAVY),
    days.c.intent.is_not(None).label("pending"),
)


def project_of(row: Mapping[Any, Any]) -> ProjectRecord:
    """A row of `projects`, as a record."""
    return ProjectRecord(**row)


def table_of(row: Mapping[Any, Any]) -> TableRecord:
    """A row of `exports`, as a record."""
    values = {"layout_id": None, **row}
    values["layout_id"] = values["layout_id"] or values["export_id"]
    return TableRecord(**{**values, "fields": tuple(values["fields"])})


def read_days(
    transaction: Transaction, export_id: uuid.UUID, *, first: date | None = None, last: date | None = None
) -> list[DayRecord]:
    """The days of an export that have a record, oldest first, between `first` and `last`, both included."""
    query = sa.select(*_DAY_COLUMNS).where(days.c.export_id == export_id).order_by(days.c.day)
    if first is not None:
        query = query.where(days.c.day >= first)
    if last is not None:
        query = query.where(days.c.day <= last)
    return [_day_of(row) for row in transaction.execute(query).mappings()]


def read_day(transaction: Transaction, export_id: uuid.UUID, day: date) -> DayRecord | None:
    """One day's record."""
    return next(iter(read_days(transaction, export_id, first=day, last=day)), None)


def read_rejected(transaction: Transaction, export_id: uuid.UUID) -> dict[date, Mapping[str, int]]:
    """The rows that the commits of an export have set aside, by day and reason; days without any are left out."""
    query = sa.select(days.c.day, days.c.rejected).where(days.c.export_id == export_id, days.c.rejected.is_not(None))
    return {row.day: row.rejected for row in transaction.execute(query.order_by(days.c.day))}


def read_commit(transaction: Transaction, export_id: uuid.UUID, day: date) -> Mapping[str, Any] | None:
    """The manifest's content of a day's last finished commit."""
    query = sa.select(days.c.manifest).where(days.c.export_id == export_id, days.c.day == day)
    return cast("Mapping[str, Any] | None", transaction.execute(query).scalar_one_or_none())


def _day_of(row: Mapping[Any, Any]) -> DayRecord:
    values = {str(name): value for name, value in row.items()}
    return DayRecord(**{**values, "pending": bool(values["pending"])})

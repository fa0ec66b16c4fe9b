"""Bulk exports and their units, as the control database holds them."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa

from export_pipeline.errors import ConflictError, DayReturnedError, ExportPipelineError, NotFoundError, PermanentError
from export_pipeline.exports.control.tables import bulk_exports, bulk_units
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.runs.reasons import total_rejected
from export_pipeline.runs.schema import FormatVersion
from export_pipeline.runs.times import instant
from export_pipeline.runs.window import DayWindow, Window
from export_pipeline.settings import Compression

UnitStatus = Literal["Created", "Running", "Completed", "Failed", "Cancelled", "TimedOut"]
ExportStatus = Literal["Created", "Running", "Completed", "Failed", "Cancelled", "TimedOut", "IntervalScheduled"]

UNFINISHED_UNITS: tuple[UnitStatus, ...] = ("Created", "Running")
UNFINISHED_EXPORTS: tuple[ExportStatus, ...] = ("Created", "Running")
RETRYABLE_EXPORTS: tuple[ExportStatus, ...] = ("Failed", "TimedOut")


def may_cancel(status: ExportStatus) -> bool:
    """Whether a cancel changes anything: False where the export is cancelled already.

    Raises `ConflictError` where it has ended in another way.
    """
    if status == "Cancelled":
        return False
    if status in {"Completed", "Failed", "TimedOut"}:
        raise ConflictError(f"The export has ended already, as {status}, and cannot be cancelled.")
    return True


def refuse_retry(status: ExportStatus) -> None:
    """Raises `ConflictError` unless the export has failed or timed out."""
    if status not in RETRYABLE_EXPORTS:
        hint = "; create a new export instead" if status == "Cancelled" else ""
        raise ConflictError(f"Only an export that is Failed or TimedOut can be retried, this one is {status}{hint}.")


def status_of_ended(units: Collection[UnitStatus]) -> ExportStatus | None:
    """What an export has become whose units have these statuses; None while one of them is unfinished."""
    if any(status in UNFINISHED_UNITS for status in units):
        return None
    for status in ("Failed", "TimedOut", "Cancelled"):
        if status in units:
            return status
    return "Completed"


def may_retry(error: ExportPipelineError, *, attempt: int, first_attempt: int, most: int) -> bool:
    """Whether a unit is tried again after its attempt number `attempt` ended with `error`.

    `first_attempt` is where counting began: 0, or where a retry by hand began.
    """
    if isinstance(error, DayReturnedError):
        return True
    return not isinstance(error, PermanentError) and attempt - first_attempt < most


@dataclass(frozen=True)
class BulkExport:
    """What was asked for and how far it is; instants are microseconds since 1970, UTC.

    `end_at` is None for a schedule, `session_id` where all experiments are exported, `export_fields` where the default
    columns are. `filter` is canonical text. `source_id` is the schedule that spawned it. `error` says why it failed,
    `warning` what of its rows is not in the files although it is Completed.
    """

    id: uuid.UUID
    tenant_id: uuid.UUID
    destination_id: uuid.UUID
    session_id: uuid.UUID | None
    all_experiments: bool
    start_at: int
    end_at: int | None
    filter: str | None
    format_version: FormatVersion
    compression: Compression
    export_fields: tuple[str, ...] | None
    interval_hours: int | None
    reexport_late: bool
    source_id: uuid.UUID | None
    status: ExportStatus
    error: str | None
    created_by: str
    created_at: int
    updated_at: int
    planned_at: int | None
    started_at: int | None
    finished_at: int | None
    warning: str | None = None

    @property
    def window(self) -> Window:
        """What is exported; a schedule has none."""
        if self.end_at is None:
            raise ValueError(f"export {self.id} is a schedule and has no window")
        return Window(instant(self.start_at), instant(self.end_at))


@dataclass(frozen=True)
class BulkUnit:
    """One UTC day of one project, cut at the window's ends: what the API calls a run.

    `export_id` names its table in `exports`. `attempt` counts retries, `first_attempt` is where that count began anew
    when a failed export was retried by hand. `errors` is keyed `retry_0`, `retry_1`, …. `planned_rows` were
    counted in the trace store; negative: so many at most. `rows`, `bytes`, `key`, `rows_rejected` and `rejected` (by
    reason) are those of the commit.
    """

    id: uuid.UUID
    bulk_id: uuid.UUID
    export_id: uuid.UUID
    session_id: uuid.UUID
    day: date
    start_at: int
    end_at: int
    status: UnitStatus
    attempt: int
    first_attempt: int
    not_before: int | None
    errors: Mapping[str, str]
    dagster_run_id: str | None
    planned_rows: int | None
    rows: int | None
    bytes: int | None
    key: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    updated_at: int
    rows_rejected: int | None = None
    rejected: Mapping[str, int] | None = None

    @property
    def window(self) -> DayWindow:
        """The day and the part of it that is exported."""
        return DayWindow(self.day, Window(instant(self.start_at), instant(self.end_at)))


def unit_id(bulk_id: uuid.UUID, session_id: uuid.UUID, day: date) -> uuid.UUID:
    """The id of a unit, the same however often it is planned."""
    return uuid.uuid5(bulk_id, f"{session_id}/{day}")


def export_of_row(row: Mapping[Any, Any]) -> BulkExport:
    """A row of `bulk_exports`, as a record."""
    values = {str(name): value for name, value in row.items()}
    fields = values["export_fields"]
    return BulkExport(**{**values, "export_fields": None if fields is None else tuple(fields)})


def unit_of_row(row: Mapping[Any, Any]) -> BulkUnit:
    """A row of `bulk_units`, as a record."""
    return BulkUnit(**{str(name): value for name, value in row.items()})


def read_export(
    transaction: Transaction, bulk_id: uuid.UUID, *, tenant_id: uuid.UUID | None = None, lock: bool = False
) -> BulkExport:
    """A bulk export, of any workspace where `tenant_id` is None; raises `NotFoundError`."""
    query = sa.select(bulk_exports).where(bulk_exports.c.id == bulk_id)
    if tenant_id is not None:
        query = query.where(bulk_exports.c.tenant_id == tenant_id)
    row = transaction.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        where = "" if tenant_id is None else f" in workspace {tenant_id}"
        raise NotFoundError(f"There is no bulk export {bulk_id}{where}.", missing=bulk_id)
    return export_of_row(row)


def read_units(transaction: Transaction, *conditions: sa.ColumnElement[bool]) -> list[BulkUnit]:
    """The units that meet the conditions, by day and project."""
    query = sa.select(bulk_units).where(*conditions).order_by(bulk_units.c.day, bulk_units.c.session_id)
    return [unit_of_row(row) for row in transaction.execute(query).mappings()]


def rejected_of(transaction: Transaction, bulk_id: uuid.UUID) -> Counter[str]:
    """The rows that the commits of an export have set aside, by reason."""
    told = bulk_units.c.rejected.is_not(None)
    query = sa.select(bulk_units.c.rejected).where(bulk_units.c.bulk_id == bulk_id, told)
    return total_rejected(transaction.execute(query).scalars())

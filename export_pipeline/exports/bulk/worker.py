"""What a Dagster run does with its units: publishes their days and records what came of each."""

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from export_pipeline.errors import (
    ControlUnreachableError,
    DayCancelledError,
    DayReturnedError,
    DestinationRefusedError,
    ExportPipelineError,
    PermanentError,
)
from export_pipeline.exports.bulk.changed import read_again
from export_pipeline.exports.bulk.records import (
    UNFINISHED_EXPORTS,
    UNFINISHED_UNITS,
    BulkExport,
    BulkUnit,
    ExportStatus,
    UnitStatus,
    may_retry,
    read_export,
    read_units,
    rejected_of,
    status_of_ended,
)
from export_pipeline.exports.commit.day import DayOutcome, DayRequest
from export_pipeline.exports.commit.lease import OwnerEnded
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.commit.publisher import OnStep, Publisher, PublishLimits, no_step
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import TableRecord
from export_pipeline.exports.control.tables import bulk_exports, bulk_units
from export_pipeline.exports.control.transaction import Transaction
from export_pipeline.exports.projects.standing import find_table
from export_pipeline.exports.watch.notices import EndKind, export_ended
from export_pipeline.files.signing import Signer
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.runs.reasons import describe_rejected
from export_pipeline.runs.times import SECOND
from export_pipeline.settings import Settings
from export_pipeline.sources.protocol import RunSource

_FLUSH_SECONDS = 0.25
_LOOK_SECONDS = 1.0

UnitResult = tuple[BulkUnit, DayOutcome | ExportPipelineError]

_ERRORS_KEPT = 50
"""Of one day, the latest ones: attempts that do not count may be many."""
_NOTICES: dict[ExportStatus, EndKind] = {
    "Completed": "export.completed",
    "Failed": "export.failed",
    "TimedOut": "export.timed_out",
}


@dataclass
class Worked:
    """What one run did: units by what became of them, the errors by day, rows and bytes published, rows rejected."""

    taken: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: dict[str, ExportPipelineError] = field(default_factory=dict)
    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    def add(self, unit: BulkUnit, result: DayOutcome | ExportPipelineError) -> None:
        """Counts one more."""
        if isinstance(result, DayOutcome):
            self.outcomes[result.outcome] += 1
            self.rows += result.rows
            self.rejected.update(result.reasons)
            self.bytes += result.bytes
        elif isinstance(result, DayCancelledError):
            self.outcomes["cancelled"] += 1
        else:
            self.outcomes["failed"] += 1
            self.errors[f"{unit.day} {unit.session_id}"] = result


@dataclass(frozen=True)
class Worker:
    """One Dagster run; `open_store` opens the export's destination, `owner` is how it signs the days it holds."""

    control: ControlDatabase
    open_source: Callable[[], RunSource]
    open_store: Callable[[BulkExport], ObjectStore]
    settings: Settings
    owner: str
    dagster_run_id: str
    owner_ended: OwnerEnded | None = None
    on_step: OnStep = no_step

    def publish_units(self, bulk_id: uuid.UUID, attempts: Mapping[uuid.UUID, int]) -> Worked:
        """Publishes those of the units that wait for exactly these attempts; one bad day does not stop the others.

        What came of each is in the control database afterwards. Raises where that cannot be reached or is lost.
        """
        export, units = take_units(self.control, bulk_id, attempts, dagster_run_id=self.dagster_run_id)
        worked = Worked(taken=len(units))
        if not units:
            return worked
        pending: list[UnitResult] = []
        flushed = time.monotonic()
        try:
            for unit, result in self._results(export, units):
                worked.add(unit, result)
                pending.append((unit, result))
                if time.monotonic() - flushed > _FLUSH_SECONDS:
                    self._record(bulk_id, pending)
                    flushed = time.monotonic()
        finally:
            self._record(bulk_id, pending)
        return worked

    def _record(self, bulk_id: uuid.UUID, pending: list[UnitResult]) -> None:
        record_results(self.control, bulk_id, pending, retries=Retries.from_settings(self.settings))
        pending.clear()

    def _until_ended(self, bulk_id: uuid.UUID) -> OnStep:
        """Stops days of an export that has ended meanwhile, sooner than the heartbeats of their leases would.

        It looks once a second, between batches: nothing of the day is decided there.
        """
        looked = time.monotonic()

        def on_step(name: str) -> None:
            nonlocal looked
            self.on_step(name)
            if name != "batch" or time.monotonic() - looked < _LOOK_SECONDS:
                return
            looked = time.monotonic()
            with suppress(ControlUnreachableError), self.control.read() as transaction:
                if read_export(transaction, bulk_id).status not in UNFINISHED_EXPORTS:
                    looked = 0.0  # the days beside this one look at once
                    raise DayCancelledError("the export has ended before the day was committed")

        return on_step

    def _results(self, export: BulkExport, units: Sequence[BulkUnit]) -> Iterator[UnitResult]:
        try:
            source, store = self.open_source(), self.open_store(export)
        except ExportPipelineError as error:
            yield from ((unit, error) for unit in units)
            return
        publisher = Publisher(
            control=self.control,
            store=store,
            source=source,
            limits=self.limits(),
            owner_ended=self.owner_ended,
            on_step=self._until_ended(export.id),
            signer=Signer.from_settings(self.settings),
        )
        by_table: dict[uuid.UUID, list[BulkUnit]] = defaultdict(list)
        for unit in units:
            by_table[unit.export_id].append(unit)
        refused: ExportPipelineError | None = None
        try:
            for table_id, its in by_table.items():
                if refused is not None:
                    yield from ((unit, refused) for unit in its)
                    continue
                for unit, result in self._table(publisher, export, table_id, its):
                    refused = result if isinstance(result, DestinationRefusedError) else refused
                    yield unit, result
        finally:
            store.close()

    def _table(
        self, publisher: Publisher, export: BulkExport, table_id: uuid.UUID, units: Sequence[BulkUnit]
    ) -> Iterator[UnitResult]:
        """The days of one project."""
        by_day = {unit.day: unit for unit in units}
        left = dict(by_day)
        try:
            requests = [self.request(export, self.table(table_id), unit) for unit in units]
            for day, result in publish_days(
                publisher, requests, on_start=lambda day: begin_unit(self.control, by_day[day])
            ):
                yield left.pop(day), result
        except ExportPipelineError as error:
            yield from ((unit, error) for unit in left.values())

    def limits(self) -> PublishLimits:
        """Those of the settings; a run works on no more days at once than its export may."""
        limits = PublishLimits.from_settings(self.settings)
        return replace(limits, side_by_side=min(limits.side_by_side, self.settings.max_runs_per_export))

    def request(self, export: BulkExport, table: TableRecord, unit: BulkUnit) -> DayRequest:
        """The unit's day; a commit that read its snapshot after the export was started, or put back, is enough."""
        launched_at = export.created_at if export.started_at is None else export.started_at
        return DayRequest(table=table, day=unit.window, owner=self.owner, launched_at=launched_at)

    def table(self, table_id: uuid.UUID) -> TableRecord:
        """Where the days of a project go."""
        table = find_table(self.control, table_id)
        if table is None:
            raise PermanentError(f"the control database no longer has the table {table_id} of this export")
        return table


@dataclass(frozen=True)
class Retries:
    """How often a unit is tried again, and after how many seconds."""

    most: int
    seconds: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "Retries":
        """What the settings say."""
        return cls(settings.max_day_retries, settings.retry_seconds)


def take_units(
    control: ControlDatabase, bulk_id: uuid.UUID, attempts: Mapping[uuid.UUID, int], *, dagster_run_id: str
) -> tuple[BulkExport, list[BulkUnit]]:
    """Gives a Dagster run its units: those that still wait for exactly this attempt; none where the export has ended.

    No other run gets them until they are put back.
    """

    def take(transaction: Transaction) -> tuple[BulkExport, list[BulkUnit]]:
        export = read_export(transaction, bulk_id, lock=True)
        if export.status not in UNFINISHED_EXPORTS:
            return export, []
        now = transaction.now()
        if export.status == "Created":
            begun = {"status": "Running", "started_at": now, "updated_at": now}
            transaction.execute(sa.update(bulk_exports).where(bulk_exports.c.id == bulk_id).values(begun))
            export = replace(export, status="Running", started_at=now)
        free = sa.or_(bulk_units.c.dagster_run_id.is_(None), bulk_units.c.dagster_run_id == dagster_run_id)
        waiting = read_units(transaction, bulk_units.c.bulk_id == bulk_id, bulk_units.c.status == "Created", free)
        mine = [unit for unit in waiting if attempts.get(unit.id) == unit.attempt]
        taken = bulk_units.c.id.in_([unit.id for unit in mine])
        transaction.execute(sa.update(bulk_units).where(taken).values(dagster_run_id=dagster_run_id, updated_at=now))
        return export, mine

    return control.run(take)


def begin_unit(control: ControlDatabase, unit: BulkUnit) -> None:
    """Says that a unit is being worked on; raises `DayCancelledError` where it is no longer to be."""

    def begin(transaction: Transaction) -> bool:
        # Held so that a cancel sees either a unit that has not begun, or one that it must stop.
        held = sa.select(bulk_exports.c.status).where(bulk_exports.c.id == unit.bulk_id)
        if transaction.execute(held.with_for_update(read=True)).scalar_one() not in UNFINISHED_EXPORTS:
            return False
        here = sa.and_(is_attempt(unit.id, unit.attempt), bulk_units.c.status.in_(UNFINISHED_UNITS))
        begun = {"status": "Running", "started_at": transaction.now_sql, "updated_at": transaction.now_sql}
        return bool(transaction.execute(sa.update(bulk_units).where(here).values(begun)).rowcount)

    if not control.run(begin):
        raise DayCancelledError(f"{unit.day} was cancelled before it began")


def record_results(
    control: ControlDatabase,
    bulk_id: uuid.UUID,
    results: Sequence[tuple[BulkUnit, DayOutcome | ExportPipelineError]],
    *,
    retries: Retries,
) -> None:
    """Records what came of units, and ends the export with its last one.

    A unit that is no longer at the attempt that the result is of, or that has ended, stays as it is.
    """

    def record(transaction: Transaction) -> None:
        export = read_export(transaction, bulk_id, lock=True)
        now = transaction.now()
        for unit, result in results:
            if isinstance(result, DayOutcome):
                _complete(transaction, unit, result, now=now)
            else:
                fail_unit(transaction, unit, result, retries=retries, now=now)
            if isinstance(result, DestinationRefusedError):
                _fail_waiting(transaction, bulk_id, result, now=now)
        end_if_done(transaction, export, now=now)

    if results:
        control.run(record)


def fail_unit(
    transaction: Transaction,
    unit: BulkUnit,
    error: ExportPipelineError,
    *only_if: sa.ColumnElement[bool],
    retries: Retries,
    now: int,
    last: UnitStatus = "Failed",
) -> None:
    """Ends an attempt: the unit waits for the next one, or is `last` where there is none.

    One that was not made in truth has a number of its own, by which Dagster starts it again, and does not count.
    """
    again = may_retry(error, attempt=unit.attempt, first_attempt=unit.first_attempt, most=retries.most)
    values: dict[str, Any] = {
        "errors": dict([*unit.errors.items(), (f"retry_{unit.attempt}", str(error))][-_ERRORS_KEPT:]),
        "updated_at": now,
        "started_at": None,
    }
    if again:
        values |= {
            "status": "Created",
            "attempt": unit.attempt + 1,
            "first_attempt": unit.first_attempt + isinstance(error, DayReturnedError),
            "not_before": now + retries.seconds * SECOND,
            "dagster_run_id": None,
        }
    else:
        values |= {"status": last, "finished_at": now, "started_at": unit.started_at}
    here = sa.and_(is_attempt(unit.id, unit.attempt), bulk_units.c.status.in_(UNFINISHED_UNITS), *only_if)
    transaction.execute(sa.update(bulk_units).where(here).values(values))


def end_if_done(transaction: Transaction, export: BulkExport, *, now: int) -> None:
    """Ends an export whose units have all ended; the caller holds its row."""
    if export.status not in UNFINISHED_EXPORTS or export.planned_at is None:
        return
    statuses = sa.select(bulk_units.c.status, sa.func.count()).where(bulk_units.c.bulk_id == export.id)
    counts = {status: count for status, count in transaction.execute(statuses.group_by(bulk_units.c.status))}  # noqa: C416 - typed
    status = status_of_ended(counts.keys())
    if status is None:
        return
    total = sum(counts.values())
    undone = total - counts.get("Completed", 0)
    why = _why(transaction, export, undone=undone, total=total) if undone else None
    rejected = rejected_of(transaction, export.id)
    warning = _warning(transaction, export, rejected)
    values = {"status": status, "error": why, "warning": warning, "finished_at": now, "updated_at": now}
    transaction.execute(sa.update(bulk_exports).where(bulk_exports.c.id == export.id).values(values))
    if (kind := _NOTICES.get(status)) is not None:
        detail = {
            "days": total,
            "failed_days": undone,
            "rows_rejected": sum(rejected.values()),
            "source_id": export.source_id and str(export.source_id),
        }
        again = read_again(transaction, export)
        export_ended(
            transaction,
            kind,
            bulk_id=export.id,
            tenant_id=export.tenant_id,
            error=why,
            warning=warning,
            at=now,
            detail=detail,
            again=again,
        )


def is_attempt(unit_id: uuid.UUID, attempt: int) -> sa.ColumnElement[bool]:
    """The condition for a unit that is still at this attempt."""
    return sa.and_(bulk_units.c.id == unit_id, bulk_units.c.attempt == attempt)


def completed_values(outcome: DayOutcome) -> dict[str, Any]:
    """The columns of a unit whose day is committed."""
    return {
        "status": "Completed",
        "rows": outcome.rows,
        "rows_rejected": outcome.rejected,
        "rejected": dict(outcome.reasons) or None,
        "bytes": outcome.bytes,
        "key": outcome.key,
    }


def _complete(transaction: Transaction, unit: BulkUnit, outcome: DayOutcome, *, now: int) -> None:
    done = {
        **completed_values(outcome),
        "started_at": sa.func.coalesce(bulk_units.c.started_at, now),
        "finished_at": now,
        "updated_at": now,
    }
    here = sa.and_(bulk_units.c.id == unit.id, bulk_units.c.status.in_(UNFINISHED_UNITS))
    transaction.execute(sa.update(bulk_units).where(here).values(done))


def _fail_waiting(transaction: Transaction, bulk_id: uuid.UUID, error: ExportPipelineError, *, now: int) -> None:
    """A destination that refuses one day refuses all: those that wait are not tried."""
    waiting = read_units(transaction, bulk_units.c.bulk_id == bulk_id, bulk_units.c.status == "Created")
    for unit in waiting:
        fail_unit(transaction, unit, error, retries=Retries(0, 0), now=now)


def _warning(transaction: Transaction, export: BulkExport, rejected: Mapping[str, int]) -> str | None:
    """What is not in the files of finished days: rejected rows, and rows that were gone when their day was read."""
    read = bulk_units.c.rows + sa.func.coalesce(bulk_units.c.rows_rejected, 0)
    counted = bulk_units.c.planned_rows >= 0
    done = sa.select(sa.func.sum(read), sa.func.sum(bulk_units.c.planned_rows)).where(
        bulk_units.c.bulk_id == export.id, bulk_units.c.status == "Completed", counted
    )
    there, planned = (int(total or 0) for total in transaction.execute(done).one())
    parts = [describe_rejected(rejected)] if rejected else []
    if there < planned:
        parts.append(f"{planned:,} rows were counted when the export was planned, {there:,} were there to read")
    return "; ".join(parts) or None


def _why(transaction: Transaction, export: BulkExport, *, undone: int, total: int) -> str:
    ended = bulk_units.c.status.in_(("Failed", "TimedOut", "Cancelled"))
    first = read_units(transaction, bulk_units.c.bulk_id == export.id, ended)[0]
    cause = first.errors.get(f"retry_{first.attempt}", "it was stopped")
    return f"{undone} of {total} days are not exported, the first of them {first.day}: {cause}"

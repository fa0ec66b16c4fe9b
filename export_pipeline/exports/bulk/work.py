"""What a Dagster run does with its units: publishes their days and records what came of each."""

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date

from export_pipeline.errors import (
    ControlUnreachableError,
    DayCancelledError,
    DestinationRefusedError,
    ExportPipelineError,
    PermanentError,
)
from export_pipeline.exports.bulk.records import BulkExport, BulkUnit, read_export
from export_pipeline.exports.bulk.results import Retries, begin_unit, record_results, take_units
from export_pipeline.exports.bulk.states import UNFINISHED_EXPORTS
from export_pipeline.exports.commit.breaker import Breaker
from export_pipeline.exports.commit.job import OnStep, PublishLimits
from export_pipeline.exports.commit.leases import OwnerEnded
from export_pipeline.exports.commit.publish import DayOutcome, DayRequest, no_step
from export_pipeline.exports.commit.publish_days import publish_days
from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.control.records import ExportRecord
from export_pipeline.exports.projects.standing import find_export
from export_pipeline.files.signing import Signer
from export_pipeline.object_store.protocol import ObjectStore
from export_pipeline.settings import Settings
from export_pipeline.sources.protocol import RunSource

_FLUSH_SECONDS = 0.25
_LOOK_SECONDS = 1.0

UnitResult = tuple[BulkUnit, DayOutcome | ExportPipelineError]


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
            with suppress(ControlUnreachableError), self.control.read() as connection:
                if read_export(connection, bulk_id).status not in UNFINISHED_EXPORTS:
                    looked = 0.0  # the days beside this one look at once
                    raise DayCancelledError("the export has ended before the day was committed")

        return on_step

    def _results(self, export: BulkExport, units: Sequence[BulkUnit]) -> Iterator[UnitResult]:
        try:
            source, store = self.open_source(), self.open_store(export)
        except ExportPipelineError as error:
            yield from ((unit, error) for unit in units)
            return
        by_table: dict[uuid.UUID, list[BulkUnit]] = defaultdict(list)
        for unit in units:
            by_table[unit.export_id].append(unit)
        refused: ExportPipelineError | None = None
        breaker = Breaker()
        try:
            for table_id, its in by_table.items():
                if refused is not None:
                    yield from ((unit, refused) for unit in its)
                    continue
                for unit, result in self._table(export, table_id, its, source=source, store=store, breaker=breaker):
                    refused = result if isinstance(result, DestinationRefusedError) else refused
                    yield unit, result
        finally:
            store.close()

    def _table(
        self,
        export: BulkExport,
        table_id: uuid.UUID,
        units: Sequence[BulkUnit],
        *,
        source: RunSource,
        store: ObjectStore,
        breaker: Breaker,
    ) -> Iterator[UnitResult]:
        """The days of one project."""
        by_day = {unit.day: unit for unit in units}
        left = dict(by_day)

        def begin(day: date) -> None:
            breaker.check()
            begin_unit(self.control, by_day[day])

        try:
            breaker.check()
            results = publish_days(
                [self.request(export, self.table(table_id), unit) for unit in units],
                control=self.control,
                store=store,
                source=source,
                limits=self.limits(),
                owner_ended=self.owner_ended,
                on_step=self._until_ended(export.id),
                on_start=begin,
                signer=Signer.from_settings(self.settings),
            )
            for day, result in results:
                breaker.note(result)
                yield left.pop(day), result
        except ExportPipelineError as error:
            breaker.note(error)
            yield from ((unit, error) for unit in left.values())

    def limits(self) -> PublishLimits:
        """Those of the settings; a run works on no more days at once than its export may."""
        limits = PublishLimits.from_settings(self.settings)
        return replace(limits, side_by_side=min(limits.side_by_side, self.settings.max_runs_per_export))

    def request(self, export: BulkExport, table: ExportRecord, unit: BulkUnit) -> DayRequest:
        """The unit's day; a commit that read its snapshot after the export was started, or put back, is enough."""
        launched_at = export.created_at if export.started_at is None else export.started_at
        return DayRequest(export=table, day=unit.window, owner=self.owner, launched_at=launched_at)

    def table(self, table_id: uuid.UUID) -> ExportRecord:
        """Where the days of a project go."""
        found = find_export(self.control, table_id)
        if found is None:
            raise PermanentError(f"the control database no longer has the table {table_id} of this export")
        return found

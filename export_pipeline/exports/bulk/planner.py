"""The planner: which units go into which Dagster runs now, what is lost or out of time, and what waits for what.

Pure functions over what the control database and Dagster's records say; nothing here reads or writes.
"""

import hashlib
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from export_pipeline.exports.bulk.records import BulkExport, BulkUnit
from export_pipeline.exports.commit.publisher import PublishLimits
from export_pipeline.runs.times import SECOND
from export_pipeline.settings import Settings

SIDE_BY_SIDE = PublishLimits.side_by_side
"""Days that one Dagster run works on at once, at most."""
MOST_UNITS = 200
"""Units in one Dagster run: a run takes seconds to start, so small days share one; a year makes two, side by side."""
ROWS_TOGETHER = 50_000
"""Rows in one Dagster run of several units; a day with more has a run of its own."""
QUEUE_AHEAD = 10
"""Runs of one workspace that wait in Dagster's queue at once: what comes later is still ours to order."""
_HOUR = 3600 * SECOND

PATIENCE = 20 * SECOND
"""For how many microseconds a workspace waits for a place that becomes free by itself."""


@dataclass(frozen=True)
class Limits:
    """The limits that the planner keeps; times in microseconds."""

    units_per_export: int
    exports_per_workspace: int
    run_time: int
    export_time: int
    queue_ahead: int = QUEUE_AHEAD

    @classmethod
    def from_settings(cls, settings: Settings) -> "Limits":
        """What the settings say."""
        return cls(
            units_per_export=settings.max_runs_per_export,
            exports_per_workspace=settings.max_exports,
            run_time=round(settings.run_hours * _HOUR),
            export_time=round(settings.export_hours * _HOUR),
        )


@dataclass(frozen=True)
class DagsterRun:
    """A Dagster run of the job, with the attempts at units that it was started for; a cleaning run attempts none.

    `age`: for how many microseconds it has been running, or queued. `workspace` is None for one that a person started.
    """

    run_id: str
    bulk_id: uuid.UUID
    attempts: Mapping[uuid.UUID, int]
    status: str
    live: bool
    queued: bool = False
    cleans: bool = False
    age: int = 0
    workspace: str | None = None

    @property
    def width(self) -> int:
        """How many days it may work on at once."""
        return min(SIDE_BY_SIDE, len(self.attempts))


@dataclass(frozen=True)
class Start:
    """A Dagster run to be started."""

    bulk_id: uuid.UUID
    units: tuple[BulkUnit, ...]

    @property
    def attempts(self) -> dict[uuid.UUID, int]:
        """What the run is told to do."""
        return {unit.id: unit.attempt for unit in self.units}

    @property
    def run_key(self) -> str:
        """The same for the same attempts at the same units: Dagster starts each key once, for ever."""
        named = "\n".join(f"{unit.id} {unit.attempt}" for unit in self.units)
        return f"{self.bulk_id}:{hashlib.sha256(named.encode()).hexdigest()[:16]}"


@dataclass(frozen=True)
class Lost:
    """An attempt whose Dagster run has ended without a result for the unit."""

    unit: BulkUnit
    run_id: str
    status: str


@dataclass
class Planned:
    """What a tick is to do. `terminate` holds ids of Dagster runs; `waits` are sentences for people."""

    starts: list[Start] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    timed_out_units: list[BulkUnit] = field(default_factory=list)
    timed_out_exports: list[BulkExport] = field(default_factory=list)
    terminate: set[str] = field(default_factory=set)
    waits: list[str] = field(default_factory=list)


def plan(
    exports: Sequence[BulkExport],
    units: Sequence[BulkUnit],
    runs: Sequence[DagsterRun],
    *,
    limits: Limits,
    now: int,
    heard: Mapping[str, int] | None = None,
) -> Planned:
    """What is to be done about exports that are Created or Running, given their unfinished units and their runs.

    `runs` are all that are live, those that hold units, and those that ended before they took what is to be started.
    `heard` says when runs that are old last did something for a unit.

    Live runs of any other export are ended, but for those that clean up, and so are those that do nothing for as long
    as an attempt may take. A unit of a run that has ended without a result for it is lost; what has timed out is ended;
    the rest is started as far as the limits allow, every export in turn.
    """
    planned = Planned()
    active = {export.id: export for export in exports}
    planned.terminate.update(run.run_id for run in runs if run.live and not run.cleans and run.bulk_id not in active)
    for export in exports:
        if export.started_at is not None and now - export.started_at > limits.export_time:
            planned.timed_out_exports.append(active.pop(export.id))
    mine = [run for run in runs if run.bulk_id in active]
    waiting: dict[uuid.UUID, list[BulkUnit]] = defaultdict(list)
    silent = silent_runs(runs, units, heard or {}, limits=limits, now=now)
    planned.terminate.update(silent)
    judge = _Judge(mine, limits, now, silent)
    for unit in units:
        if unit.bulk_id not in active:
            continue
        if (lost := judge.lost(unit)) is not None:
            planned.lost.append(lost)
        elif judge.is_timed_out(unit):
            planned.timed_out_units.append(unit)
        elif judge.waits(unit):
            waiting[unit.bulk_id].append(unit)
    planned.terminate.update(
        unit.dagster_run_id for unit in planned.timed_out_units if unit.dagster_run_id in judge.live
    )
    ended = {export.id for export in planned.timed_out_exports}
    planned.terminate.update(run.run_id for run in runs if run.live and run.bulk_id in ended)
    _start(planned, list(active.values()), waiting, [run for run in mine if run.live], limits=limits, now=now)
    return planned


def old_runs(runs: Iterable[DagsterRun], limits: Limits) -> list[str]:
    """The runs that have been running for longer than an attempt may take."""
    return [run.run_id for run in runs if run.live and not run.queued and run.age > limits.run_time]


def silent_runs(
    runs: Iterable[DagsterRun], units: Iterable[BulkUnit], heard: Mapping[str, int], *, limits: Limits, now: int
) -> set[str]:
    """Those of the old runs that do nothing: they work on no unit, and have begun or ended none for as long."""
    at_work = {unit.dagster_run_id for unit in units if unit.status == "Running"}
    return {
        run_id
        for run_id in old_runs(runs, limits)
        if run_id not in at_work and now - heard.get(run_id, 0) > limits.run_time
    }


class _Judge:
    """What a unit needs, given the runs; `silent` are those of them that do nothing any more."""

    def __init__(self, runs: Sequence[DagsterRun], limits: Limits, now: int, silent: Collection[str]) -> None:
        self.live = {run.run_id: run for run in runs if run.live}
        self._ended = {run.run_id: run for run in runs if not run.live}
        self._in_live = {attempt for run in self.live.values() for attempt in run.attempts.items()}
        self._in_ended = {attempt: run for run in self._ended.values() for attempt in run.attempts.items()}
        self._limits = limits
        self._now = now
        self._silent = silent

    def lost(self, unit: BulkUnit) -> Lost | None:
        """The unit's attempt, where the run that took it, or was started for it, has ended."""
        run_id = unit.dagster_run_id
        if run_id is not None:
            if run_id in self.live:
                return None
            ended = self._ended.get(run_id)
            return Lost(unit, run_id, "missing" if ended is None else ended.status)
        attempt = (unit.id, unit.attempt)
        ended = self._in_ended.get(attempt)
        if ended is None or attempt in self._in_live:
            return None
        return Lost(unit, ended.run_id, ended.status)

    def is_timed_out(self, unit: BulkUnit) -> bool:
        """Whether an attempt takes too long, or the run that has taken the unit does."""
        if unit.dagster_run_id in self._silent:
            return True
        running = unit.status == "Running" and unit.started_at is not None
        return running and self._now - (unit.started_at or 0) > self._limits.run_time

    def waits(self, unit: BulkUnit) -> bool:
        """Whether it waits for a run, now or later."""
        return unit.status == "Created" and unit.dagster_run_id is None and (unit.id, unit.attempt) not in self._in_live


def _start(
    planned: Planned,
    exports: Sequence[BulkExport],
    waiting: Mapping[uuid.UUID, list[BulkUnit]],
    live: Sequence[DagsterRun],
    *,
    limits: Limits,
    now: int,
) -> None:
    """Adds starts, each workspace in turn and of it each export, and what keeps the rest from starting."""
    runs_of: dict[uuid.UUID, list[DagsterRun]] = defaultdict(list)
    for run in live:
        runs_of[run.bulk_id].append(run)
    admitted = _admitted(exports, runs_of, limits, planned.waits)
    groups: dict[uuid.UUID, list[Start]] = {}
    for export in admitted:
        units = waiting.get(export.id, ())
        due = [unit for unit in units if unit.planned_rows is not None and (unit.not_before or 0) <= now]
        groups[export.id] = group_units(export.id, due)
        _say_what_waits(planned.waits, export, units, now=now)
    used = {export.id: sum(run.width for run in runs_of[export.id]) for export in admitted}
    started = Counter({export.id: len(runs_of[export.id]) for export in admitted})
    tenants = {export.id: export.tenant_id for export in admitted}
    queued = Counter(tenants[run.bulk_id] for run in live if run.queued)
    of_tenant = Counter(tenants[run.bulk_id] for run in live)

    def has_room(export: BulkExport) -> bool:
        return queued[export.tenant_id] < limits.queue_ahead

    def turn(export: BulkExport) -> tuple[int, int, int, str]:
        return of_tenant[export.tenant_id], started[export.id], export.created_at, str(export.id)

    while True:
        ready = [export for export in admitted if groups[export.id] and has_room(export)]
        able = [export for export in ready if _fits(groups[export.id][0], used, limits)]
        if not able:
            break
        export = min(able, key=turn)
        start = groups[export.id].pop(0)
        planned.starts.append(start)
        used[export.id] += min(SIDE_BY_SIDE, len(start.units))
        started[export.id] += 1
        of_tenant[export.tenant_id] += 1
        queued[export.tenant_id] += 1
    for export in admitted:
        if groups[export.id]:
            days = sum(len(start.units) for start in groups[export.id])
            under_way = f"{used[export.id]} under way, limit {limits.units_per_export}"
            why = under_way if has_room(export) else f"{queued[export.tenant_id]} runs of its workspace are queued"
            planned.waits.append(f"export {export.id}: {days} days wait ({why})")


def _fits(start: Start, used: Mapping[uuid.UUID, int], limits: Limits) -> bool:
    width = min(SIDE_BY_SIDE, len(start.units))
    taken = used[start.bulk_id]
    # Under a limit below that width a run works on fewer days at once, and must be able to start.
    return taken + width <= limits.units_per_export or taken == 0


def _admitted(
    exports: Sequence[BulkExport], runs_of: Mapping[uuid.UUID, list[DagsterRun]], limits: Limits, waits: list[str]
) -> list[BulkExport]:
    """The exports that may be under way: those that are, and the oldest others up to the workspace's limit."""
    in_order = sorted(exports, key=lambda export: (export.created_at, str(export.id)))
    under_way = [export for export in in_order if export.status == "Running" or runs_of.get(export.id)]
    count = Counter(export.tenant_id for export in under_way)
    admitted = list(under_way)
    kept: Counter[uuid.UUID] = Counter()
    for export in in_order:
        if export in under_way:
            continue
        if count[export.tenant_id] < limits.exports_per_workspace:
            count[export.tenant_id] += 1
            admitted.append(export)
        else:
            kept[export.tenant_id] += 1
    for tenant, number in kept.items():
        waits.append(f"{number} exports of workspace {tenant} wait: {count[tenant]} are under way, as many as may be")
    return admitted


def _say_what_waits(waits: list[str], export: BulkExport, units: Sequence[BulkUnit], *, now: int) -> None:
    if uncounted := sum(unit.planned_rows is None for unit in units):
        waits.append(f"export {export.id}: {uncounted} days wait until the trace store has counted their rows")
    later = [unit.not_before for unit in units if (unit.not_before or 0) > now and unit.not_before is not None]
    if later:
        seconds = (min(later) - now) // SECOND + 1
        waits.append(f"export {export.id}: {len(later)} days wait to be tried again, the first in {seconds} s")


def group_units(bulk_id: uuid.UUID, units: Sequence[BulkUnit]) -> list[Start]:
    """The units as Dagster runs, in order: small days together, a large one alone.

    Units that failed before go together in ever smaller groups, so that one that kills its worker ends up alone.
    """
    starts: list[Start] = []
    by_attempt: dict[int, list[BulkUnit]] = defaultdict(list)
    for unit in units:
        by_attempt[unit.attempt - unit.first_attempt].append(unit)
    for attempt, its in sorted(by_attempt.items()):
        most = max(1, MOST_UNITS >> (2 * attempt))
        group: list[BulkUnit] = []
        rows = 0
        for unit in sorted(its, key=lambda unit: (str(unit.export_id), unit.day)):
            size = abs(unit.planned_rows or 0)
            if group and (len(group) >= most or rows + size > ROWS_TOGETHER):
                starts.append(Start(bulk_id, tuple(group)))
                group, rows = [], 0
            group.append(unit)
            rows += size
        if group:
            starts.append(Start(bulk_id, tuple(group)))
    return starts


@dataclass(frozen=True)
class Moves:
    """Ids of Dagster runs: queued ones that go before all others, and a running one that is ended, where one is."""

    first: tuple[str, ...] = ()
    ended: str | None = None


def share_places(runs: Iterable[DagsterRun], *, places: int | None) -> Moves:
    """What gives each workspace a place, as far as there are enough: `runs` are the live ones, places None: no limit.

    While only one workspace has runs it keeps whatever it has. Where all places are taken and a workspace without one
    has waited for some time, one of those that have most of them, and at least two, loses its youngest run.
    """
    live = [run for run in runs if run.live]
    running = [run for run in live if not run.queued]
    used = Counter(run.workspace for run in running)
    waiting: dict[str, DagsterRun] = {}
    for run in sorted(live, key=lambda run: -run.age):
        if run.queued and run.workspace is not None and not used[run.workspace]:
            waiting.setdefault(run.workspace, run)
    if len({run.workspace for run in live}) < 2:
        return Moves()
    first = tuple(run.run_id for run in waiting.values())
    if places is None or len(running) < places or all(run.age < PATIENCE for run in waiting.values()):
        return Moves(first)
    return Moves(first, _youngest_of_most(running, used))


def _youngest_of_most(running: list[DagsterRun], used: Counter[str | None]) -> str | None:
    """None where nobody has two, and while another run is being ended already."""
    most = max(used.values())
    able = [run for run in running if used[run.workspace] == most and run.status == "STARTED"]
    if most < 2 or not able or any(run.status == "CANCELING" for run in running):
        return None
    return min(able, key=lambda run: (run.cleans, run.age)).run_id

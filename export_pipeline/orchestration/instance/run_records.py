"""What Dagster's records say about a run: when its launch was created, and whether another run has ended."""

import time
from collections.abc import Callable

import dagster as dg

from export_pipeline.runs.times import SECOND

OWNER_PREFIX = "dagster:"
_BACKFILL_TAG = "dagster/backfill"


def launched_at(instance: dg.DagsterInstance, run: dg.DagsterRun, *, now: int) -> int:
    """When the launch that `run` belongs to was created, in microseconds of the clock that says `now`.

    A run of a backfill belongs to the backfill, a retried or re-executed run to the first run of its chain, any other
    run to itself. Dagster stamps both with the clock of the process that created them; the age by this host's clock is
    taken off `now`, so a difference between those two clocks shifts the result by as much.
    """
    created = _created(instance, run)
    age = max(0.0, time.time() - created) if created is not None else 0.0
    return now - round(age * SECOND)


def _created(instance: dg.DagsterInstance, run: dg.DagsterRun) -> float | None:
    backfill_id = run.tags.get(_BACKFILL_TAG)
    # `dagster job backfill` records its backfill only after it has queued the runs: until then the run's own time.
    if backfill_id is not None and (backfill := instance.get_backfill(backfill_id)) is not None:
        return backfill.backfill_timestamp
    for run_id in (run.root_run_id, run.run_id):
        if run_id is not None and (record := instance.get_run_record_by_id(run_id)) is not None:
            return record.create_timestamp.timestamp()
    return None


def owner_of(run_id: str) -> str:
    """How a run signs the days that it holds."""
    return OWNER_PREFIX + run_id


def owner_has_ended(instance: dg.DagsterInstance, *, me: str) -> Callable[[str], bool]:
    """Tells of an owner whether its run has ended, so that its days need not wait for their leases.

    `me` counts as ended: whatever this run held before, it held in an earlier attempt of the same step. An owner that
    this instance does not know may live in another one and counts as running.
    """

    def ended(owner: str) -> bool:
        if owner == me:
            return True
        if not owner.startswith(OWNER_PREFIX):
            return False
        run = instance.get_run_by_id(owner.removeprefix(OWNER_PREFIX))
        return run is not None and run.is_finished

    return ended

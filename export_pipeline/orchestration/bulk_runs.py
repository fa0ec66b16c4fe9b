"""Dagster's records of the job `bulk_export`: which runs there are, and what each was started for."""

import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.exports.bulk.dagster_runs import CLEAN_TAG, EXPORT_TAG, WORKSPACE_TAG
from export_pipeline.orchestration.bulk_job import BULK_EXPORT, OP

if TYPE_CHECKING:
    from export_pipeline.exports.bulk.cleaning import Cleaning
    from export_pipeline.exports.bulk.plan import Run, Start

LIVE = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
    dg.DagsterRunStatus.MANAGED,
)
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
RUN_KEY_TAG = "dagster/run_key"
_WAITING = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}


def bulk_runs(instance: dg.DagsterInstance, *, holders: Collection[str] = ()) -> "list[Run]":
    """Every live run of the job, and the runs that hold units.

    `holders` are the ids of runs that took units and have not given all of them back.
    """
    found = list(instance.get_run_records(dg.RunsFilter(job_name=BULK_EXPORT, statuses=list(LIVE))))
    if missing := set(holders) - {record.dagster_run.run_id for record in found}:
        found += instance.get_run_records(dg.RunsFilter(run_ids=sorted(missing)))
    return _known(found)


def runs_started_before(instance: dg.DagsterInstance, starts: "Sequence[Start]") -> "list[Run]":
    """The runs that were started with the run keys of these starts: Dagster starts a key only once.

    Such a run has ended without having taken its units, or they would not be about to be started again.
    """
    if not starts:
        return []
    keys = {RUN_KEY_TAG: [start.run_key for start in starts]}
    return _known(instance.get_run_records(dg.RunsFilter(job_name=BULK_EXPORT, tags=keys)))


def request_of(start: "Start", *, workspace: uuid.UUID) -> dg.RunRequest:
    """How the sensor asks for a run; Dagster's queue has places by the tag of the workspace."""
    first, last = start.units[0], start.units[-1]
    return dg.RunRequest(
        run_key=start.run_key,
        run_config=run_config(start.bulk_id, start.attempts),
        tags={
            EXPORT_TAG: str(start.bulk_id),
            WORKSPACE_TAG: str(workspace),
            "export_pipeline/days": f"{first.day} to {last.day}" if len(start.units) > 1 else str(first.day),
        },
    )


def request_cleaning(cleaning: "Cleaning", *, workspace: uuid.UUID) -> dg.RunRequest:
    """How the sensor asks for a run that cleans up, in one of its workspace's places."""
    attempts = {unit.id: unit.attempt for unit in cleaning.units}
    return dg.RunRequest(
        run_key=cleaning.run_key,
        run_config=run_config(cleaning.bulk_id, attempts, clean=True),
        tags={EXPORT_TAG: str(cleaning.bulk_id), WORKSPACE_TAG: str(workspace), CLEAN_TAG: "true"},
    )


def ended_cleanings(instance: dg.DagsterInstance, exports: Collection[uuid.UUID]) -> dict[uuid.UUID, list[float]]:
    """When the cleaning runs of exports ended, in seconds since 1970."""
    tags = {EXPORT_TAG: [str(bulk_id) for bulk_id in exports], CLEAN_TAG: "true"}
    wanted = dg.RunsFilter(job_name=BULK_EXPORT, statuses=list(ENDED), tags=tags)
    found: dict[uuid.UUID, list[float]] = defaultdict(list)
    for record in instance.get_run_records(filters=wanted) if exports else ():
        bulk_id = uuid.UUID(record.dagster_run.tags[EXPORT_TAG])
        found[bulk_id].append(record.end_time or record.update_timestamp.timestamp())
    return found


def run_config(bulk_id: uuid.UUID, attempts: "dict[uuid.UUID, int]", *, clean: bool = False) -> dict[str, Any]:
    """The configuration of a run."""
    units = {str(unit): attempt for unit, attempt in attempts.items()}
    return {"ops": {OP: {"config": {"export": str(bulk_id), "units": units, "clean": clean}}}}


def _known(records: Iterable[dg.RunRecord]) -> "list[Run]":
    return [known for record in records if (known := _run_of(record)) is not None]


def _run_of(record: dg.RunRecord) -> "Run | None":
    from export_pipeline.exports.bulk.plan import Run

    run = record.dagster_run
    since = record.create_timestamp.timestamp() if record.start_time is None else record.start_time
    try:
        ops: Any = run.run_config["ops"]
        config = ops[OP]["config"]
        bulk_id = uuid.UUID(config["export"])
        cleans = bool(config.get("clean"))
        attempts = {uuid.UUID(unit): int(attempt) for unit, attempt in config["units"].items()}
    except (KeyError, TypeError, ValueError):
        return None  # started by hand with a configuration that is none of ours
    return Run(
        run_id=run.run_id,
        bulk_id=bulk_id,
        attempts={} if cleans else attempts,
        cleans=cleans,
        status=run.status.value,
        live=run.status in LIVE,
        queued=run.status in _WAITING,
        age=round((time.time() - since) * 1_000_000),
        workspace=run.tags.get(WORKSPACE_TAG),
    )

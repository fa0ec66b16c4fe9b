"""Dagster's jobs: one over all project assets, one that publishes days of bulk exports."""

import time
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.exports.bulk.dagster_runs import CLEAN_TAG, EXPORT_TAG, WORKSPACE_TAG
from export_pipeline.orchestration.assets import KEY_PREFIX
from export_pipeline.orchestration.failure import as_failure
from export_pipeline.orchestration.instance.run_records import owner_has_ended, owner_of
from export_pipeline.orchestration.resources import CONNECTIONS, Connections
from export_pipeline.runs.reasons import describe_rejected
from export_pipeline.runs.times import SECOND

if TYPE_CHECKING:
    from export_pipeline.exports.bulk.cleanup import Cleaning
    from export_pipeline.exports.bulk.planner import DagsterRun, Start
    from export_pipeline.exports.bulk.records import BulkExport
    from export_pipeline.exports.bulk.worker import Worked, Worker
    from export_pipeline.object_store.protocol import ObjectStore

EXPORT_RUNS = "export_runs"

BULK_EXPORT = "bulk_export"
OP = "publish_units"
_MOST_SHOWN = 100
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


def build_export_job() -> Any:
    """The job `export_runs`: the days of every project."""
    return dg.define_asset_job(
        EXPORT_RUNS,
        selection=dg.AssetSelection.key_prefixes([KEY_PREFIX]),
        executor_def=dg.in_process_executor,
        description=(
            "Publishes days of every project. `dagster job launch` takes one day or, by tags, a range of days; "
            "`dagster job backfill` makes one run for each day; the UI's backfills put up to 31 days into a run."
        ),
    )


class UnitsOfExport(dg.Config):
    """What one run is to do."""

    export: str
    """The id of the bulk export."""
    units: dict[str, int]
    """The ids of its units, each with the number of the attempt that this run is."""
    clean: bool = False
    """Ends what a worker left of units of an export that has ended: open uploads, commits decided on."""


@dg.op(name=OP, required_resource_keys={CONNECTIONS})
def publish_units(context: dg.OpExecutionContext, config: UnitsOfExport) -> None:
    """Publishes days of one bulk export; what comes of each stands in the control database."""
    connections: Connections = context.resources.connections
    attempts = {uuid.UUID(unit): attempt for unit, attempt in config.units.items()}
    from export_pipeline.exports.bulk.cleanup import clean_up

    with as_failure():
        connections.control.check_schema()
        worker = _worker(context, connections)
        bulk_id = uuid.UUID(config.export)
        worked = clean_up(worker, bulk_id, attempts) if config.clean else worker.publish_units(bulk_id, attempts)
    _report(context, worked, asked=len(attempts))


def build_bulk_job() -> Any:
    """The job `bulk_export`."""

    @dg.job(
        name=BULK_EXPORT,
        executor_def=dg.in_process_executor,
        # Only the planner tries again: retries by Dagster would multiply with it.
        tags={"dagster/max_retries": "0"},
        description="Publishes days of one bulk export, small ones together. The sensor `bulk_exports` starts it.",
    )
    def bulk_export() -> None:
        publish_units()

    return bulk_export


def _worker(context: dg.OpExecutionContext, connections: Connections) -> "Worker":
    from export_pipeline.exports.bulk.worker import Worker
    from export_pipeline.exports.destinations.opened import open_destination

    def open_store(export: "BulkExport") -> "ObjectStore":
        return open_destination(
            connections.control, export.destination_id, tenant_id=export.tenant_id, settings=connections.settings
        )

    owner = owner_of(context.run.run_id)
    return Worker(
        control=connections.control,
        open_source=lambda: connections.source,
        open_store=open_store,
        settings=connections.settings,
        owner=owner,
        dagster_run_id=context.run.run_id,
        owner_ended=owner_has_ended(context.instance, me=owner),
    )


def _report(context: dg.OpExecutionContext, worked: "Worked", *, asked: int) -> None:
    """Shows what was done; the run is red where a day failed."""
    what = ", ".join(f"{count} {outcome}" for outcome, count in sorted(worked.outcomes.items())) or "nothing to do"
    context.log.info(f"{worked.taken} of {asked} days taken: {what}; {worked.rows:,} rows, {worked.bytes:,} bytes")
    rejected = {"rejected_rows": sum(worked.rejected.values()), "rejected_rows_by_reason": dict(worked.rejected)}
    context.add_output_metadata(
        {"days": worked.taken, "rows": worked.rows, **rejected, "bytes": worked.bytes, **dict(worked.outcomes)}
    )
    if worked.rejected:
        context.log.warning(describe_rejected(worked.rejected))
    if worked.errors:
        shown = dict(list(worked.errors.items())[:_MOST_SHOWN])
        first, error = next(iter(shown.items()))
        raise dg.Failure(
            f"{len(worked.errors)} of {worked.taken} days failed, the first of them {first}: {error}",
            metadata={"failed_days": len(worked.errors), "causes": {day: str(cause) for day, cause in shown.items()}},
            allow_retries=False,
        )


def bulk_runs(instance: dg.DagsterInstance, *, holders: Collection[str] = ()) -> "list[DagsterRun]":
    """Every live run of the job, and the runs that hold units.

    `holders` are the ids of runs that took units and have not given all of them back.
    """
    records = list(instance.get_run_records(dg.RunsFilter(job_name=BULK_EXPORT, statuses=list(LIVE))))
    if missing := set(holders) - {record.dagster_run.run_id for record in records}:
        records += instance.get_run_records(dg.RunsFilter(run_ids=sorted(missing)))
    return _known(records)


def runs_started_before(instance: dg.DagsterInstance, starts: "Sequence[Start]") -> "list[DagsterRun]":
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
    ends: dict[uuid.UUID, list[float]] = defaultdict(list)
    for record in instance.get_run_records(filters=wanted) if exports else ():
        bulk_id = uuid.UUID(record.dagster_run.tags[EXPORT_TAG])
        ends[bulk_id].append(record.end_time or record.update_timestamp.timestamp())
    return ends


def run_config(bulk_id: uuid.UUID, attempts: "dict[uuid.UUID, int]", *, clean: bool = False) -> dict[str, Any]:
    """The configuration of a run."""
    units = {str(unit): attempt for unit, attempt in attempts.items()}
    return {"ops": {OP: {"config": {"export": str(bulk_id), "units": units, "clean": clean}}}}


def _known(records: Iterable[dg.RunRecord]) -> "list[DagsterRun]":
    return [known for record in records if (known := _run_of(record)) is not None]


def _run_of(record: dg.RunRecord) -> "DagsterRun | None":
    from export_pipeline.exports.bulk.planner import DagsterRun

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
    return DagsterRun(
        run_id=run.run_id,
        bulk_id=bulk_id,
        attempts={} if cleans else attempts,
        cleans=cleans,
        status=run.status.value,
        live=run.status in LIVE,
        queued=run.status in _WAITING,
        age=round((time.time() - since) * SECOND),
        workspace=run.tags.get(WORKSPACE_TAG),
    )

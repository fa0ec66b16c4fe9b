"""The job that publishes days of bulk exports; the sensor starts it, a person may too."""

import uuid
from typing import TYPE_CHECKING, Any

import dagster as dg

from export_pipeline.orchestration.assets import PARTS
from export_pipeline.orchestration.failure import as_failure
from export_pipeline.orchestration.launch import owner_has_ended, owner_of
from export_pipeline.orchestration.parts import Parts
from export_pipeline.runs.reasons import describe_rejected

if TYPE_CHECKING:
    from export_pipeline.exports.bulk.records import BulkExport
    from export_pipeline.exports.bulk.work import Worked, Worker
    from export_pipeline.object_store.protocol import ObjectStore

BULK_EXPORT = "bulk_export"
OP = "publish_units"
_MOST_SHOWN = 100


class UnitsOfExport(dg.Config):
    """What one run is to do."""

    export: str
    """The id of the bulk export."""
    units: dict[str, int]
    """The ids of its units, each with the number of the attempt that this run is."""
    clean: bool = False
    """Ends what a worker left of units of an export that has ended: open uploads, commits decided on."""


@dg.op(name=OP, required_resource_keys={PARTS})
def publish_units(context: dg.OpExecutionContext, config: UnitsOfExport) -> None:
    """Publishes days of one bulk export; what comes of each stands in the control database."""
    parts: Parts = context.resources.parts
    attempts = {uuid.UUID(unit): attempt for unit, attempt in config.units.items()}
    from export_pipeline.exports.bulk.clean import clean_up

    with as_failure():
        parts.control.check_schema()
        worker = _worker(context, parts)
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


def _worker(context: dg.OpExecutionContext, parts: Parts) -> "Worker":
    from export_pipeline.exports.bulk.work import Worker
    from export_pipeline.exports.destinations.opened import open_destination

    def open_store(export: "BulkExport") -> "ObjectStore":
        return open_destination(
            parts.control, export.destination_id, tenant_id=export.tenant_id, settings=parts.settings
        )

    owner = owner_of(context.run.run_id)
    return Worker(
        control=parts.control,
        open_source=lambda: parts.source,
        open_store=open_store,
        settings=parts.settings,
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

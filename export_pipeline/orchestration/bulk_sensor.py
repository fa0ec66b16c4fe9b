"""The sensor that turns bulk exports into runs of the job `bulk_export`; the decisions are `exports.bulk.plan`'s."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from export_pipeline.errors import ExportPipelineError
from export_pipeline.orchestration.assets import PARTS
from export_pipeline.orchestration.bulk_job import BULK_EXPORT
from export_pipeline.orchestration.bulk_places import give_places
from export_pipeline.orchestration.bulk_runs import (
    bulk_runs,
    ended_cleanings,
    request_cleaning,
    request_of,
    runs_started_before,
)
from export_pipeline.orchestration.parts import Parts

if TYPE_CHECKING:
    from export_pipeline.exports.bulk.plan import Planned, Run

log = logging.getLogger("dagster.export_pipeline")

BULK_EXPORTS = "bulk_exports"
SECONDS = 5
"""The shortest interval of Dagster's sensor loop."""
_COUNTING_SECONDS = 5.0
_MOST_SAID = 20
_NOT_NOW = {dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING}


def build_bulk_sensor() -> dg.SensorDefinition:
    """The sensor `bulk_exports`."""

    @dg.sensor(
        name=BULK_EXPORTS,
        job_name=BULK_EXPORT,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={PARTS},
        description="Starts, tries again and ends the runs of bulk exports, and spawns the exports of schedules.",
    )
    def bulk_exports(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from export_pipeline.exports.watch.heartbeat import beat

        parts: Parts = context.resources.parts
        beat(parts.control)
        return tick(parts, context.instance)

    return bulk_exports


def tick(parts: Parts, instance: dg.DagsterInstance) -> dg.SensorResult:
    """One round: what is to be started, or why nothing is."""
    from export_pipeline.exports.bulk.plan import Limits, old_runs, plan
    from export_pipeline.exports.bulk.steps import carry_out, last_heard, prepare, read_active

    parts.control.check_schema()
    prepare(parts.control, parts.settings)
    trouble = _count(parts)
    active = read_active(parts.control, parts.settings)
    holders = {unit.dagster_run_id for unit in active.units if unit.dagster_run_id is not None}
    runs, limits = bulk_runs(instance, holders=holders), Limits.from_settings(parts.settings)
    heard = last_heard(parts.control, old_runs(runs, limits), [export.id for export in active.exports])
    planned = plan(active.exports, active.units, runs, limits=limits, now=active.now, heard=heard)
    if ended := runs_started_before(instance, planned.starts):
        planned = plan(active.exports, active.units, [*runs, *ended], limits=limits, now=active.now, heard=heard)
    carry_out(parts.control, planned, active, settings=parts.settings)
    end_runs(instance, planned.terminate)
    end_runs(instance, give_places(instance, [run for run in runs if run.run_id not in planned.terminate]))
    workspaces = {export.id: export.tenant_id for export in active.exports}
    requests = [request_of(start, workspace=workspaces[start.bulk_id]) for start in planned.starts]
    requests += _clean(parts, instance, runs)
    if requests:
        return dg.SensorResult(run_requests=requests)
    return dg.SensorResult(skip_reason=why_nothing(planned, len(active.exports), trouble))


def why_nothing(planned: "Planned", exports: int, trouble: str | None) -> str:
    """Says why a tick starts no run, and what waits for what."""
    said = [trouble] if trouble else []
    said += planned.waits[:_MOST_SAID]
    if len(planned.waits) > _MOST_SAID:
        said.append(f"and {len(planned.waits) - _MOST_SAID} more")
    if not said:
        said = [f"{exports} exports are under way" if exports else "no export waits"]
    return "; ".join(said)


def end_runs(instance: dg.DagsterInstance, run_ids: Iterable[str]) -> None:
    """Ends runs, queued ones and running ones; a run that cannot be ended now is ended by a later tick.

    So is one that is starting: Dagster calls it failed when it is ended then, and by itself it finds nothing to do.
    """
    coordinator = instance.run_coordinator
    for run_id in sorted(run_ids):
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished and run.status not in _NOT_NOW:
            try:
                coordinator.cancel_run(run_id)
            except Exception as error:  # noqa: BLE001 - whatever keeps one run from ending must not keep the others
                log.warning("run %s cannot be ended now: %s", run_id, error)


def _clean(parts: Parts, instance: dg.DagsterInstance, runs: "Sequence[Run]") -> list[dg.RunRequest]:
    """Runs that end what dead workers left in exports that have ended."""
    from export_pipeline.exports.bulk.cleaning import plan_cleaning
    from export_pipeline.exports.bulk.steps import leftovers, workspaces_of

    left = leftovers(parts.control)
    if not left:
        return []
    due = plan_cleaning(
        left,
        live={run.bulk_id for run in runs if run.live},
        earlier=ended_cleanings(instance, {unit.bulk_id for unit in left}),
        pause=parts.settings.retry_seconds,
        now=time.time(),
    )
    workspaces = workspaces_of(parts.control, [cleaning.bulk_id for cleaning in due])
    return [request_cleaning(cleaning, workspace=workspaces[cleaning.bulk_id]) for cleaning in due]


def _count(parts: Parts) -> str | None:
    """Counts rows of what waits for it; says what is wrong where the trace store cannot be read."""
    from export_pipeline.exports.bulk.count import count_rows, uncounted

    if not uncounted(parts.control):
        return None  # the trace store is not touched while there is nothing to count
    try:
        count_rows(parts.control, parts.source, seconds=_COUNTING_SECONDS)
    except ExportPipelineError as error:
        return f"rows cannot be counted: {error}"
    return None

"""The sensor that turns bulk exports into runs of the job `bulk_export`; the decisions are `exports.bulk.planner`'s."""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import dagster as dg

from export_pipeline.errors import ExportPipelineError
from export_pipeline.exports.bulk.dagster_runs import EXPORT_TAG
from export_pipeline.orchestration.jobs import (
    BULK_EXPORT,
    bulk_runs,
    ended_cleanings,
    request_cleaning,
    request_of,
    runs_started_before,
)
from export_pipeline.orchestration.resources import CONNECTIONS, Connections
from export_pipeline.orchestration.schedules import PRIORITY_TAG

if TYPE_CHECKING:
    from export_pipeline.exports.bulk.planner import DagsterRun, Planned

log = logging.getLogger("dagster.export_pipeline")

BULK_EXPORTS = "bulk_exports"
SECONDS = 5
"""The shortest interval of Dagster's sensor loop."""
_COUNTING_SECONDS = 5.0
_MOST_SAID = 20
_NOT_NOW = {dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING}

FIRST_PRIORITY = "1"
"""Before other runs of exports, which have 0, and after late days and the daily schedule."""
_GIVES_WAY = (
    "Ended to give its place to a workspace that waits and has no run: its own workspace has more than one. Days that "
    "are not done are tried again."
)


def build_bulk_sensor() -> dg.SensorDefinition:
    """The sensor `bulk_exports`."""

    @dg.sensor(
        name=BULK_EXPORTS,
        job_name=BULK_EXPORT,
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={CONNECTIONS},
        description="Starts, tries again and ends the runs of bulk exports, and spawns the exports of schedules.",
    )
    def bulk_exports(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        from export_pipeline.exports.watch.heartbeat import beat

        connections: Connections = context.resources.connections
        beat(connections.control)
        return tick(connections, context.instance)

    return bulk_exports


def tick(connections: Connections, instance: dg.DagsterInstance) -> dg.SensorResult:
    """One round: what is to be started, or why nothing is."""
    from export_pipeline.exports.bulk.planner import Limits, old_runs, plan
    from export_pipeline.exports.bulk.planning_round import carry_out, last_heard, prepare, read_active

    connections.control.check_schema()
    prepare(connections.control, connections.settings)
    trouble = _count(connections)
    active = read_active(connections.control, connections.settings)
    holders = {unit.dagster_run_id for unit in active.units if unit.dagster_run_id is not None}
    runs, limits = bulk_runs(instance, holders=holders), Limits.from_settings(connections.settings)
    heard = last_heard(connections.control, old_runs(runs, limits), [export.id for export in active.exports])
    planned = plan(active.exports, active.units, runs, limits=limits, now=active.now, heard=heard)
    if ended := runs_started_before(instance, planned.starts):
        planned = plan(active.exports, active.units, [*runs, *ended], limits=limits, now=active.now, heard=heard)
    carry_out(connections.control, planned, active, settings=connections.settings)
    end_runs(instance, planned.terminate)
    end_runs(instance, give_places(instance, [run for run in runs if run.run_id not in planned.terminate]))
    workspaces = {export.id: export.tenant_id for export in active.exports}
    requests = [request_of(start, workspace=workspaces[start.bulk_id]) for start in planned.starts]
    requests += _clean(connections, instance, runs)
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


def _clean(connections: Connections, instance: dg.DagsterInstance, runs: "Sequence[DagsterRun]") -> list[dg.RunRequest]:
    """Runs that end what dead workers left in exports that have ended."""
    from export_pipeline.exports.bulk.cleanup import plan_cleaning
    from export_pipeline.exports.bulk.planning_round import leftovers, workspaces_of

    left = leftovers(connections.control)
    if not left:
        return []
    due = plan_cleaning(
        left,
        live={run.bulk_id for run in runs if run.live},
        earlier=ended_cleanings(instance, {unit.bulk_id for unit in left}),
        pause=connections.settings.retry_seconds,
        now=time.time(),
    )
    workspaces = workspaces_of(connections.control, [cleaning.bulk_id for cleaning in due])
    return [request_cleaning(cleaning, workspace=workspaces[cleaning.bulk_id]) for cleaning in due]


def _count(connections: Connections) -> str | None:
    """Counts rows of what waits for it; says what is wrong where the trace store cannot be read."""
    from export_pipeline.exports.bulk.count import count_rows, uncounted

    if not uncounted(connections.control):
        return None  # the trace store is not touched while there is nothing to count
    try:
        count_rows(connections.control, connections.source, seconds=_COUNTING_SECONDS)
    except ExportPipelineError as error:
        return f"rows cannot be counted: {error}"
    return None


def give_places(instance: dg.DagsterInstance, runs: "Sequence[DagsterRun]") -> list[str]:
    """Lets runs of workspaces that have none running go first; gives back the run that is to be ended for one."""
    from export_pipeline.exports.bulk.planner import share_places

    moves = share_places(runs, places=places_of(instance))
    for run_id in moves.first:
        run = instance.get_run_by_id(run_id)
        if run is not None and PRIORITY_TAG not in run.tags:
            instance.add_run_tags(run_id, {PRIORITY_TAG: FIRST_PRIORITY})
    if moves.ended is None:
        return []
    if (run := instance.get_run_by_id(moves.ended)) is not None:
        instance.report_engine_event(_GIVES_WAY, run)
    return [moves.ended]


def places_of(instance: dg.DagsterInstance) -> int | None:
    """How many runs of exports may run at once by `dagster.yaml`; None where it has no limit for them."""
    queue = instance.get_concurrency_config().run_queue_config
    limits = [] if queue is None else queue.tag_concurrency_limits
    return next((limit["limit"] for limit in limits if limit["key"] == EXPORT_TAG and not limit.get("value")), None)

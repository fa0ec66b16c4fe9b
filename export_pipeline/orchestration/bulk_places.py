"""Dagster's queue and the workspaces: how many places there are, and who gets the next one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg

from export_pipeline.exports.bulk.dagster_runs import EXPORT_TAG
from export_pipeline.orchestration.schedule import PRIORITY_TAG

if TYPE_CHECKING:
    from export_pipeline.exports.bulk.plan import Run

FIRST_PRIORITY = "1"
"""Before other runs of exports, which have 0, and after late days and the daily schedule."""
_GIVES_WAY = (
    "Ended to give its place to a workspace that waits and has no run: its own workspace has more than one. Days that "
    "are not done are tried again."
)


def give_places(instance: dg.DagsterInstance, runs: "Sequence[Run]") -> list[str]:
    """Lets runs of workspaces that have none running go first; gives back the run that is to be ended for one."""
    from export_pipeline.exports.bulk.places import share_places

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

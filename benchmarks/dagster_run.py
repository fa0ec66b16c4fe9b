"""Runs the days of one project as a run worker does: in one process, through the job of all project assets."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).with_name("peers")))

import dagster as dg
from measured import options, run

given = options()


def work() -> dict[str, Any]:
    """Loads the location and runs the asset for the range of days."""
    from export_pipeline.definitions import defs

    tags = {"dagster/asset_partition_range_start": given["first"], "dagster/asset_partition_range_end": given["last"]}
    job = defs.get_job_def("export_runs")
    with dg.DagsterInstance.get() as instance:
        done = job.execute_in_process(
            instance=instance, asset_selection=[dg.AssetKey(["runs", given["asset"]])], tags=tags
        )
    return {"rows": 0, "days": 0, "calls": 0, "success": done.success}


run(work)

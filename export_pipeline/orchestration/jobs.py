"""The job over all project assets, for the schedule and for `dagster job launch` and `dagster job backfill`."""

from typing import Any

import dagster as dg

from export_pipeline.orchestration.assets import KEY_PREFIX

EXPORT_RUNS = "export_runs"


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

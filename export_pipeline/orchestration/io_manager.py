"""The S3 IO manager: publishes the days of a project, and gives them to downstream assets as a Polars LazyFrame."""

from datetime import date
from typing import TYPE_CHECKING

import dagster as dg

from export_pipeline.orchestration.failure import as_failure
from export_pipeline.orchestration.parts import Parts
from export_pipeline.orchestration.project_days import ProjectDays, publish_days_of
from export_pipeline.orchestration.reading import committed_frame

if TYPE_CHECKING:
    import polars as pl

ALLOW_MISSING = "allow_missing_partitions"


class DayFiles(dg.ConfigurableIOManager):
    """Publishes each day through `exports.commit.publish`, for one day and for ranges.

    Writing takes what a project's asset returns and nothing else. Reading gives one LazyFrame over the files of the
    mapped days; a day without rows adds none, a day that was never exported is an error, unless the input's metadata
    has `allow_missing_partitions` set to true.
    """

    parts: dg.ResourceDependency[Parts]

    def handle_output(self, context: dg.OutputContext, obj: ProjectDays) -> None:
        """Publishes the days; ends in `dagster.Failure` that names each bad day, with the others recorded."""
        if not isinstance(obj, ProjectDays):
            raise dg.Failure(
                f"{context.asset_key.to_user_string()} gave a {type(obj).__name__} to the IO manager of the day files, "
                "which takes the days of a project; give assets of your own another io_manager_key",
                allow_retries=False,
            )
        with as_failure(retry_in=obj.retry_in):
            publish_days_of(obj)

    def load_input(self, context: dg.InputContext) -> "pl.LazyFrame":
        """The rows of the upstream project's mapped days, read from the bucket when the frame is collected."""
        days = [date.fromisoformat(key) for key in context.asset_partition_keys]
        with as_failure():
            return committed_frame(
                self.parts,
                asset_name=context.asset_key.path[-1],
                days=days,
                allow_missing=bool(context.definition_metadata.get(ALLOW_MISSING, False)),
            )

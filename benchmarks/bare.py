"""A code location with one empty asset: what Dagster itself costs."""

import dagster as dg


@dg.asset(partitions_def=dg.DailyPartitionsDefinition(start_date="2026-01-01"))
def empty() -> None:
    """Does nothing."""


defs = dg.Definitions(assets=[empty], executor=dg.in_process_executor)

"""The event log under the name that a `dagster.yaml` written for 0.x has; it lies in `instance.event_log`."""

from export_pipeline.orchestration.instance.event_log import KeptEventLogStorage

__all__ = ["KeptEventLogStorage"]

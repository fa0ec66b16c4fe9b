"""The run launcher under the name that a `dagster.yaml` written for 0.x has; it lies in `instance.launcher`."""

from export_pipeline.orchestration.instance.launcher import WatchedRunLauncher

__all__ = ["WatchedRunLauncher"]

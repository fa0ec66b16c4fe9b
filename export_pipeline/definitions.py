"""What Dagster loads; everything is put together in `export_pipeline.orchestration.build`."""

from export_pipeline.orchestration.build import build_definitions

defs = build_definitions()

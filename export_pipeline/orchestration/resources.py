"""Dagster resources: thin factories of plain objects, made for each run from the settings.

Settings, and with them every secret, stay in the closure. They are no resource configuration, so neither the UI nor
the event log ever holds them.
"""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg

from export_pipeline.orchestration.assets import IO_MANAGER, PARTS
from export_pipeline.orchestration.io_manager import DayFiles
from export_pipeline.orchestration.parts import Parts
from export_pipeline.settings import Settings

S3 = "s3"


def build_resources(settings: Settings) -> dict[str, object]:
    """The resources by key: the parts, dagster-aws's `S3Resource` of the destination, and the IO manager."""

    @dg.resource(description="Control database, trace store and bucket, from the settings EXPORT_PIPELINE_…")
    @contextmanager
    def parts(context: dg.InitResourceContext) -> Iterator[Parts]:
        opened = Parts(settings)
        try:
            yield opened
            # Once a run, after the days of all its projects; a run that is interrupted leaves it to the sensor.
            for problem in opened.write_catalogs():
                (context.log or logging.getLogger(__name__)).warning(problem)
        finally:
            opened.close()

    @dg.resource(description="dagster-aws's S3Resource for the bucket of the standing exports.")
    def s3(_context: dg.InitResourceContext) -> object:
        from export_pipeline.exports.control.database import open_control
        from export_pipeline.exports.projects.standing_place import standing_access
        from export_pipeline.orchestration.s3 import DestinationS3

        with closing(open_control(settings)) as control:
            return DestinationS3.of(*standing_access(control, settings), max_attempts=5)

    return {PARTS: parts, S3: s3, IO_MANAGER: DayFiles(parts=parts)}

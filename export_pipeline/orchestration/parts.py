"""The parts that days are exported with, opened when they are first used.

A plain object that knows nothing of Dagster: resources hand it to assets, sensors and the schedule.
"""

from contextlib import nullcontext
from functools import cached_property
from typing import TYPE_CHECKING

from export_pipeline.exports.control.database import ControlDatabase, open_control
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.exports.projects.standing_place import StandingBucket
    from export_pipeline.object_store.protocol import ObjectStore
    from export_pipeline.sources.protocol import RunSource


class Parts:
    """Control database, trace store and bucket of one process; `settings` are resolved ones.

    Nothing connects before a part is used. `close` gives back what was opened. `prefixes` are those below which this
    process publishes days of standing exports.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.prefixes: set[str] = set()

    @cached_property
    def control(self) -> ControlDatabase:
        """The control database; its schema has not been checked."""
        return open_control(self.settings)

    @cached_property
    def source(self) -> "RunSource":
        """The trace store."""
        from export_pipeline.sources.factory import open_source

        return open_source(self.settings)

    @property
    def store(self) -> "ObjectStore":
        """The bucket of the standing exports, through dagster-aws's S3 resource; opened anew after a rotation."""
        return self._bucket.store()

    @cached_property
    def _bucket(self) -> "StandingBucket":
        from export_pipeline.exports.projects.standing_place import StandingBucket
        from export_pipeline.orchestration.s3 import DestinationS3

        return StandingBucket(
            self.control, self.settings, make=lambda *access: DestinationS3.of(*access, max_attempts=1).open_store()
        )

    def write_catalogs(self) -> list[str]:
        """Brings the lists of projects in the bucket up to date for what was published; sentences where it fails."""
        from export_pipeline.exports.projects.catalog import write_catalogs

        if not self.prefixes:
            return []
        return write_catalogs(self.control, lambda: nullcontext(self.store), prefixes=self.prefixes)

    def close(self) -> None:
        """Gives back the connections of every part that was opened."""
        for name in ("source", "_bucket", "control"):
            part = self.__dict__.pop(name, None)
            if part is not None:
                part.close()

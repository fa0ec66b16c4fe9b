"""Dagster's resources: the connections that days are exported with, made for each run from the settings."""

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import PrivateAttr

from export_pipeline.exports.control.database import ControlDatabase, open_control
from export_pipeline.settings import Settings

if TYPE_CHECKING:
    from export_pipeline.exports.projects.standing_place import StandingBucket
    from export_pipeline.object_store.protocol import ObjectStore
    from export_pipeline.sources.protocol import RunSource

CONNECTIONS = "connections"
S3 = "s3"


class Connections(dg.ConfigurableResource[Any]):
    """Control database, trace store and bucket of one run or tick.

    `settings` are resolved ones; they are a dependency, not configuration, so that Dagster shows none of them. Nothing
    connects before it is used; what was opened is closed at the end.
    """

    settings: dg.ResourceDependency[Settings]
    _prefixes: set[str] = PrivateAttr(default_factory=set)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> "Iterator[Connections]":
        """Closes what was opened, after the lists of projects in the bucket were brought up to date."""
        try:
            yield self
            # Once a run, after the days of all its projects; a run that is interrupted leaves it to the sensor.
            for problem in self._write_catalogs():
                (context.log or logging.getLogger(__name__)).warning(problem)
        finally:
            self.close()

    @cached_property
    def control(self) -> ControlDatabase:
        """The control database; its schema has not been checked."""
        return open_control(self.settings)

    @cached_property
    def source(self) -> "RunSource":
        """The trace store."""
        from export_pipeline.exports.budget import shared_budgets
        from export_pipeline.sources.factory import open_source

        return open_source(self.settings, budgets=shared_budgets(self.control))

    @property
    def store(self) -> "ObjectStore":
        """The bucket of the standing tables, through dagster-aws's S3 resource; opened anew after a rotation."""
        return self._bucket.store()

    @cached_property
    def _bucket(self) -> "StandingBucket":
        from export_pipeline.exports.projects.standing_place import StandingBucket
        from export_pipeline.orchestration.s3 import DestinationS3

        return StandingBucket(
            self.control, self.settings, make=lambda *access: DestinationS3.of(*access, max_attempts=1).open_store()
        )

    def note_table(self, prefix: str) -> None:
        """Says that days of a standing table below this prefix are published."""
        self._prefixes.add(prefix)

    def _write_catalogs(self) -> list[str]:
        from export_pipeline.exports.projects.catalog import write_catalogs

        if not self._prefixes:
            return []
        return write_catalogs(self.control, lambda: nullcontext(self.store), prefixes=self._prefixes)

    def close(self) -> None:
        """Gives back the connections that were opened."""
        for name in ("source", "_bucket", "control"):
            part = self.__dict__.pop(name, None)
            if part is not None:
                part.close()


class StandingS3(dg.ConfigurableResource[Any]):
    """dagster-aws's `S3Resource` of the bucket of the standing tables, for assets of your own.

    It is made when it is used, so that a location loads without dagster-aws, which brings boto3.
    """

    settings: dg.ResourceDependency[Settings]

    def create_resource(self, context: dg.InitResourceContext) -> Any:  # noqa: ARG002 - Dagster calls it so
        """The resource, with its own retries."""
        from export_pipeline.exports.projects.standing_place import standing_access
        from export_pipeline.orchestration.s3 import DestinationS3

        with closing(open_control(self.settings)) as control:
            return DestinationS3.of(*standing_access(control, self.settings), max_attempts=5)

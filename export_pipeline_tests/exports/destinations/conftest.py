"""Control databases, settings and descriptions of destinations of these tests."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.exports.destinations.stored import NewDestination
from export_pipeline.object_store.config import Credentials, DestinationConfig
from export_pipeline_tests.control_databases import new_sqlite
from export_pipeline_tests.servers import BUCKET, S3Server

OTHER_TENANT = uuid.UUID("22222222-2222-4222-8222-222222222222")


BOTH = pytest.mark.parametrize("control", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True)
"""Lets a test run on both kinds of control database."""


@pytest.fixture
def control(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ControlDatabase]:
    """A control database with its schema, on SQLite unless the test is marked `BOTH`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        database = new_sqlite(tmp_path)
    else:
        database = ControlDatabase(request.getfixturevalue("postgres").new_database())
        database.migrate()
    yield database
    database.close()


def keys_of(server: S3Server, identity: str = "admin") -> Credentials:
    """The credentials of a user of a server."""
    return Credentials(*server.identity(identity))


def described(
    server: S3Server, *, bucket: str = BUCKET, identity: str | None = "admin", **config: Any
) -> NewDestination:
    """A destination on a server, to be made."""
    made = DestinationConfig(bucket=bucket, endpoint_url=server.endpoint_url, **config)
    return NewDestination("My S3 Destination", made, keys_of(server, identity) if identity else None)

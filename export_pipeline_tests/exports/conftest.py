"""Control databases, settings, a trace store in memory, and a bucket that days were exported to."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline.object_store.secrets import new_key
from export_pipeline.settings import Settings, load_settings
from export_pipeline.sources.protocol import Project
from export_pipeline_tests.control_databases import new_sqlite
from export_pipeline_tests.exports.commit.bench import Bench, make_store, new_export
from export_pipeline_tests.exports.memory_source import MemorySource
from export_pipeline_tests.exports.world import World
from export_pipeline_tests.servers import Postgres, Rclone, S3Server

TENANT = uuid.UUID("11111111-1111-4111-8111-111111111111")

MakeSettings = Callable[..., Settings]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that nobody has migrated."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/control.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def control(tmp_path: Path) -> Iterator[ControlDatabase]:
    """A migrated SQLite control database."""
    database = new_sqlite(tmp_path)
    yield database
    database.close()


@pytest.fixture
def postgres_control(postgres: Postgres) -> Iterator[ControlDatabase]:
    """A migrated PostgreSQL control database."""
    database = ControlDatabase(postgres.new_database())
    database.migrate()
    yield database
    database.close()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def any_control(request: pytest.FixtureRequest) -> ControlDatabase:
    """A migrated control database of each kind in turn."""
    control: ControlDatabase = request.getfixturevalue("control" if request.param == "sqlite" else "postgres_control")
    return control


def make_bench(control: ControlDatabase, server: S3Server) -> Bench:
    """A bench with a bucket of its own."""
    bucket = server.new_bucket()
    return Bench(control, make_store(server, bucket), new_export(control, bucket), server)


@pytest.fixture
def bench(control: ControlDatabase, rclone: Rclone) -> Iterator[Bench]:
    """SQLite and rclone, which starts quickest."""
    made = make_bench(control, rclone)
    yield made
    made.store.close()


@pytest.fixture
def make_settings() -> MakeSettings:
    """Makes settings that name a store, a control database, a bucket and a key; overrides by field name."""
    key = new_key()

    def make(**overrides: Any) -> Settings:
        values = {
            "source_url": "sqlite:///traces.db",
            "control_url": "sqlite:///control.db",
            "bucket": "traces",
            "endpoint_url": "http://127.0.0.1:1",
            "allow_private_endpoints": True,
            "tenant_id": TENANT,
            "secret_keys": key,
        }
        return load_settings(**{**values, **overrides})

    return make


@pytest.fixture
def settings(make_settings: MakeSettings) -> Settings:
    """Settings without anything special."""
    return make_settings()


@pytest.fixture
def source() -> MemorySource:
    """A trace store with one project and no rows."""
    return MemorySource(listed=[project("chatbot")])


@pytest.fixture
def world(rclone: S3Server, tmp_path: Path) -> Iterator[World]:
    """Three exported days."""
    made = World.make(rclone, tmp_path)
    made.publish()
    yield made
    made.close()


@pytest.fixture
def lost(world: World, tmp_path: Path) -> Iterator[World]:
    """The same bucket and trace store with a control database that does not exist yet."""
    path = tmp_path / "new" / "control.db"
    settings = world.settings.model_copy(update={"control_url": f"sqlite:///{path}"})
    made = replace(world, control=ControlDatabase(f"sqlite:///{path}"), settings=settings)
    yield made
    made.control.close()


def project(name: str, number: int = 1, **values: Any) -> Project:
    """A project whose id is made from its number."""
    return Project(key=str(uuid.UUID(int=number)), name=name, **values)

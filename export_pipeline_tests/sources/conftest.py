"""Fixtures: an empty database of each kind."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from export_pipeline_tests.sources.stores import Store


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """An empty SQLite file."""
    store = Store("sqlite", f"sqlite:///{tmp_path / 'traces.db'}", tmp_path)
    yield store
    store.close()


@pytest.fixture(scope="session")
def postgres_database(request: pytest.FixtureRequest) -> str:
    """The URL of a database that the tests of this room share."""
    url: str = request.getfixturevalue("postgres").new_database()
    return url


@pytest.fixture
def postgres_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty schema in PostgreSQL: a database of its own costs ten times as much."""
    name = f"test_{uuid4().hex}"
    url = request.getfixturevalue("postgres_database") + f"?application_name={name}&options=-csearch_path%3D{name}"
    store = Store("postgresql", url, tmp_path)
    store.run(f"CREATE SCHEMA {name}")
    yield store
    store.close()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the two in turn."""
    found = request.getfixturevalue("sqlite_store" if request.param == "sqlite" else "postgres_store")
    assert isinstance(found, Store)
    return found

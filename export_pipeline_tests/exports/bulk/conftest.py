"""Fixtures: a workspace on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from export_pipeline.exports.control.database import ControlDatabase
from export_pipeline_tests.exports.bulk.desk import Desk
from export_pipeline_tests.servers import Postgres


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def any_desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """A workspace on each kind of control database in turn."""
    url = f"sqlite:///{tmp_path}/control.db"
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database()
    yield from _desk(url)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A workspace on SQLite."""
    yield from _desk(f"sqlite:///{tmp_path}/control.db")


def _desk(url: str) -> Iterator[Desk]:
    control = ControlDatabase(url)
    control.migrate()
    yield Desk(control)
    control.close()
